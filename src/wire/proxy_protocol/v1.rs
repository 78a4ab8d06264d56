//! Version 1: one line of text (specification, section 2.1).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addresses, Error, Header, Tlvs};

pub(super) const SIGN: &[u8] = b"PROXY ";

/// The longest line, with its line break.
const MAX_LINE: usize = 107;

/// How many bytes surely belong to the line beyond `kept`.
pub(super) fn missing(kept: &[u8]) -> Result<usize, Error> {
    match kept {
        [.., b'\n'] => Ok(0),
        _ if kept.len() >= MAX_LINE => Err(Error::TooLong),
        // A line feed alone is seen, and refused, as soon as it comes.
        _ => Ok(1),
    }
}

/// Reads a line that ends with a line feed.
pub(super) fn read(line: &[u8]) -> Result<Header, Error> {
    let text = line.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok());
    let words = text.and_then(|text| text.strip_prefix("PROXY ")).ok_or(Error::Malformed)?;
    // What follows `UNKNOWN` is to be ignored.
    if words == "UNKNOWN" || words.starts_with("UNKNOWN ") {
        return Ok(Header::default());
    }
    let words: Vec<&str> = words.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = words.as_slice() else {
        return Err(Error::Malformed);
    };
    let ip = |text: &str| match *family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    let address = |host: &str, port: &str| Some(SocketAddr::new(ip(host)?, number(port)?));
    let addresses = match (address(source, source_port), address(destination, destination_port)) {
        (Some(source), Some(destination)) => Addresses { source, destination },
        (_, _) => return Err(Error::Malformed),
    };
    Ok(Header { addresses: Some(addresses), tlvs: Tlvs::default() })
}

/// A port: decimal digits, no sign, no zero in front of others.
fn number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}
