//! A connection to an upstream: TCP, or TLS over it where its pool says so.

use std::io;
use std::net::SocketAddr;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::tls::Way;
use crate::stream::Io;
use crate::time::Duration;

/// What the kernel takes as a time of keepalive.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(32_767));

/// Connects, without Nagle's delay. Errors: the system's, or `TimedOut` after `limit`.
pub async fn connect(address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(limit, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// How the system finds out that the other end is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watchfulness {
    /// Idle time before it asks; `None`: it does not.
    pub keepalive: Option<Duration>,
    /// For what was sent to be acknowledged; `None`: as the kernel has it.
    pub user_timeout: Option<Duration>,
}

impl Watchfulness {
    /// Has the system watch a connection so. Errors: the system's.
    pub fn watch(self, stream: &TcpStream) -> io::Result<()> {
        let socket = SockRef::from(stream);
        if let Some(time) = self.keepalive {
            let fit = |time: Duration| time.clamp(KEEPALIVE.0, KEEPALIVE.1);
            let keepalive = TcpKeepalive::new().with_time(fit(time)).with_interval(fit(time / 3));
            socket.set_tcp_keepalive(&keepalive)?;
        }
        if self.user_timeout.is_some() {
            socket.set_tcp_user_timeout(self.user_timeout)?;
        }
        Ok(())
    }
}

/// Connects, and says `first` before everything else. Errors: the system's, or `TimedOut` after `limit`.
pub async fn connect_saying(
    address: SocketAddr,
    limit: Duration,
    with: Watchfulness,
    first: &[u8],
) -> io::Result<TcpStream> {
    let all = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        with.watch(&stream)?;
        stream.write_all(first).await?;
        Ok(stream)
    };
    tokio::time::timeout(limit, all).await?
}

/// The same, and shakes hands then, where there is a way to. Errors: also TLS's, as the inner one; `TimedOut` after `limit`
/// for all together.
pub async fn dial(
    address: SocketAddr,
    way: Option<&Way>,
    limit: Duration,
    with: Watchfulness,
    first: &[u8],
) -> io::Result<Io> {
    let connecting = connect_saying(address, limit, with, first);
    let Some(way) = way else { return connecting.await.map(Io::Plain) };
    let dialing = async {
        let stream = way.shake(connecting.await?).await?;
        Ok(Io::tls(stream))
    };
    tokio::time::timeout(limit, dialing).await?
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_connection_is_watched_as_it_is_asked_for_and_says_first_what_it_must() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let with = Watchfulness {
            keepalive: Some(Duration::from_secs(30)),
            user_timeout: Some(Duration::from_secs(20)),
        };
        let stream = connect_saying(address, SOON, with, b"first").await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(20)));
        let mut heard = [0; 5];
        listener.accept().await.unwrap().0.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"first");
        let unwatched = connect_saying(address, SOON, Watchfulness::default(), b"").await.unwrap();
        let socket = SockRef::from(&unwatched);
        assert!(!socket.keepalive().unwrap() && socket.tcp_user_timeout().unwrap().is_none());
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_the_limit() {
        // Nothing is accepted beyond a backlog of one, so that the third hears nothing.
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let limit = Duration::from_millis(50);
        let mut held = Vec::new();
        let late = loop {
            match connect_saying(address, limit, Watchfulness::default(), b"").await {
                Ok(stream) if held.len() < 8 => held.push(stream),
                other => break other,
            }
        };
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
