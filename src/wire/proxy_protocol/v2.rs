//! Version 2: 16 fixed bytes, then as many as they say (specification, section 2.2).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addresses, Error, Header, Tlvs};

pub(super) const SIGN: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What each header begins with: the signature, version and command, family, length.
pub(super) const FIXED: usize = 16;

/// The most bytes that may follow.
pub(super) const MAX_BODY: usize = 4096;

/// The two addresses of a UNIX socket.
const UNIX: usize = 216;

/// How many bytes surely belong to the header beyond `kept`.
pub(super) fn missing(kept: &[u8]) -> Result<usize, Error> {
    let Some([.., high, low]) = kept.get(..FIXED) else { return Ok(FIXED - kept.len()) };
    let body = usize::from(u16::from_be_bytes([*high, *low]));
    if body > MAX_BODY {
        return Err(Error::TooLong);
    }
    Ok((FIXED + body).saturating_sub(kept.len()))
}

/// Reads a header with its whole body.
pub(super) fn read(whole: &[u8]) -> Result<Header, Error> {
    let (Some([.., command, family, _, _]), Some(body)) = (whole.get(..FIXED), whole.get(FIXED..))
    else {
        return Err(Error::Malformed);
    };
    match command {
        // LOCAL: the proxy's own conn; whatever else the header says is to be ignored.
        0x20 => return Ok(Header::default()),
        0x21 => {}
        _ => return Err(Error::Malformed),
    }
    let (addresses, rest) = match family {
        0x00 => (None, body),
        0x11 => ipv4(body).ok_or(Error::Malformed)?,
        0x21 => ipv6(body).ok_or(Error::Malformed)?,
        0x31 => (None, body.get(UNIX..).ok_or(Error::Malformed)?),
        // Datagrams do not come over TCP; other families do not exist.
        _ => return Err(Error::Malformed),
    };
    Ok(Header { addresses, tlvs: Tlvs::read(rest, whole)? })
}

type Read<'a> = Option<(Option<Addresses>, &'a [u8])>;

fn ipv4(body: &[u8]) -> Read<'_> {
    let (source, rest) = body.split_first_chunk::<4>()?;
    let (destination, rest) = rest.split_first_chunk::<4>()?;
    let ip = |octets: &[u8; 4]| IpAddr::V4(Ipv4Addr::from(*octets));
    with_ports(ip(source), ip(destination), rest)
}

fn ipv6(body: &[u8]) -> Read<'_> {
    let (source, rest) = body.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let ip = |octets: &[u8; 16]| IpAddr::V6(Ipv6Addr::from(*octets));
    with_ports(ip(source), ip(destination), rest)
}

fn with_ports(source: IpAddr, destination: IpAddr, rest: &[u8]) -> Read<'_> {
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (destination_port, rest) = rest.split_first_chunk::<2>()?;
    let address = |ip, port: &[u8; 2]| SocketAddr::new(ip, u16::from_be_bytes(*port));
    let addresses = Addresses {
        source: address(source, source_port),
        destination: address(destination, destination_port),
    };
    Some((Some(addresses), rest))
}
