//! A conn of a `tcp` listener: it is taken to one upstream, and bytes pass unread.
//!
//! Accept -> identify -> authorise -> place -> connect -> relay. Who is refused, or cannot be taken anywhere, is reset: an
//! end would look as if somebody had nothing to say.

mod authorise;
mod place;
mod report;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use self::place::{Placed, Unplaced};
use super::callers::{Seat, Who};
use super::edge::Edge;
use super::origin::Origin;
use super::relay::{self, Relay};
use crate::drain::{Mode, Watcher};
use crate::id::ConnId;
use crate::listen::door::Entered;
use crate::stream::Io;
use crate::time::{self, Duration, Instant};
use crate::upstream::connect::Watchfulness;
use crate::upstream::cut::{Cut, Why};
use crate::upstream::member::Linked;

use crate::upstream::pool::{Picked, Pool, Visitor};

/// How conns of a listener are relayed.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// For one connection to an upstream.
    pub connect_timeout: Duration,
    /// How many other upstreams are tried.
    pub connect_retries: u32,
    /// How long a conn may go without a byte.
    pub limits: relay::Limits,
    /// How old it becomes; `None`: as old as it likes.
    pub max_lifetime: Option<Duration>,
    /// How upstreams are watched that are connected to.
    pub watchfulness: Watchfulness,
    /// What becomes of a conn whose upstream is down.
    pub on_upstream_down: OnUpstreamDown,
    /// What each upstream is told first.
    pub send_proxy: Option<SendProxy>,
}

/// What becomes of conns whose upstream is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUpstreamDown {
    /// They go on.
    Keep,
    /// They are cut.
    Cut,
}

/// Which PROXY header an upstream is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendProxy {
    /// Version 1.
    V1,
    /// Version 2.
    V2,
}

/// What all conns of a listener share.
pub struct Listener {
    /// How clients come in, and who they are.
    pub edge: Edge,
    /// Who serves it.
    pub pool: Arc<Pool>,
    /// How they are relayed.
    pub with: Settings,
}

/// How a conn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// It was not let in: the word for it.
    Refused(&'static str),
    /// It could not be taken to an upstream.
    Unplaced(Unplaced),
    /// The client went away before that.
    Left,
    /// It was cut from outside.
    Cut(Why),
    /// It was relayed until this.
    Relayed(relay::End),
}

#[expect(clippy::large_enum_variant, reason = "nearly all conns are in the largest one")]
enum Stage {
    /// Nothing was done yet.
    Accepted(Io),
    /// An upstream is looked for. Boxed: it is forgotten when that is done.
    Placing(Io, Pin<Box<dyn Future<Output = Result<Placed, Unplaced>> + Send>>),
    /// The link and the room on the upstream are held as long as bytes pass.
    Relaying(Relay, Linked, Picked),
    Over,
}

/// See the module's head. One future, polled by hand, so that an idle one is small.
pub struct Conn {
    id: ConnId,
    origin: Origin,
    visitor: Arc<Visitor>,
    /// Its place among the caller's conns, where these are counted.
    seat: Option<Box<Seat<Who>>>,
    listener: Arc<Listener>,
    stage: Stage,
    /// There from the first poll on.
    cut: Option<Arc<Cut>>,
    since: Instant,
    /// When it is over in any case.
    until: Option<Instant>,
    /// What was told of where it goes, once that is known.
    way: place::Way,
    /// Bytes from and to the client that were counted.
    moved: (u64, u64),
    ended: Option<Ended>,
    watcher: Option<Watcher>,
}

/// Serves a client that was let in, until it or its upstream has done.
pub fn serve(entered: Entered, listener: Arc<Listener>, id: ConnId, watcher: Watcher) -> Conn {
    let Entered { io, peer, tls, shown } = entered;
    let origin = match &listener.edge.door {
        None => Origin::Direct(peer),
        Some(_) => Origin::door(peer, tls, shown),
    };
    listener.edge.metrics.accepted.inc();
    listener.edge.metrics.connections.inc();
    let since = time::now();
    Conn {
        id,
        origin,
        visitor: Arc::clone(&listener.edge.anonymous),
        seat: None,
        stage: Stage::Accepted(io),
        cut: None,
        since,
        until: listener.with.max_lifetime.and_then(|age| since.checked_add(age)),
        way: place::Way::default(),
        moved: (0, 0),
        ended: None,
        watcher: Some(watcher),
        listener,
    }
}

