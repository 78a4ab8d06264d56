//! A range of addresses, such as `10.0.0.0/8` (RFC 4632). IPv4 in IPv6 (`::ffff:10.0.0.1`) counts as IPv4.

use core::net::IpAddr;
use std::fmt;
use std::str::FromStr;

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, address) = (self.address, address.to_canonical());
        own.is_ipv4() == address.is_ipv4() && bits(address, self.prefix) == bits(own, self.prefix)
    }
}

/// The first `prefix` bits of an address.
fn bits(address: IpAddr, prefix: u8) -> u128 {
    let (all, width) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    all.checked_shr(width - u32::from(prefix)).unwrap_or(0)
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not a range of addresses such as \"10.0.0.0/8\"");
        let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            "" if !text.contains('/') => width,
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|n| *n <= width).ok_or_else(bad)?
            }
            _ => return Err(bad()),
        };
        let network = Network { address, prefix };
        if bits(address, prefix).checked_shl(u32::from(width - prefix)).unwrap_or(0)
            != bits(address, width)
        {
            return Err(format!("{text:?} has bits set behind its first {prefix}"));
        }
        if address != address.to_canonical() {
            return Err(format!("{text:?} is IPv4: write it so"));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn an_address_is_in_the_ranges_that_share_its_first_bits() {
        assert!(within("10.0.0.0/8", "10.255.0.1") && !within("10.0.0.0/8", "11.0.0.1"));
        assert!(within("127.0.0.1", "127.0.0.1") && !within("127.0.0.1", "127.0.0.2"));
        assert!(within("0.0.0.0/0", "192.0.2.1") && !within("0.0.0.0/0", "::1"));
        assert!(within("::/0", "2001:db8::1") && !within("::/0", "192.0.2.1"));
        assert!(within("2001:db8::/33", "2001:db8::1"));
        assert!(!within("2001:db8::/33", "2001:db8:8000::1"));
        assert!(within("10.0.0.0/8", "::ffff:10.1.2.3"), "on a socket of both kinds");
    }

    #[test]
    fn what_is_no_range_is_refused_with_the_reason() {
        for text in ["", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "10/8", "::/129", "a/8", "/8"] {
            assert!(text.parse::<Network>().unwrap_err().contains("is not a range"), "{text}");
        }
        assert!("10.0.0.1/8".parse::<Network>().unwrap_err().contains("behind its first 8"));
        assert!("::ffff:10.0.0.0/104".parse::<Network>().unwrap_err().contains("is IPv4"));
    }

    #[test]
    fn a_range_is_shown_as_it_is_read() {
        for text in ["10.0.0.0/8", "2001:db8::/32", "127.0.0.1/32"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
    }
}
