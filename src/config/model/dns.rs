//! How the names of upstreams become addresses.

use std::net::SocketAddr;

use crate::time::Duration;

/// `[dns]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Who is asked; none: those of the system.
    pub servers: Vec<SocketAddr>,
    /// How long a name may take to be resolved.
    pub timeout: Duration,
    /// How long an answer holds at least.
    pub min_ttl: Duration,
    /// How long at most; not below that.
    pub max_ttl: Duration,
    /// Which addresses count.
    pub family: Family,
}

impl Default for Dns {
    fn default() -> Self {
        Dns {
            servers: Vec::new(),
            timeout: Duration::from_secs(5),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(300),
            family: Family::Any,
        }
    }
}

/// Which addresses of a name count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// All: each is another upstream.
    Any,
    /// Those of IPv4.
    Ipv4,
    /// Those of IPv6.
    Ipv6,
}

words! {
    Family { "any" => Any, "ipv4" => Ipv4, "ipv6" => Ipv6 }
}
