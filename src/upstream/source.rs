//! Sources of upstreams. Each yields addresses; none of them speaks to a client.

pub mod managed;
