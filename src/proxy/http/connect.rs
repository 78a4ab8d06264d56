//! Connections to upstreams: one that is kept from an earlier request, or a new one. Each worker keeps its own, so that nobody
//! waits for another thread; what is kept is bounded in number and time, and is looked at before it is used again.
//!
//! Pingora makes the connections, and speaks HTTP over them. Its own pool is left alone: it gives each idle connection a task,
//! which has to be woken before the connection can be used.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use ahash::AHashMap;
use pingora::ErrorType::ConnectError;
use pingora::OrErr as _;
use pingora::connectors::TransportConnector;
use pingora::protocols::Stream;
use pingora::protocols::http::v1::client::HttpSession as Http1;
use pingora::upstreams::peer::HttpPeer;
use tokio::io::{AsyncRead as _, ReadBuf};

use super::relay::Upstream;
use super::secure::Secure;
use crate::id::UpstreamId;
use crate::time::{self, Duration, Instant};
use crate::upstream::connect::{Watchfulness, dial};
use crate::upstream::tls;

/// How long a connection that nobody uses is kept.
const KEPT: Duration = Duration::from_secs(60);
/// How many of them a worker keeps for one upstream.
const MOST: usize = 256;
/// How often it is looked for those that were kept for too long.
const LOOK: Duration = Duration::from_secs(5);

/// One way to an upstream. It may move.
pub type Way = (UpstreamId, SocketAddr);

type Idle = AHashMap<Way, VecDeque<(Stream, Instant)>>;

thread_local! {
    static IDLE: RefCell<Idle> = RefCell::default();
    static CONNECTOR: Arc<TransportConnector> = Arc::new(TransportConnector::new(None));
}

/// A connection that is in use, and whether it was used before.
pub struct Connected {
    /// The connection.
    pub session: Upstream,
    /// It was kept from an earlier request: the upstream may have closed it meanwhile.
    pub reused: bool,
}

/// Connects, over TLS where `tls` says how. Errors: nobody is there, or not in time, or shows a wrong certificate.
pub async fn connect(
    way: Way,
    tls: Option<&tls::Way>,
    timeout: Duration,
) -> pingora::Result<Connected> {
    if let Some(stream) = kept(way) {
        return Ok(Connected { session: Upstream::H1(Http1::new(stream)), reused: true });
    }
    if tls.is_some() {
        let stream = dial(way.1, tls, timeout, Watchfulness::default(), b"").await;
        let stream = stream.or_err(ConnectError, "cannot connect in TLS")?;
        if stream.alpn().is_some_and(|spoken| spoken != b"http/1.1") {
            return pingora::Error::e_explain(ConnectError, "it wants no HTTP/1.1");
        }
        let stream: Stream = Box::new(Secure(stream));
        return Ok(Connected { session: Upstream::H1(Http1::new(stream)), reused: false });
    }
    let mut peer = HttpPeer::new(way.1, false, String::new());
    peer.options.connection_timeout = Some(timeout);
    peer.options.total_connection_timeout = Some(timeout);
    let connector = CONNECTOR.with(Arc::clone);
    let stream = connector.new_stream(&peer).await?;
    Ok(Connected { session: Upstream::H1(Http1::new(stream)), reused: false })
}

/// Keeps a connection that can serve another request.
pub async fn give_back(way: Way, session: Upstream) {
    let Upstream::H1(mut session) = session else { return };
    session.respect_keepalive();
    if let Some(stream) = session.reuse().await {
        keep(way, stream, time::now());
    }
}

fn keep(way: Way, stream: Stream, now: Instant) {
    IDLE.with_borrow_mut(|idle| {
        let kept = idle.entry(way).or_default();
        if kept.len() >= MOST {
            kept.pop_front();
        }
        kept.push_back((stream, now));
    });
}

/// Lets go of what was kept for too long, or whose upstream is gone, for as long as the worker runs.
pub async fn let_go() {
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        sweep(time::now());
    }
}

fn sweep(now: Instant) {
    IDLE.with_borrow_mut(|idle| {
        for kept in idle.values_mut() {
            kept.retain_mut(|(stream, since)| *since + KEPT > now && is_silent(stream));
        }
        idle.retain(|_, kept| !kept.is_empty());
    });
}

/// The one that was used last, of those that can be used again.
fn kept(way: Way) -> Option<Stream> {
    IDLE.with_borrow_mut(|idle| {
        let kept = idle.get_mut(&way)?;
        loop {
            let (mut stream, since) = kept.pop_back()?;
            if since + KEPT > time::now() && is_silent(&mut stream) {
                return Some(stream);
            }
        }
    })
}

/// Whether an upstream that was asked nothing says nothing: one that ended, or sent something, is of no more use.
fn is_silent(stream: &mut Stream) -> bool {
    let mut byte = [0];
    let mut buf = ReadBuf::new(&mut byte);
    Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf).is_pending()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const WAY: Way =
        (UpstreamId(1), SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1));

    /// One that is kept, and its other end.
    fn kept_now(now: Instant) -> DuplexStream {
        let (ours, theirs) = duplex(16);
        keep(WAY, Box::new(ours), now);
        theirs
    }

    fn count() -> usize {
        IDLE.with_borrow(|idle| idle.values().map(VecDeque::len).sum())
    }

    #[tokio::test]
    async fn what_is_kept_is_used_by_its_way_alone_and_once() {
        let _end = kept_now(time::now());
        assert!(kept((UpstreamId(2), WAY.1)).is_none());
        assert!(kept((WAY.0, SocketAddr::new(WAY.1.ip(), 2))).is_none());
        assert!(kept(WAY).is_some() && kept(WAY).is_none());
    }

    #[tokio::test]
    async fn one_that_ended_or_said_something_is_not_used() {
        drop(kept_now(time::now()));
        let mut end = kept_now(time::now());
        end.write_all(b"x").await.unwrap();
        assert!(kept(WAY).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_for_too_long() {
        let now = time::now();
        let _ends = (kept_now(now), kept_now(now + KEPT / 2));
        drop(kept_now(now + KEPT / 2));
        sweep(now + KEPT - Duration::from_millis(1));
        assert_eq!(count(), 2, "the one that ended is gone");
        sweep(now + KEPT);
        assert_eq!(count(), 1);
        tokio::time::advance(KEPT * 2).await;
        assert!(kept(WAY).is_none());
    }

    #[tokio::test]
    async fn only_so_many_are_kept() {
        let now = time::now();
        let _ends: Vec<_> = (0..MOST + 10).map(|_| kept_now(now)).collect();
        assert_eq!(count(), MOST);
    }
}
