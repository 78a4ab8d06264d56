//! The address that a conn comes from, and whom the operator says it is. Decides by address alone: nothing here knows
//! whether a proxy stands between.

use std::net::IpAddr;
use std::sync::Arc;

use crate::caller::{Claim, Proof};
use crate::wire::cidr::Cidr;

/// A range and who comes from there: a tenant, a user or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The addresses.
    pub cidr: Cidr,
    /// Their tenant.
    pub tenant: Option<Arc<str>>,
    /// Their user.
    pub user: Option<Arc<str>>,
}

/// Ranges of addresses; of several that hold an address the smallest one counts.
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    /// As they were written.
    ranges: Vec<Range>,
}

impl Ranges {
    /// In any order.
    pub fn new(ranges: Vec<Range>) -> Self {
        Ranges { ranges }
    }

    /// The ranges as they were given.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// Who comes from this address.
    pub fn find(&self, peer: IpAddr) -> Option<Claim> {
        let holding = self.ranges.iter().filter(|range| range.cidr.contains(peer));
        let range = holding.max_by_key(|range| range.cidr.prefix())?;
        Some(Claim {
            tenant: range.tenant.clone(),
            user: range.user.clone(),
            trust: None,
            proof: Proof::SourceIp,
            expires: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_range_counts_in_any_order() {
        let range = |text: &str| Range {
            cidr: text.parse().unwrap(),
            tenant: Some(text.into()),
            user: None,
        };
        let mut ranges =
            vec![range("10.0.0.0/8"), range("10.1.0.0/16"), range("10.1.2.3"), range("::/0")];
        for _ in 0..ranges.len() {
            ranges.rotate_left(1);
            let ranges = Ranges::new(ranges.clone());
            let tenant = |peer: &str| ranges.find(peer.parse().unwrap()).and_then(|c| c.tenant);
            assert_eq!(tenant("10.1.2.3").as_deref(), Some("10.1.2.3"));
            assert_eq!(tenant("10.1.2.4").as_deref(), Some("10.1.0.0/16"));
            assert_eq!(tenant("10.2.0.1").as_deref(), Some("10.0.0.0/8"));
            assert_eq!(tenant("2001:db8::1").as_deref(), Some("::/0"));
            assert_eq!(tenant("192.0.2.1"), None);
        }
    }
}
