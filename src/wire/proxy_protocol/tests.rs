use proptest::prelude::*;

use super::*;
use crate::wire::crc32c::crc32c;

fn read(bytes: &[u8]) -> (Result<Option<Header>, Error>, usize) {
    let mut input = bytes;
    let read = Decoder::default().next(&mut input);
    (read, bytes.len() - input.len())
}

fn whole(bytes: &[u8]) -> Header {
    let (read, taken) = read(bytes);
    assert_eq!(taken, bytes.len());
    read.unwrap().unwrap()
}

fn from(header: &Header) -> String {
    header.addresses.map_or_else(String::new, |a| format!("{} {}", a.source, a.destination))
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind], length.as_slice(), value].concat()
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[command, family], &length, body].concat()
}

const IPV4: &[u8] = &[10, 1, 2, 3, 10, 0, 0, 9, 0x1F, 0x90, 0x01, 0xBB];

fn with(tlvs: &[Vec<u8>]) -> Vec<u8> {
    v2(0x21, 0x11, &[IPV4, &tlvs.concat()].concat())
}

/// A header whose last TLV is its checksum.
fn checked(tlvs: &[Vec<u8>]) -> Vec<u8> {
    let mut header = with(&[tlvs, &[tlv(3, &[0; 4])]].concat());
    let sum = crc32c(header.iter().copied()).to_be_bytes();
    let at = header.len() - 4;
    header[at..].copy_from_slice(&sum);
    header
}

#[test]
fn a_line_says_both_ends() {
    let header = whole(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n");
    assert_eq!(from(&header), "192.0.2.7:56324 198.51.100.1:443");
    let header = whole(b"PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n");
    assert_eq!(from(&header), "[2001:db8::7]:1 [2001:db8::1]:65535");
}

#[test]
fn a_proxy_may_say_that_it_does_not_know() {
    for line in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN ffff::1 anything 1 2\r\n"] {
        assert_eq!(whole(line), Header::default());
    }
    assert_eq!(whole(&v2(0x20, 0x11, &[IPV4, &tlv(2, b"a")].concat())), Header::default());
    assert_eq!(whole(&v2(0x20, 0xFF, b"whatever")), Header::default());
    let header = whole(&v2(0x21, 0, &tlv(0xE4, b"x")));
    assert_eq!(
        (from(&header).as_str(), header.tlvs.get(Kind::Custom(0xE4))),
        ("", Some(&b"x"[..]))
    );
    let header = whole(&v2(0x21, 0x31, &[vec![7; 216], tlv(2, b"h")].concat()));
    assert_eq!((from(&header).as_str(), header.tlvs.get(Kind::Authority)), ("", Some(&b"h"[..])));
}

#[test]
fn nothing_behind_the_header_is_taken() {
    for header in [b"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\n".to_vec(), with(&[]), checked(&[])] {
        let (read, taken) = read(&[&header[..], b"Content-Length: 2\r\n\r\n{}"].concat());
        assert!(read.unwrap().is_some());
        assert_eq!(taken, header.len());
    }
}

#[test]
fn lines_that_the_specification_does_not_have_are_refused() {
    for line in [
        "PROXY TCP4 1.2.3.4 1.2.3.5 1 2\n",
        "PROXY TCP4 1.2.3.4 1.2.3.5 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.5 1 2 3\r\n",
        "PROXY TCP4  1.2.3.4 1.2.3.5 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.5 01 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.5 +1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.5 1 65536\r\n",
        "PROXY TCP4 1.2.3.04 1.2.3.5 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.5 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        "PROXY UDP4 1.2.3.4 1.2.3.5 1 2\r\n",
        "PROXY tcp4 1.2.3.4 1.2.3.5 1 2\r\n",
        "PROXY TCP4 1.2.3.4\r 1.2.3.5 1 2\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY \r\n",
        "PROXY \u{e9}\r\n",
    ] {
        assert_eq!(read(line.as_bytes()).0, Err(Error::Malformed), "{line:?}");
    }
}

