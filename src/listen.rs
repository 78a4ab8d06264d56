//! Sockets that accept, and what comes before the first frame: PROXY headers and TLS. Knows nothing of what is spoken
//! after that.

pub mod bind;
pub mod door;
pub mod tls;
