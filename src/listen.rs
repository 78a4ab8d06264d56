//! Sockets that accept. Knows nothing of what is spoken on them.

pub mod bind;
