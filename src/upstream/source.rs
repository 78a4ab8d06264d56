//! Sources of upstreams. Each yields addresses; none of them speaks to a client.

pub mod dns;
pub mod managed;
