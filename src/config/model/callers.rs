//! What one listener, one address and one caller may take.

use crate::time::Duration;

/// Bounds of a listener on those who call; `None`: no bound of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerLimits {
    /// Conns of the listener; at least 1, as the next two.
    pub max_conns: Option<usize>,
    /// Conns from one address; of IPv6 from one /64.
    pub max_conns_per_address: Option<usize>,
    /// Conns of one caller; who proved nothing is its address.
    pub max_conns_per_caller: Option<usize>,
    /// Wrong tokens from one address in a minute; at least 1.
    pub max_failed_connects: Option<u32>,
    /// How often one caller may ask.
    pub rate: Option<CallerRate>,
}

/// `[listener.rate]`. None of them is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallerRate {
    /// So many requests
    pub requests: u32,
    /// in so much time,
    pub per: Duration,
    /// and so many at once after a rest.
    pub burst: u32,
}
