//! What may come before the first frame of a conn, and what it is sealed with: pure readers of bytes.

pub mod certificates;
pub mod cidr;
pub mod crc32c;
pub mod host;
pub mod proxy_protocol;
pub mod target;
