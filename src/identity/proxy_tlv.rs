//! Whom a trusted proxy says a conn is from. Whether it is trusted was decided before its header was read.

use super::{Who, is_name};
use crate::caller::{Claim, Proof};
use crate::wire::proxy_protocol::{Header, Kind};

/// What of a PROXY header names the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// A TLV whose meaning the operator made up: 0xE0 to 0xEF.
    Custom(u8),
    /// The host that the client asked for.
    Authority,
    /// The common name in the client's certificate, if the proxy verified that.
    SslCn,
}

/// Whom a header names, if `read` finds somebody in the field.
pub fn claim(header: &Header, field: Field, read: impl Fn(&str) -> Option<Who>) -> Option<Claim> {
    let text = |kind| header.tlvs.get(kind).and_then(|value| std::str::from_utf8(value).ok());
    let found = match field {
        Field::Custom(number) => Kind::custom(number).and_then(text),
        Field::Authority => text(Kind::Authority),
        Field::SslCn => header.tlvs.ssl().filter(|ssl| ssl.verified).and_then(|ssl| ssl.cn),
    };
    found.filter(|name| is_name(name)).and_then(read)?.claim(Proof::ProxyTlv)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proxy_protocol::Decoder;

    fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
        [&[kind, 0, u8::try_from(value.len()).unwrap()], value].concat()
    }

    fn user(tlvs: &[u8], field: Field) -> Option<String> {
        let length = u8::try_from(tlvs.len()).unwrap();
        let header = [b"\r\n\r\n\0\r\nQUIT\n\x21\0\0", &[length][..], tlvs].concat();
        let header = Decoder::default().next(&mut &header[..]).unwrap().unwrap();
        let whole = |name: &str| Some(Who { tenant: None, user: Some(name.into()) });
        claim(&header, field, whole).map(|c| c.user.unwrap().to_string())
    }

    #[test]
    fn a_field_names_who_stands_in_it() {
        let tlvs = [tlv(2, b"a.example"), tlv(0xE4, b"alice")].concat();
        assert_eq!(user(&tlvs, Field::Authority).as_deref(), Some("a.example"));
        assert_eq!(user(&tlvs, Field::Custom(0xE4)).as_deref(), Some("alice"));
        assert_eq!(user(&tlvs, Field::Custom(0xE5)), None);
        assert_eq!(user(&tlvs, Field::Custom(2)), None, "no custom one");
        assert_eq!(user(&tlvs, Field::SslCn), None);
    }

    #[test]
    fn a_common_name_counts_only_where_it_was_verified() {
        let ssl = |client, verify| {
            tlv(0x20, &[&[client, 0, 0, 0, verify][..], &tlv(0x22, b"alice")].concat())
        };
        assert_eq!(user(&ssl(3, 0), Field::SslCn).as_deref(), Some("alice"));
        assert_eq!(user(&ssl(3, 1), Field::SslCn), None);
        assert_eq!(user(&ssl(1, 0), Field::SslCn), None);
    }

    #[test]
    fn what_is_no_name_names_nobody() {
        for value in [&b""[..], b"a\0", b"\xff", b"a\nb"] {
            assert_eq!(user(&tlv(0xE4, value), Field::Custom(0xE4)), None, "{value:?}");
        }
    }
}
