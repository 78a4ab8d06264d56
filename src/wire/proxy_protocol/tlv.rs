//! What a version 2 header says beside addresses: type, length, value (specification, sections 2.2.1 to 2.2.8).

use super::Error;
use crate::wire::crc32c::crc32c;

/// The types that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What was agreed on above TLS (`PP2_TYPE_ALPN`).
    Alpn,
    /// The host that the client asked for, such as SNI (`PP2_TYPE_AUTHORITY`).
    Authority,
    /// The proxy's own name of the conn, at most 128 bytes (`PP2_TYPE_UNIQUE_ID`).
    UniqueId,
    /// How the client's TLS was (`PP2_TYPE_SSL`); see [`Tlvs::ssl`].
    Ssl,
    /// The name of a network namespace (`PP2_TYPE_NETNS`).
    Netns,
    /// For whatever operators agree on: 0xE0 to 0xEF.
    Custom(u8),
}

impl Kind {
    /// The custom type of this number; `None`: it is not in 0xE0 to 0xEF.
    pub const fn custom(number: u8) -> Option<Kind> {
        if number >> 4 == 0xE { Some(Kind::Custom(number)) } else { None }
    }

    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Kind::Alpn => 0x01,
            Kind::Authority => 0x02,
            Kind::UniqueId => 0x05,
            Kind::Ssl => 0x20,
            Kind::Netns => 0x30,
            Kind::Custom(number) => number,
        }
    }
}

pub(super) const CRC32C: u8 = 0x03;
const NOOP: u8 = 0x04;
const UNIQUE_ID: u8 = Kind::UniqueId.number();
const SSL: u8 = Kind::Ssl.number();

/// Within SSL: the version, and the common name of the client's certificate.
pub(super) const SSL_VERSION: u8 = 0x21;
pub(super) const SSL_CN: u8 = 0x22;

/// In SSL's first byte: the client showed a certificate, over this connection or in the TLS session that it resumed.
const CERTIFICATE: u8 = 0x02 | 0x04;

/// The longest UNIQUE_ID.
pub(super) const MAX_UNIQUE_ID: usize = 128;

/// The TLVs of a header, each type at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tlvs(Vec<(u8, Box<[u8]>)>);

/// How the client's TLS was, as the proxy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ssl<'a> {
    /// The client showed a certificate, and the proxy found it good.
    pub verified: bool,
    /// Such as `TLSv1.3`.
    pub version: Option<&'a str>,
    /// The common name of the certificate's subject, verified or not.
    pub cn: Option<&'a str>,
}

impl Tlvs {
    /// Reads what follows the addresses of the header `whole`.
    pub(super) fn read(area: &[u8], whole: &[u8]) -> Result<Self, Error> {
        let (mut found, mut checked) = (Tlvs::default(), false);
        let mut rest = area;
        while let Some((kind, value, after)) = one(rest)? {
            match kind {
                NOOP => {}
                CRC32C if checked => return Err(Error::Twice),
                CRC32C => {
                    // Where the value is in the header; the checksum was made with zeros there.
                    let at = whole.len() - after.len() - value.len();
                    check(whole, at, value)?;
                    checked = true;
                }
                _ if found.value(kind).is_some() => return Err(Error::Twice),
                UNIQUE_ID if value.len() > MAX_UNIQUE_ID => return Err(Error::Malformed),
                SSL => {
                    read_ssl(value)?;
                    found.0.push((kind, value.into()));
                }
                _ => found.0.push((kind, value.into())),
            }
            rest = after;
        }
        Ok(found)
    }

    /// The value of a type, as it came.
    pub fn get(&self, kind: Kind) -> Option<&[u8]> {
        self.value(kind.number())
    }

    /// How the client's TLS was.
    pub fn ssl(&self) -> Option<Ssl<'_>> {
        self.get(Kind::Ssl).and_then(|value| read_ssl(value).ok())
    }

    fn value(&self, kind: u8) -> Option<&[u8]> {
        self.0.iter().find(|(k, _)| *k == kind).map(|(_, value)| &**value)
    }
}

/// The type and value of a TLV, and what follows it.
type One<'a> = (u8, &'a [u8], &'a [u8]);

/// The first TLV; `None` at the end.
fn one(area: &[u8]) -> Result<Option<One<'_>>, Error> {
    let Some((kind, rest)) = area.split_first() else { return Ok(None) };
    let (length, rest) = rest.split_first_chunk::<2>().ok_or(Error::Malformed)?;
    let (value, after) =
        rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(Error::Malformed)?;
    Ok(Some((*kind, value, after)))
}

fn check(whole: &[u8], at: usize, value: &[u8]) -> Result<(), Error> {
    let said = value.first_chunk::<4>().filter(|said| said.len() == value.len());
    let said = u32::from_be_bytes(*said.ok_or(Error::Malformed)?);
    let field = at..at + value.len();
    let zeroed = whole.iter().enumerate().map(|(n, b)| if field.contains(&n) { 0 } else { *b });
    if crc32c(zeroed) == said { Ok(()) } else { Err(Error::Checksum) }
}

fn read_ssl(value: &[u8]) -> Result<Ssl<'_>, Error> {
    let (client, rest) = value.split_first().ok_or(Error::Malformed)?;
    let (verify, mut rest) = rest.split_first_chunk::<4>().ok_or(Error::Malformed)?;
    let verified = *verify == [0; 4] && client & CERTIFICATE != 0;
    let mut ssl = Ssl { verified, version: None, cn: None };
    while let Some((kind, value, after)) = one(rest)? {
        let field = match kind {
            SSL_VERSION => Some(&mut ssl.version),
            SSL_CN => Some(&mut ssl.cn),
            _ => None,
        };
        if let Some(field) = field {
            let text = std::str::from_utf8(value).map_err(|_| Error::Malformed)?;
            if field.replace(text).is_some() {
                return Err(Error::Twice);
            }
        }
        rest = after;
    }
    Ok(ssl)
}