impl Conn {
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        if let Some(why) = self.cut.as_ref().and_then(|cut| cut.why()) {
            return Poll::Ready(Ended::Cut(why));
        }
        loop {
            match &mut self.stage {
                Stage::Accepted(_) => {
                    if let Err(ended) = self.begin(cx) {
                        return Poll::Ready(ended);
                    }
                }
                Stage::Placing(client, placing) => {
                    match placing.as_mut().poll(cx) {
                        Poll::Ready(Ok(placed)) => self.relay(placed),
                        Poll::Ready(Err(unplaced)) => {
                            return Poll::Ready(Ended::Unplaced(unplaced));
                        }
                        Poll::Pending if has_left(client, cx) => return Poll::Ready(Ended::Left),
                        Poll::Pending => return Poll::Pending,
                    };
                }
                Stage::Relaying(relay, linked, _) => {
                    let limits = &self.listener.with.limits;
                    let end = relay.poll(cx, limits);
                    let (to, from) = relay.moved();
                    let metrics = &self.listener.edge.metrics;
                    if to > self.moved.0 {
                        metrics.bytes_in.inc_by(to - self.moved.0);
                    }
                    if from > self.moved.1 {
                        metrics.bytes_out.inc_by(from - self.moved.1);
                        linked.heard(time::now());
                    }
                    self.moved = (to, from);
                    return end.map(Ended::Relayed);
                }
                Stage::Over => return Poll::Ready(self.ended.unwrap_or(Ended::Left)),
            }
        }
    }

    /// Authorises, and begins to look for an upstream.
    fn begin(&mut self, cx: &Context<'_>) -> Result<(), Ended> {
        let cuts = &self.listener.pool.cuts;
        self.cut = Some(cuts.enter(self.id, cx.waker()));
        // Whoever leaves now told those who were there: we may have come in that moment.
        if self.watcher.take().is_some_and(|watcher| watcher.mode() == Some(Mode::Now)) {
            return Err(Ended::Cut(Why::Leaving));
        }
        self.authorise().map_err(Ended::Refused)?;
        let Stage::Accepted(client) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return Ok(());
        };
        let placing = Box::pin(self.place(&client));
        self.stage = Stage::Placing(client, placing);
        Ok(())
    }

    fn relay(&mut self, placed: Placed) {
        let Placed { picked, linked, socket, way } = placed;
        self.way = way;
        if self.listener.with.on_upstream_down == OnUpstreamDown::Cut {
            self.listener.pool.cuts.depend(self.id, picked.member.id);
        }
        if let Stage::Placing(client, _) = std::mem::replace(&mut self.stage, Stage::Over) {
            self.stage = Stage::Relaying(Relay::new(client, socket, self.until), linked, picked);
        }
    }

    /// What is open is reset, unless it came to its own end; it is closed when the conn is dropped.
    fn close(&mut self, ended: Ended) {
        self.ended = Some(ended);
        match &self.stage {
            Stage::Accepted(client) | Stage::Placing(client, _) => relay::reset(client.socket()),
            Stage::Relaying(relay, ..) if ended != Ended::Relayed(relay::End::Done) => {
                relay.reset()
            }
            Stage::Relaying(..) | Stage::Over => {}
        }
    }
}

/// Whether the client's connection broke. That it has sent something, or said all, does not say so.
fn has_left(client: &Io, cx: &mut Context<'_>) -> bool {
    let mut byte = [0];
    let peeked = client.socket().poll_peek(cx, &mut ReadBuf::new(&mut byte));
    matches!(peeked, Poll::Ready(Err(_)))
}

impl Future for Conn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.drive(cx).map(|ended| self.close(ended))
    }
}

impl Drop for Conn {
    /// Whatever ended the task, what the conn held is given back.
    fn drop(&mut self) {
        self.listener.pool.cuts.leave(self.id);
        self.listener.edge.metrics.connections.dec();
        self.report();
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn").field("id", &self.id).field("peer", &self.origin.peer()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_conn_stays_small() {
        assert!(size_of::<Conn>() <= 640, "{}", size_of::<Conn>());
    }
}
