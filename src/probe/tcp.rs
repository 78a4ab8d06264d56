//! Whether an upstream takes a connection. It sends nothing.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::time::Duration;
use crate::upstream::connect::{Watchfulness, dial};
use crate::upstream::tls::Way;

/// How long the other side may take to close, too.
const GOODBYE: Duration = Duration::from_millis(250);

/// How much of what it says first is read: a socket that is closed with bytes unread is reset.
const MAX_GREETING: usize = 64 * 1024;

/// Connects, over TLS where there is a way to, and says `first` before that. Errors: the system's, or `TimedOut` after `limit`.
pub async fn probe(
    address: SocketAddr,
    way: Option<&Way>,
    limit: Duration,
    first: &[u8],
) -> io::Result<impl Future<Output = ()> + use<>> {
    let stream = dial(address, way, limit, Watchfulness::default(), first).await?;
    Ok(close(stream))
}

/// Closes a connection in order: an upstream that logs resets has none to log.
pub(super) async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut read = 0;
    let mut buffer = [0; 1024];
    let rest = async {
        while let Ok(n) = stream.read(&mut buffer).await {
            read += n;
            if n == 0 || read > MAX_GREETING {
                return;
            }
        }
    };
    // Late: then it is reset, if there was anything to read.
    let _ = tokio::time::timeout(GOODBYE, rest).await;
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn whoever_takes_a_connection_is_well_and_sees_it_end_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let greets = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.write_all(b"220 hello\r\n").await.unwrap();
            let mut rest = Vec::new();
            // A reset would be an error.
            socket.read_to_end(&mut rest).await.unwrap();
            rest
        };
        let probes = async { probe(address, None, SECOND, b"").await.unwrap().await };
        let (said, ()) = tokio::join!(greets, probes);
        assert!(said.is_empty());
    }

    #[tokio::test]
    async fn a_closed_port_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = probe(address, None, SECOND, b"").await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn one_that_never_closes_holds_nobody_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (probed, held) = tokio::join!(probe(address, None, SECOND, b""), listener.accept());
        let began = crate::time::now();
        probed.unwrap().await;
        assert!(crate::time::now() - began < SECOND);
        drop(held);
    }
}
