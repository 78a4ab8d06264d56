//! Ports for those that cannot be given port 0: because they listen there again later, or are told where before they start.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Where the kernel takes none from who is asked for any port (`net.ipv4.ip_local_port_range` begins at 32768).
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port of 127.0.0.1 that is free, and that nobody else is given: neither who binds port 0, nor who asks here again.
///
/// # Panics
/// All are in use.
#[expect(clippy::expect_used, reason = "a test's own function")]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes beside this one begin elsewhere.
    let own = (std::process::id() % u32::from(COUNT)) as u16;
    let port = |n: u16| FIRST + (own.wrapping_mul(101) % COUNT + n) % COUNT;
    (0..COUNT)
        .map(|_| port(NEXT.fetch_add(1, Ordering::Relaxed) % COUNT))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a port is free")
}
