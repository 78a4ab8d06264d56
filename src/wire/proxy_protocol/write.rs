//! Writes headers, as the parser beside it reads them: what an upstream is told of the conn that we forward to it.
//!
//! Never writes what a reader could take in two ways: both addresses are of one family, a value that is not known or too
//! long to be what it should be is left out, and there is at most one TLV of a kind.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::tlv::{Kind, MAX_UNIQUE_ID, SSL_CN, SSL_VERSION};
use super::{Addresses, v1, v2};
use crate::wire::crc32c::crc32c;

/// The longest text that is told in a TLV, in bytes: a host name has at most 253.
const MAX_TEXT: usize = 256;

/// In SSL's first byte: the client speaks TLS; it showed a certificate over this connection.
const SPEAKS_TLS: u8 = 0x01;
const SHOWED_CERTIFICATE: u8 = 0x02;

/// What an upstream may be told of a conn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told<'a> {
    /// Both ends of the client's conn; `None`: not known.
    pub addresses: Option<Addresses>,
    /// Our own name of the conn.
    pub unique_id: Option<&'a str>,
    /// The client's TLS; `None`: it speaks none with us.
    pub tls: Option<ToldTls<'a>>,
}

/// What an upstream may be told of the client's TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToldTls<'a> {
    /// Such as `TLSv1.3`.
    pub version: &'a str,
    /// The host that the client asked for (SNI).
    pub authority: Option<&'a str>,
    /// The protocol that was agreed on (ALPN).
    pub alpn: Option<&'a [u8]>,
    /// The client showed a certificate, and it was verified.
    pub verified: bool,
    /// The common name in that certificate.
    pub cn: Option<&'a str>,
}

/// The header of version 1: addresses and nothing else. `UNKNOWN` where they are not known.
pub fn write_v1(told: &Told<'_>) -> Vec<u8> {
    let line = match told.addresses.map(of_one_family) {
        None => "UNKNOWN".to_owned(),
        Some(Addresses { source, destination }) => {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.ip(), destination.ip());
            format!("{family} {from} {to} {} {}", source.port(), destination.port())
        }
    };
    [v1::SIGN, line.as_bytes(), b"\r\n"].concat()
}

/// The header of version 2: addresses, what is known in TLVs, and a checksum over all. Where the addresses are not known,
/// the family is `UNSPEC`: the upstream is to take those of the socket.
pub fn write_v2(told: &Told<'_>) -> Vec<u8> {
    let mut body = Vec::with_capacity(128);
    let family = match told.addresses.map(of_one_family) {
        None => 0x00,
        Some(addresses) => put_addresses(&mut body, addresses),
    };
    if let Some(tls) = &told.tls {
        put(&mut body, Kind::Alpn.number(), tls.alpn.filter(|name| is_short(name)));
        put(&mut body, Kind::Authority.number(), tls.authority.and_then(text));
        put(&mut body, Kind::Ssl.number(), Some(&ssl(tls)));
    }
    let id = told.unique_id.and_then(text).filter(|id| id.len() <= MAX_UNIQUE_ID);
    put(&mut body, Kind::UniqueId.number(), id);
    checked(0x21, family, body)
}

/// The header of version 2 for a conn of our own, such as a probe: whatever takes it is to look at the socket alone.
pub fn write_local() -> Vec<u8> {
    checked(0x20, 0x00, Vec::new())
}

/// IPv4 as IPv4; and where the two ends are of two families, both as IPv6.
fn of_one_family(Addresses { source, destination }: Addresses) -> Addresses {
    let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    let (source, destination) = (plain(source), plain(destination));
    if source.is_ipv4() == destination.is_ipv4() {
        return Addresses { source, destination };
    }
    let wide = |at: SocketAddr| SocketAddr::new(IpAddr::V6(mapped(at.ip())), at.port());
    Addresses { source: wide(source), destination: wide(destination) }
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// Returns the family. Both ends are of the same one.
fn put_addresses(body: &mut Vec<u8>, Addresses { source, destination }: Addresses) -> u8 {
    let family = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            body.extend(from.octets());
            body.extend(to.octets());
            0x11
        }
        (from, to) => {
            body.extend(mapped(from).octets());
            body.extend(mapped(to).octets());
            0x21
        }
    };
    body.extend(source.port().to_be_bytes());
    body.extend(destination.port().to_be_bytes());
    family
}

