//! Connections to upstreams: one that is kept from an earlier request, or a new one. Each worker keeps its own, so that nobody
//! waits for another thread; what is kept is bounded in number and time, and is looked at before it is used again.
//!
//! Pingora speaks HTTP over them. Its own pool is left alone: it gives each idle connection a task, which has to be woken
//! before the connection can be used.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use ahash::AHashMap;
use pingora::protocols::http::v1::client::HttpSession as Upstream;
use tokio::io::{AsyncRead as _, ReadBuf};

use super::upstream::{Outgoing, UpstreamStream};
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

type Idle = AHashMap<Way, VecDeque<(Box<UpstreamStream>, Instant)>>;

thread_local! {
    static IDLE: RefCell<Idle> = RefCell::default();
}

/// A connection that is in use, and whether it was used before.
pub struct Connected {
    /// The connection.
    pub session: Upstream,
    /// What is on its way there.
    pub outgoing: Arc<Outgoing>,
    /// It was kept from an earlier request: the upstream may have closed it meanwhile.
    pub reused: bool,
}

/// Connects, over TLS where `tls` says how. Errors: nobody is there, or not in time, or shows a wrong certificate.
pub async fn connect(way: Way, tls: Option<&tls::Way>, timeout: Duration) -> io::Result<Connected> {
    if let Some(stream) = kept(way) {
        return Ok(Connected::over(stream, true));
    }
    let stream = dial(way.1, tls, timeout, Watchfulness::default(), b"").await?;
    if stream.alpn().is_some_and(|spoken| spoken != b"http/1.1") {
        return Err(io::Error::other("it does not speak HTTP/1.1"));
    }
    Ok(Connected::over(Box::new(UpstreamStream::new(stream)), false))
}

impl Connected {
    fn over(stream: Box<UpstreamStream>, reused: bool) -> Self {
        let outgoing = Arc::clone(stream.outgoing());
        Connected { session: Upstream::new(stream), outgoing, reused }
    }

    /// Makes sure that its end is not taken for an end of what was said.
    pub fn break_off(&self) {
        if let Some(stream) = self.session.stream().as_any().downcast_ref::<UpstreamStream>() {
            stream.break_off();
        }
    }
}

/// Keeps a connection that can serve another request.
pub async fn give_back(way: Way, mut session: Upstream) {
    session.respect_keepalive();
    let Some(stream) = session.reuse().await else { return };
    if let Ok(stream) = stream.into_any().downcast() {
        keep(way, stream, time::now());
    }
}

fn keep(way: Way, stream: Box<UpstreamStream>, now: Instant) {
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
fn kept(way: Way) -> Option<Box<UpstreamStream>> {
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
fn is_silent(stream: &mut UpstreamStream) -> bool {
    let mut byte = [0];
    let mut buf = ReadBuf::new(&mut byte);
    let read = std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut buf));
    // A task that has done much already would not be let look.
    let mut read = std::pin::pin!(tokio::task::unconstrained(read));
    read.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpStream;

    use super::*;
    use crate::stream::Io;
    use crate::stream::pairs::pair;

    const WAY: Way =
        (UpstreamId(1), SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1));

    /// One that is kept, and its other end.
    async fn kept_now(now: Instant) -> TcpStream {
        let (ours, theirs) = pair().await;
        keep(WAY, Box::new(UpstreamStream::new(Io::Plain(ours))), now);
        theirs
    }

    /// The one that was kept last, once something can be read of it.
    async fn heard() {
        let ours = IDLE.with_borrow_mut(|idle| idle.get_mut(&WAY).unwrap().pop_back()).unwrap();
        ours.0.readable().await;
        IDLE.with_borrow_mut(|idle| idle.get_mut(&WAY).unwrap().push_back(ours));
    }

    fn count() -> usize {
        IDLE.with_borrow(|idle| idle.values().map(VecDeque::len).sum())
    }

    #[tokio::test]
    async fn what_is_kept_is_used_by_its_way_alone_and_once() {
        let _end = kept_now(time::now()).await;
        assert!(kept((UpstreamId(2), WAY.1)).is_none());
        assert!(kept((WAY.0, SocketAddr::new(WAY.1.ip(), 2))).is_none());
        assert!(kept(WAY).is_some() && kept(WAY).is_none());
    }

    #[tokio::test]
    async fn one_that_ended_or_said_something_is_not_used() {
        drop(kept_now(time::now()).await);
        heard().await;
        let mut end = kept_now(time::now()).await;
        end.write_all(b"x").await.unwrap();
        heard().await;
        assert!(kept(WAY).is_none());
    }

    #[tokio::test]
    async fn a_task_that_has_done_much_sees_all_the_same_that_one_ended() {
        drop(kept_now(time::now()).await);
        heard().await;
        let found = std::future::poll_fn(|cx| {
            // Until the runtime lets it do no more before it yields.
            let mut spent =
                (0..1000).map(|_| std::pin::pin!(tokio::task::consume_budget()).poll(cx));
            assert!(spent.any(|may| may.is_pending()));
            std::task::Poll::Ready(kept(WAY).is_some())
        });
        assert!(!found.await);
    }

    #[tokio::test]
    async fn nothing_is_kept_for_too_long() {
        let now = time::now();
        let _ends = (kept_now(now).await, kept_now(now + KEPT / 2).await);
        drop(kept_now(now + KEPT / 2).await);
        heard().await;
        sweep(now + KEPT - Duration::from_millis(1));
        assert_eq!(count(), 2, "the one that ended is gone");
        sweep(now + KEPT);
        assert_eq!(count(), 1);
        let _old = kept_now(now - KEPT).await;
        assert!(kept(WAY).is_some_and(|_| kept(WAY).is_none()), "the old one is not used");
    }

    #[tokio::test]
    async fn only_so_many_are_kept() {
        let now = time::now();
        for _ in 0..MOST + 10 {
            let _end = kept_now(now).await;
        }
        assert_eq!(count(), MOST);
    }
}
