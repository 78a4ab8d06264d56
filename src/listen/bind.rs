//! Listening sockets, and the conns that they yield.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpListener;

use crate::time::Duration;

/// Conns that the kernel keeps for us until we accept them.
const BACKLOG: i32 = 4096;

/// Listens at `address`. Must be called within a tokio runtime. Errors: the system's.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the old conns' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Makes an accepted socket ready for use: no delay, and probes after `keepalive` of idleness.
pub fn tune(stream: &std::net::TcpStream, keepalive: Option<Duration>) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    if let Some(time) = keepalive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time).with_interval(time / 3))?;
    }
    Ok(())
}
