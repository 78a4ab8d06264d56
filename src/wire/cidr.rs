//! Ranges of addresses, such as `10.1.0.0/16` (RFC 4632). Knows nobody who comes from there.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A range of addresses. IPv4 that is written as IPv6 (`::ffff:10.0.0.0/104`) is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    network: IpAddr,
    prefix: u32,
}

/// What is wrong with a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CidrError {
    /// It is no address with a number behind a slash.
    Form,
    /// The number is larger than this, the bits of such an address.
    Prefix(u32),
    /// There are bits behind the prefix; this is the range without them.
    HostBits(Cidr),
}

impl fmt::Display for CidrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CidrError::Form => f.write_str("must be a range such as 10.1.0.0/16 or 2001:db8::/32"),
            CidrError::Prefix(bits) => write!(f, "the prefix is longer than {bits} bits"),
            CidrError::HostBits(meant) => {
                write!(f, "there are bits set behind the first {}", meant.prefix)
            }
        }
    }
}

impl Cidr {
    /// Whether the address is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.network.is_ipv4() && masked(address, self.prefix) == self.network
    }

    /// How many bits of an address it tells.
    pub fn prefix(&self) -> u32 {
        self.prefix
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| CidrError::Form)?;
        let bits = bits(address);
        let prefix = match prefix {
            // No sign, no leading zero: what one reader takes for octal.
            Some(digits) if digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| CidrError::Form)?
            }
            Some(_) => return Err(CidrError::Form),
            None => bits,
        };
        if prefix > bits {
            return Err(CidrError::Prefix(bits));
        }
        let network = masked(address, prefix);
        let cidr = canonical(network, prefix);
        if network == address { Ok(cidr) } else { Err(CidrError::HostBits(cidr)) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

fn bits(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn canonical(network: IpAddr, prefix: u32) -> Cidr {
    match (network.is_ipv6(), network.to_canonical(), prefix.checked_sub(96)) {
        (true, mapped @ IpAddr::V4(_), Some(prefix)) => Cidr { network: mapped, prefix },
        (_, _, _) => Cidr { network, prefix },
    }
}

/// The address with all bits behind the first `prefix` cleared.
fn masked(address: IpAddr, prefix: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - prefix.min(128)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cidr(text: &str) -> Result<Cidr, CidrError> {
        text.parse()
    }

    fn holds(range: &str, address: &str) -> bool {
        cidr(range).unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_range_holds_its_addresses_and_no_others() {
        for (range, inside, outside) in [
            ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
            ("0.0.0.0/0", "255.255.255.255", "::"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.7/32", "192.0.2.7", "192.0.2.6"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::"),
            ("::/0", "ffff::", "0.0.0.0"),
            ("::1", "::1", "::2"),
        ] {
            assert!(holds(range, inside), "{range} {inside}");
            assert!(!holds(range, outside), "{range} {outside}");
        }
    }

    #[test]
    fn ipv4_in_ipv6_is_ipv4() {
        assert!(holds("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(holds("::ffff:10.0.0.0/104", "10.1.2.3"));
        assert_eq!(cidr("::ffff:10.0.0.0/104"), cidr("10.0.0.0/8"));
        assert!(!holds("::/0", "::ffff:10.1.2.3"), "an IPv4 client comes from no IPv6 range");
    }

    #[test]
    fn what_is_no_range_says_why() {
        for bad in ["", "/", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/8/8", "10.0/8", "a/8", "::/0x8"]
        {
            assert_eq!(cidr(bad), Err(CidrError::Form), "{bad}");
        }
        assert_eq!(cidr("10.0.0.0/33"), Err(CidrError::Prefix(32)));
        assert_eq!(cidr("::/129"), Err(CidrError::Prefix(128)));
        let meant = cidr("10.1.0.0/16").unwrap();
        assert_eq!(cidr("10.1.2.0/16"), Err(CidrError::HostBits(meant)));
    }

    proptest! {
        #[test]
        fn a_range_is_read_as_it_is_shown(address: [u8; 4], prefix in 0u32..=32) {
            let network = masked(IpAddr::from(address), prefix);
            let shown = Cidr { network, prefix }.to_string();
            prop_assert_eq!(cidr(&shown), Ok(Cidr { network, prefix }));
            prop_assert!(holds(&shown, &IpAddr::from(address).to_string()));
        }
    }
}
