//! What a conn passes before its first frame, in order: the PROXY header of a trusted proxy, then TLS. Bounded in time
//! and number; takes no byte that belongs to what comes after.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::tls::Terminator;
use crate::identity::{Shown, mtls};
use crate::stream::Io;
use crate::time::Duration;
use crate::wire::cidr::Cidr;
use crate::wire::proxy_protocol::{self, Decoder, Header};

/// Clients of a listener that may be on their way in at a time, beside which others are refused.
pub const UNDER_WAY: usize = 1024;

/// How much of a PROXY header is looked at at a time, in bytes.
const GLANCE: usize = 256;

/// The way into one listener.
#[derive(Debug)]
pub struct Door {
    tls: Option<Arc<Terminator>>,
    trusted: Option<Vec<Cidr>>,
    deadline: Duration,
    under_way: Semaphore,
}

/// A client that came in.
#[derive(Debug)]
pub struct Entered {
    /// Where its first frame comes from.
    pub io: Io,
    /// Where it is, as far as is known.
    pub peer: SocketAddr,
    /// Version and cipher of TLS; `None`: there is none.
    pub tls: Option<String>,
    /// What it showed.
    pub shown: Shown,
}

impl Entered {
    /// A client that had nothing to pass.
    pub fn plain(socket: TcpStream, peer: SocketAddr) -> Self {
        let shown = Shown::default();
        Entered { io: Io::Plain(socket), peer, tls: None, shown }
    }
}

/// Why a client did not come in.
#[derive(Debug)]
pub enum Refused {
    /// Too many others are on their way in.
    Crowded,
    /// It took too long.
    Late,
    /// It went away.
    Gone,
    /// It comes from a trusted proxy, and begins with no PROXY header that we take.
    Header(proxy_protocol::Error),
    /// It begins with a PROXY header, and nobody trusts it.
    Untrusted,
    /// It does not speak TLS.
    NotTls,
    /// Its certificate is missing or wrong.
    Certificate(rustls::Error),
    /// The handshake failed in another way.
    Handshake(rustls::Error),
}

impl Refused {
    /// The word for metrics.
    pub const fn slug(&self) -> &'static str {
        match self {
            Refused::Crowded => "handshakes",
            Refused::Late => "handshake_timeout",
            Refused::Gone => "gone",
            Refused::Header(_) => "proxy_header",
            Refused::Untrusted => "proxy_untrusted",
            Refused::NotTls => "not_tls",
            Refused::Certificate(_) => "client_certificate",
            Refused::Handshake(_) => "tls",
        }
    }

    /// Whether it showed what proves nothing, or claimed what is not its to claim.
    pub const fn is_of_evidence(&self) -> bool {
        matches!(self, Refused::Untrusted | Refused::Certificate(_))
    }
}

impl Door {
    /// `trusted`: from here a PROXY header must come; `None`: none is looked for. `deadline`: how long a client has from
    /// being accepted to the end of its handshake. `under_way`: how many may be on their way at a time.
    pub fn new(
        tls: Option<Arc<Terminator>>,
        trusted: Option<Vec<Cidr>>,
        deadline: Duration,
        under_way: usize,
    ) -> Self {
        Door { tls, trusted, deadline, under_way: Semaphore::new(under_way) }
    }

