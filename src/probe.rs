//! How it is found out whether upstreams are well: a `watch` on each CLI, a probe now and then of what is none. It tells the
//! pool what it saw, and decides nothing.

pub mod http;
mod pace;
pub mod tcp;
pub mod visit;
pub mod watch;