#[test]
fn what_is_no_header_is_known_by_its_first_wrong_byte() {
    for bytes in [&b"Content-Length"[..], b"\x16\x03\x01", b"PROXX", b"\r\n\r\n\0\r\nQUIR", b"\r\r"]
    {
        assert_eq!(read(bytes).0, Err(Error::NotAHeader), "{bytes:?}");
        assert_eq!(is_meant(bytes), Some(false));
    }
    for bytes in [&b""[..], b"PROX", b"\r\n\r\n", b"\r\n\r\n\0\r\nQUIT"] {
        assert_eq!((is_meant(bytes), read(bytes).0), (None, Ok(None)), "{bytes:?}");
    }
}

#[test]
fn headers_are_bounded() {
    let line = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
    assert_eq!(read(&line), (Err(Error::TooLong), 107));
    let mut longest = b"PROXY UNKNOWN ".to_vec();
    longest.resize(105, b'x');
    longest.extend(b"\r\n");
    assert_eq!(whole(&longest), Header::default());
    let full = v2(0x21, 0, &tlv(0xEA, &[0; 4093]));
    assert_eq!(full.len(), MAX);
    assert_eq!(whole(&full).tlvs.get(Kind::Custom(0xEA)).unwrap().len(), 4093);
    assert_eq!(read(&v2(0x20, 0, &[0; 4097])), (Err(Error::TooLong), 16));
}

#[test]
fn tlvs_say_what_else_the_proxy_knows() {
    let ssl = [&[7, 0, 0, 0, 0][..], &tlv(0x21, b"TLSv1.3"), &tlv(0x22, b"alice")].concat();
    let header = whole(&with(&[
        tlv(1, b"h2"),
        tlv(2, b"cli.example"),
        tlv(4, b"padding"),
        tlv(4, b""),
        tlv(5, b"id-1"),
        tlv(0x20, &ssl),
        tlv(0x30, b"blue"),
        tlv(0xE4, b"tenant-7"),
        tlv(0xEE, b""),
    ]));
    let get = |kind| header.tlvs.get(kind).map(|v| String::from_utf8_lossy(v).into_owned());
    assert_eq!(get(Kind::Alpn).as_deref(), Some("h2"));
    assert_eq!(get(Kind::Authority).as_deref(), Some("cli.example"));
    assert_eq!(get(Kind::UniqueId).as_deref(), Some("id-1"));
    assert_eq!(get(Kind::Netns).as_deref(), Some("blue"));
    assert_eq!(get(Kind::Custom(0xE4)).as_deref(), Some("tenant-7"));
    assert_eq!(get(Kind::Custom(0xEE)).as_deref(), Some(""));
    assert_eq!(get(Kind::Custom(0xE5)), None);
    let ssl = header.tlvs.ssl().unwrap();
    assert_eq!((ssl.verified, ssl.version, ssl.cn), (true, Some("TLSv1.3"), Some("alice")));
}

#[test]
fn a_certificate_counts_only_where_the_proxy_verified_one() {
    let verified = |client: u8, verify: [u8; 4]| {
        let ssl = [&[client][..], &verify, &tlv(0x22, b"alice")].concat();
        whole(&with(&[tlv(0x20, &ssl)])).tlvs.ssl().unwrap().verified
    };
    assert!(verified(0x03, [0; 4]) && verified(0x05, [0; 4]));
    assert!(!verified(0x01, [0; 4]), "TLS without a certificate");
    assert!(!verified(0x03, [0, 0, 0, 1]), "a bad one");
}

#[test]
fn the_checksum_must_be_right_and_whole() {
    let header = checked(&[tlv(2, b"a"), tlv(0xE0, b"b")]);
    assert_eq!(whole(&header).tlvs.get(Kind::Authority), Some(&b"a"[..]));
    for at in 16..header.len() {
        let mut wrong = header.clone();
        wrong[at] ^= 1;
        assert!(read(&wrong).0.is_err(), "{at}");
    }
    assert_eq!(read(&with(&[tlv(3, &[0; 3])])).0, Err(Error::Malformed));
    assert_eq!(read(&with(&[tlv(3, &[0; 5])])).0, Err(Error::Malformed));
}