    /// Whether who comes from here says where its client is.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().flatten().any(|range| range.contains(peer))
    }

    /// Lets a client in. Errors: it is not; its socket is closed.
    pub async fn enter(&self, socket: TcpStream, peer: SocketAddr) -> Result<Entered, Refused> {
        let _place = self.under_way.try_acquire().map_err(|_| Refused::Crowded)?;
        timeout(self.deadline, self.pass(socket, peer)).await.unwrap_or(Err(Refused::Late))
    }

    async fn pass(&self, socket: TcpStream, peer: SocketAddr) -> Result<Entered, Refused> {
        let proxied = match &self.trusted {
            None => None,
            Some(trusted) if trusted.iter().any(|range| range.contains(peer.ip())) => {
                Some(header(&socket).await?)
            }
            Some(_) => {
                without_header(&socket).await?;
                None
            }
        };
        let addresses = proxied.as_ref().and_then(|header| header.addresses);
        let peer = addresses.map_or(peer, |addresses| addresses.source);
        let Some(terminator) = &self.tls else {
            let shown = Shown { proxied, ..Shown::default() };
            return Ok(Entered { shown, ..Entered::plain(socket, peer) });
        };
        let stream = terminator.accept(socket).await.map_err(failed)?;
        let (_, connection) = stream.get_ref();
        let certificate = connection.peer_certificates().and_then(|chain| chain.first());
        let certificate = certificate.and_then(|leaf| mtls::Names::read(leaf));
        let cipher = connection.negotiated_cipher_suite().map(|suite| suite.suite());
        let cipher = cipher.and_then(|cipher| cipher.as_str()).unwrap_or("?");
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        };
        let tls = format!("{version} {cipher}");
        let sni = connection.server_name().map(|name| name.to_ascii_lowercase().into());
        let shown = Shown { certificate, proxied, sni };
        Ok(Entered { io: Io::tls(stream), peer, tls: Some(tls), shown })
    }
}

/// Reads a PROXY header, and nothing behind it: what belongs to it is seen before it is taken.
async fn header(socket: &TcpStream) -> Result<Header, Refused> {
    let mut decoder = Decoder::default();
    let mut buffer = [0; GLANCE];
    loop {
        let seen = socket.peek(&mut buffer).await.map_err(|_| Refused::Gone)?;
        let mut rest = buffer.get(..seen).unwrap_or_default();
        let found = decoder.next(&mut rest).map_err(Refused::Header)?;
        let taken = seen - rest.len();
        if taken == 0 {
            return Err(Refused::Gone);
        }
        // They are there: this takes as many as it is asked to.
        let read = socket.try_read(buffer.get_mut(..taken).unwrap_or_default());
        if !read.is_ok_and(|n| n == taken) {
            return Err(Refused::Gone);
        }
        if let Some(header) = found {
            return Ok(header);
        }
    }
}

/// Waits for the first bytes, which must not look like a PROXY header: neither a frame nor TLS begins like one.
async fn without_header(socket: &TcpStream) -> Result<(), Refused> {
    let mut buffer = [0; 16];
    let seen = socket.peek(&mut buffer).await.map_err(|_| Refused::Gone)?;
    let start = buffer.get(..seen).unwrap_or_default();
    let meant = proxy_protocol::is_meant(start) != Some(false);
    if meant && seen > 0 { Err(Refused::Untrusted) } else { Ok(()) }
}

fn failed(error: io::Error) -> Refused {
    let inner = error.into_inner().and_then(|inner| inner.downcast::<rustls::Error>().ok());
    match inner.map(|inner| *inner) {
        None => Refused::Gone,
        Some(rustls::Error::InvalidMessage(_)) => Refused::NotTls,
        Some(
            error @ (rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_)),
        ) => Refused::Certificate(error),
        Some(error) => Refused::Handshake(error),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, peer) = listener.accept().await.unwrap();
        (client, server, peer)
    }

    #[tokio::test]
    async fn beside_a_bound_of_others_nobody_comes_in() {
        let trusted = Some(vec!["127.0.0.1".parse().unwrap()]);
        let door = Door::new(None, trusted, Duration::from_secs(60), 1);
        let ((first, silent, from), (second, socket, peer)) = (pair().await, pair().await);
        second.try_write(b"PROXY UNKNOWN\r\n").unwrap();
        let mut coming = std::pin::pin!(door.enter(silent, from));
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(coming.as_mut().poll(cx)));
        assert!(polled.await.is_pending(), "the first is on its way");
        assert!(matches!(door.enter(socket, peer).await, Err(Refused::Crowded)));
        drop(first);
        assert!(matches!(coming.await, Err(Refused::Gone)));
        let (third, socket, peer) = pair().await;
        third.try_write(b"PROXY UNKNOWN\r\n").unwrap();
        assert!(door.enter(socket, peer).await.is_ok(), "the first gave its place back");
    }
}
