//! The PROXY protocol, versions 1 and 2: what a proxy in front of us says of the conn that it forwards, and what we say
//! of ours to upstreams (haproxy.org, `doc/proxy-protocol.txt`, revision of 2020/03/05 and later).
//!
//! Never takes a byte behind the header, never keeps more than [`MAX`] bytes, and takes nothing in doubt: a header that
//! can be read in two ways is an error. Whether the proxy may be believed is not known here.

mod tlv;
mod v1;
mod v2;
mod write;

use core::net::SocketAddr;

pub use tlv::{Kind, Ssl, Tlvs};
pub use write::{Told, ToldTls, write_local, write_v1, write_v2};

/// The most bytes of a header that are taken: version 2 with its addresses and TLVs.
pub const MAX: usize = v2::FIXED + v2::MAX_BODY;

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// From where the client reached the proxy, and where that was. `None`: the proxy speaks for itself (`LOCAL`), or does
    /// not say (`UNKNOWN`, a UNIX socket); the socket's own addresses hold.
    pub addresses: Option<Addresses>,
    /// What else it says.
    pub tlvs: Tlvs,
}

/// Both ends of what the proxy forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected.
    pub destination: SocketAddr,
}

/// Why bytes are no header that we take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// They do not begin as one.
    NotAHeader,
    /// Longer than 107 bytes (version 1), or than [`MAX`].
    TooLong,
    /// An address, port, command, family or TLV that the specification does not have.
    Malformed,
    /// The checksum is wrong.
    Checksum,
    /// A TLV that may be there once is there twice.
    Twice,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Error::NotAHeader => "no PROXY header",
            Error::TooLong => "a PROXY header that is too long",
            Error::Malformed => "a malformed PROXY header",
            Error::Checksum => "a PROXY header with a wrong checksum",
            Error::Twice => "a PROXY header that says a thing twice",
        })
    }
}

impl std::error::Error for Error {}

/// Whether what begins so is meant as a header; `None`: too few bytes to tell.
pub fn is_meant(start: &[u8]) -> Option<bool> {
    let begins = |sign: &[u8]| {
        let n = start.len().min(sign.len());
        start.get(..n) == sign.get(..n)
    };
    match (begins(v1::SIGN), begins(v2::SIGN)) {
        (false, false) => Some(false),
        (true, _) if start.len() >= v1::SIGN.len() => Some(true),
        (_, true) if start.len() >= v2::SIGN.len() => Some(true),
        (_, _) => None,
    }
}

/// Reads one header from bytes as they come.
#[derive(Debug, Default)]
pub struct Decoder {
    kept: Vec<u8>,
}

impl Decoder {
    /// Takes from `input` what belongs to the header; the header, once it is whole. Errors: it is none, or not one that
    /// we take; then nothing more can be read.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Header>, Error> {
        loop {
            let missing = self.missing()?;
            if missing == 0 {
                let whole = std::mem::take(&mut self.kept);
                let header = if is_v1(&whole) { v1::read(&whole) } else { v2::read(&whole) };
                return header.map(Some);
            }
            let n = missing.min(input.len());
            let (Some(taken), Some(rest)) = (input.get(..n), input.get(n..)) else {
                return Ok(None);
            };
            if n == 0 {
                return Ok(None);
            }
            self.kept.extend_from_slice(taken);
            *input = rest;
        }
    }

    /// How many bytes surely belong to the header beyond those that are kept; 0: it is whole.
    fn missing(&self) -> Result<usize, Error> {
        let kept = self.kept.as_slice();
        match is_meant(kept) {
            Some(false) => Err(Error::NotAHeader),
            None => Ok(1),
            Some(true) if is_v1(kept) => v1::missing(kept),
            Some(true) => v2::missing(kept),
        }
    }

    /// How many bytes are kept.
    pub fn buffered(&self) -> usize {
        self.kept.len()
    }
}

fn is_v1(kept: &[u8]) -> bool {
    kept.starts_with(v1::SIGN)
}

#[cfg(test)]
mod tests;
