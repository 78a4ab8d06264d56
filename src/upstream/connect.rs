//! A TCP connection to a CLI.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::time::Duration;

/// Connects, without Nagle's delay. Errors: the system's, or `TimedOut` after `limit`.
pub async fn connect(address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(limit, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}