fn ssl(tls: &ToldTls<'_>) -> Vec<u8> {
    let client = if tls.verified { SPEAKS_TLS | SHOWED_CERTIFICATE } else { SPEAKS_TLS };
    let mut value = vec![client];
    // 0 says that a certificate was found good: so it is for verified ones alone.
    value.extend(u32::from(!tls.verified).to_be_bytes());
    put(&mut value, SSL_VERSION, text(tls.version));
    put(&mut value, SSL_CN, tls.cn.filter(|_| tls.verified).and_then(text));
    value
}

fn text(text: &str) -> Option<&[u8]> {
    Some(text.as_bytes()).filter(|text| is_short(text))
}

fn is_short(value: &[u8]) -> bool {
    !value.is_empty() && value.len() <= MAX_TEXT
}

/// Adds a TLV, if there is a value.
fn put(to: &mut Vec<u8>, kind: u8, value: Option<&[u8]>) {
    let Some(value) = value else { return };
    // Values are short: see `is_short`.
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    to.push(kind);
    to.extend(length.to_be_bytes());
    to.extend(value);
}

/// The whole header, its last TLV the checksum.
fn checked(command: u8, family: u8, mut body: Vec<u8>) -> Vec<u8> {
    put(&mut body, super::tlv::CRC32C, Some(&[0; 4]));
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut header = [v2::SIGN, &[command, family], &length, &body].concat();
    let sum = crc32c(header.iter().copied());
    header.truncate(header.len() - 4);
    header.extend(sum.to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Decoder, Header, MAX};
    use super::*;

    fn read(bytes: &[u8]) -> Header {
        let mut input = bytes;
        let header = Decoder::default().next(&mut input).unwrap().unwrap();
        assert!(input.is_empty(), "all of it belongs to the header");
        header
    }

    fn between(source: &str, destination: &str) -> Told<'static> {
        let addresses = Addresses {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        };
        Told { addresses: Some(addresses), ..Told::default() }
    }

    fn line(told: &Told<'_>) -> String {
        String::from_utf8(write_v1(told)).unwrap()
    }

    #[test]
    fn a_line_names_the_family_and_both_ends() {
        let told = between("192.0.2.7:56324", "198.51.100.1:443");
        assert_eq!(line(&told), "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n");
        let told = between("[2001:db8::7]:1", "[2001:db8::1]:65535");
        assert_eq!(line(&told), "PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n");
        assert_eq!(line(&Told::default()), "PROXY UNKNOWN\r\n");
    }

    #[test]
    fn ipv4_is_ipv4_however_the_socket_has_it_and_two_families_become_one() {
        let told = between("[::ffff:192.0.2.7]:1", "198.51.100.1:2");
        assert_eq!(line(&told), "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n");
        let told = between("192.0.2.7:1", "[2001:db8::1]:2");
        assert_eq!(line(&told), "PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 1 2\r\n");
        for header in [write_v1(&told), write_v2(&told)] {
            let read = read(&header).addresses.unwrap();
            assert_eq!(read.source.ip().to_canonical(), "192.0.2.7".parse::<IpAddr>().unwrap());
            assert_eq!(read.destination, "[2001:db8::1]:2".parse().unwrap());
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let told = Told { unique_id: Some("7"), ..between("10.1.2.3:8080", "10.0.0.9:443") };
        let header = write_v2(&told);
        let expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x17\x0A\x01\x02\x03\x0A\0\0\x09\x1F\x90\x01\xBB\x05\0\x017\x03\0\x04";
        assert_eq!(header.split_last_chunk::<4>().unwrap().0, expected);
    }

    #[test]
    fn a_conn_of_our_own_says_nothing_of_anybody() {
        let header = write_local();
        assert_eq!(header[12..14], [0x20, 0x00]);
        assert_eq!(read(&header), Header::default());
    }

    #[test]
    fn a_certificate_is_told_as_good_only_if_it_was_verified() {
        let told = |tls| Told { tls: Some(tls), ..Told::default() };
        let tls = ToldTls { version: "TLSv1.3", cn: Some("alice"), ..ToldTls::default() };
        let stranger = read(&write_v2(&told(tls)));
        let ssl = stranger.tlvs.ssl().unwrap();
        assert_eq!((ssl.verified, ssl.version, ssl.cn), (false, Some("TLSv1.3"), None));
        let alice = read(&write_v2(&told(ToldTls { verified: true, ..tls })));
        let ssl = alice.tlvs.ssl().unwrap();
        assert_eq!((ssl.verified, ssl.version, ssl.cn), (true, Some("TLSv1.3"), Some("alice")));
    }

    #[test]
    fn what_is_too_long_is_left_out_and_the_rest_is_told() {
        let long = "x".repeat(300);
        let tls = ToldTls {
            version: "TLSv1.3",
            authority: Some(&long),
            cn: Some(&long),
            verified: true,
            alpn: Some(b""),
        };
        let header = write_v2(&Told { unique_id: Some(&long), tls: Some(tls), addresses: None });
        let header = read(&header);
        for kind in [Kind::Authority, Kind::Alpn, Kind::UniqueId] {
            assert_eq!(header.tlvs.get(kind), None);
        }
        assert_eq!(header.tlvs.ssl().map(|ssl| (ssl.verified, ssl.cn)), Some((true, None)));
    }

    fn any_address() -> impl Strategy<Value = SocketAddr> {
        let ip = prop_oneof![
            any::<core::net::Ipv4Addr>().prop_map(IpAddr::V4),
            any::<core::net::Ipv6Addr>().prop_map(IpAddr::V6),
            any::<core::net::Ipv4Addr>().prop_map(|v4| IpAddr::V6(v4.to_ipv6_mapped())),
        ];
        (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof!["\\PC{0,40}", "[a-z]{200,300}"]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_the_same(
            ends in prop::option::of((any_address(), any_address())),
            tls in prop::option::of((any_text(), any_text(), any_text(), any::<bool>())),
            id in any_text(),
        ) {
            let addresses = ends.map(|(source, destination)| Addresses { source, destination });
            let tls = tls.as_ref().map(|(authority, alpn, cn, verified)| ToldTls {
                version: "TLSv1.2",
                authority: Some(authority.as_str()),
                alpn: Some(alpn.as_bytes()),
                verified: *verified,
                cn: Some(cn.as_str()),
            });
            let told = Told { addresses, unique_id: Some(&id), tls };
            let canonical = |a: Addresses| {
                [a.source, a.destination].map(|at| (at.ip().to_canonical(), at.port()))
            };
            for header in [write_v1(&told), write_v2(&told)] {
                prop_assert!(header.len() <= MAX);
                let back = read(&header).addresses;
                prop_assert_eq!(back.map(canonical), addresses.map(canonical));
            }
            let back = read(&write_v2(&told));
            let fits = |text: &str, most| !text.is_empty() && text.len() <= most;
            let expected = Some(id.as_bytes()).filter(|_| fits(&id, 128));
            prop_assert_eq!(back.tlvs.get(Kind::UniqueId), expected);
            let authority = tls.and_then(|t| t.authority).filter(|text| fits(text, 256));
            prop_assert_eq!(back.tlvs.get(Kind::Authority), authority.map(str::as_bytes));
            let alpn = tls.and_then(|t| t.alpn).filter(|a| !a.is_empty() && a.len() <= 256);
            prop_assert_eq!(back.tlvs.get(Kind::Alpn), alpn);
            let ssl = back.tlvs.ssl();
            prop_assert_eq!(ssl.map(|s| s.verified), tls.map(|t| t.verified));
            let cn = tls.and_then(|t| t.cn.filter(|cn| t.verified && fits(cn, 256)));
            prop_assert_eq!(ssl.and_then(|s| s.cn), cn);
        }
    }
}
