//! Whom a trusted proxy says a conn is from. Whether it is trusted was decided before its header was read.

use super::is_name;
use super::pattern::{Pattern, who};
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

/// Whom a header names.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where its name stands.
    pub field: Field,
    /// What of the name is the user, the tenant; `None`: it is the user.
    pub pattern: Option<Pattern>,
}

impl Rule {
    /// Whom a header proves, if anybody.
    pub fn find(&self, header: &Header) -> Option<Claim> {
        let text = |kind| header.tlvs.get(kind).and_then(|value| std::str::from_utf8(value).ok());
        let found = match self.field {
            Field::Custom(number) => Kind::custom(number).and_then(text),
            Field::Authority => text(Kind::Authority),
            Field::SslCn => header.tlvs.ssl().filter(|ssl| ssl.verified).and_then(|ssl| ssl.cn),
        };
        let name = found.filter(|name| is_name(name))?;
        who(self.pattern.as_ref(), name)?.claim(Proof::ProxyTlv)
    }
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
        let claim = Rule { field, pattern: None }.find(&header)?;
        assert_eq!(claim.proof, Proof::ProxyTlv);
        Some(claim.user.unwrap().to_string())
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
