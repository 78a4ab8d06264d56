//! Pools of CLIs: members and their leases, what is asked of them, and where they come from.
//!
//! Knows nothing of clients' frames or of listeners; the data path is above.

pub mod ask;
pub mod connect;
pub mod cut;
pub mod hub;
pub mod member;
pub mod pool;
pub mod seat;
pub mod source;
pub mod tls;
