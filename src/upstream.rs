//! Upstreams: where CLI servers come from. Never decides which of them gets a session.

pub mod source;