#[test]
fn what_is_malformed_or_said_twice_is_refused() {
    let ssl = |rest: &[u8]| tlv(0x20, &[&[1, 0, 0, 0, 0], rest].concat());
    for (tlvs, error) in [
        (vec![vec![2]], Error::Malformed),
        (vec![vec![2, 0]], Error::Malformed),
        (vec![vec![2, 0, 5, 1]], Error::Malformed),
        (vec![tlv(5, &[0; 129])], Error::Malformed),
        (vec![tlv(0x20, &[1, 0, 0, 0])], Error::Malformed),
        (vec![ssl(&[0x22, 0, 9])], Error::Malformed),
        (vec![ssl(&tlv(0x22, b"\xff"))], Error::Malformed),
        (vec![ssl(&[tlv(0x22, b"a"), tlv(0x22, b"b")].concat())], Error::Twice),
        (vec![tlv(2, b"a"), tlv(2, b"b")], Error::Twice),
        (vec![tlv(0xE4, b"a"), tlv(0xE4, b"a")], Error::Twice),
    ] {
        assert_eq!(read(&with(&tlvs)).0, Err(error), "{tlvs:?}");
    }
    for (command, family) in [(0x11, 0x11), (0x22, 0x11), (0x21, 0x12), (0x21, 0x01), (0x21, 0x41)]
    {
        assert_eq!(read(&v2(command, family, IPV4)).0, Err(Error::Malformed), "{command} {family}");
    }
    for family in [0x11, 0x21, 0x31] {
        assert_eq!(read(&v2(0x21, family, &IPV4[1..])).0, Err(Error::Malformed));
    }
}

fn any_header() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop::sample::subsequence(vec![1u8, 2, 5, 0x30, 0xE0, 0xE4, 0xEF], 0..=7);
    let tlvs = (kinds, prop::collection::vec(any::<u8>(), 0..64)).prop_map(|(kinds, value)| {
        kinds.into_iter().map(|kind| tlv(kind, &value)).collect::<Vec<_>>()
    });
    let v4 = any::<(core::net::Ipv4Addr, u16)>();
    let v6 = any::<(core::net::Ipv6Addr, u16)>();
    prop_oneof![
        tlvs.clone().prop_map(|tlvs| with(&tlvs)),
        tlvs.prop_map(|tlvs| checked(&tlvs)),
        v4.prop_map(|(ip, port)| format!("PROXY TCP4 {ip} {ip} {port} {port}\r\n").into_bytes()),
        v6.prop_map(|(ip, port)| format!("PROXY TCP6 {ip} {ip} {port} {port}\r\n").into_bytes()),
    ]
}

proptest! {
    #[test]
    fn a_header_is_the_same_however_it_is_split(
        header in any_header(),
        sizes in prop::collection::vec(1usize..20, 1..20),
        after in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let expected = whole(&header);
        let bytes = [&header[..], &after].concat();
        let (mut decoder, mut rest, mut sizes) = (Decoder::default(), &bytes[..], sizes.iter().cycle());
        let found = loop {
            prop_assert!(!rest.is_empty());
            let mut part = &rest[..rest.len().min(*sizes.next().unwrap())];
            let before = part.len();
            let found = decoder.next(&mut part).unwrap();
            rest = &rest[before - part.len()..];
            if let Some(found) = found {
                break found;
            }
            prop_assert!(part.is_empty(), "only the whole header leaves bytes");
        };
        prop_assert_eq!(found, expected);
        prop_assert_eq!(rest, &after[..]);
    }

    #[test]
    fn half_a_header_is_no_header(header in any_header(), at in any::<prop::sample::Index>()) {
        let half = &header[..at.index(header.len())];
        prop_assert_eq!(read(half), (Ok(None), half.len()));
    }
}
