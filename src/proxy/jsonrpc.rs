//! A conn of a `jsonrpc` listener: one task, one client socket, a link to each CLI that the client needs.
//!
//! The task moves bytes between its sockets and its [`Mux`], and does what the mux wants done. It decides nothing about
//! a message. Nothing on the way of a message takes a lock, wakes another task, or looks a label up.

mod actions;
mod audit;
mod flow;
mod identify;
mod link;
mod report;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ahash::AHashMap;
use tokio::time::Sleep;

use self::flow::Flow;
use self::link::LinkIo;
use self::report::Tally;
use super::admit::Classes;
use super::budget::Budget;
use super::callers::{Seat, Who};
use super::edge::Edge;
use super::origin::Origin;
use crate::config::Pattern;
use crate::drain::Mode;
use crate::id::{ConnId, SessionId};
use crate::listen::door::Entered;
use crate::observe::audit::Hush;
use crate::observe::metrics::RpcMetrics;
use crate::rpc::mux::{End, Mux, Now, Settings, Ticket};
use crate::stream::Io;
use crate::time::{self, Duration, Instant};
use crate::upstream::hub::{Event, Inbox, Joined, Notice};
use crate::upstream::pool::{Pool, Visitor};
use crate::want::Want;

/// How long a client has to take our last bytes and close, before the conn is dropped.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long before the end of a drained conn its client is told the last thing: one that hears of the end forgets what it
/// has not dealt with yet (the Node SDK: an event each turn of its loop).
const SETTLE: Duration = Duration::from_millis(250);

/// How often deadlines are looked at, while there are any.
const TICK: Duration = Duration::from_secs(1);

/// What all conns of a listener share.
pub struct Listener {
    /// What it has whatever is spoken.
    pub edge: Edge,
    /// What a conn may do and hold.
    pub settings: Arc<Settings>,
    /// What the ids of sessions that clients make must match.
    pub required_id: Option<Pattern>,
    /// Which sessions that are made here outlive their clients.
    pub classes: Classes,
    /// Who serves it.
    pub pool: Arc<Pool>,
    /// For the pool to have a CLI that answered.
    pub connect_wait: Duration,
    /// For a peer that takes no bytes.
    pub stall_timeout: Duration,
    /// Bytes that all conns of the process keep, and may keep.
    pub buffered: Arc<Budget>,
}

/// A client that was let in.
pub struct Conn {
    id: ConnId,
    origin: Origin,
    visitor: Arc<Visitor>,
    /// Something was presented that proves who calls.
    proven: bool,
    /// Its place among the caller's conns, where these are counted.
    seat: Option<Box<Seat<Who>>>,
    /// When that is over.
    expiry: Option<Pin<Box<Sleep>>>,
    listener: Arc<Listener>,
    rpc: Arc<RpcMetrics>,
    mux: Mux,
    client: Io,
    client_flow: Flow,
    links: Vec<LinkIo>,
    /// A link was added that nobody has polled yet.
    opened: bool,
    /// A socket was not read, because too much waits to be written.
    held_back: bool,
    inbox: Arc<Inbox>,
    /// What each unanswered question about a session was.
    seeking: AHashMap<Ticket, (SessionId, Want)>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Until when a conn that could end is still there.
    settling: Option<Pin<Box<Sleep>>>,
    kept: usize,
    /// Since when the process keeps too much, and what this conn keeps does not change.
    over_since: Option<Instant>,
    pending: u32,
    tally: Tally,
    /// Of what it was refused lately: most conns never are.
    hush: Option<Box<Hush>>,
    /// Why it ends, once all is said and at most the client's own end is waited for.
    end: Option<End>,
}

impl Conn {
    /// Takes a client in. `seed` is random.
    pub fn new(
        id: ConnId,
        entered: Entered,
        listener: Arc<Listener>,
        rpc: Arc<RpcMetrics>,
        seed: u64,
    ) -> Self {
        let Entered { io: client, peer, tls, shown } = entered;
        let origin = match &listener.edge.door {
            None => Origin::Direct(peer),
            Some(_) => Origin::door(peer, tls, shown),
        };
        let inbox = listener.pool.hub.enter(id);
        listener.edge.metrics.accepted.inc();
        listener.edge.metrics.connections.inc();
        let mut conn = Conn {
            id,
            origin,
            mux: Mux::new(Arc::clone(&listener.settings), seed),
            visitor: Arc::clone(&listener.edge.anonymous),
            proven: false,
            seat: None,
            expiry: None,
            listener,
            rpc,
            client,
            client_flow: Flow::default(),
            links: Vec::new(),
            opened: false,
            held_back: false,
            inbox,
            seeking: AHashMap::new(),
            timer: None,
            settling: None,
            kept: 0,
            over_since: None,
            pending: 0,
            tally: Tally::new(time::now()),
            hush: None,
            end: None,
        };
        conn.identify();
        conn
    }

    /// We are leaving already.
    pub fn leave(&self, mode: Mode) {
        self.inbox.push(Event::Leave(mode));
    }

    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let now = Now { at: time::now(), wall: time::wall() };
        if self.end.is_some() {
            return self.poll_goodbye(cx);
        }
        self.poll_inbox(cx, now);
        self.poll_timer(cx, now);
        self.poll_expiry(cx, now);
        // What may bring more without waking us first: only that is looked at again.
        let (mut links, mut client) = (true, true);
        loop {
            self.held_back = false;
            links = links && self.poll_links(cx, now);
            client = client && self.poll_client(cx, now);
            self.act(now);
            if let Err(end) = self.flush(cx, now) {
                return Poll::Ready(end);
            }
            self.keep_books();
            let done = self.mux.done();
            if done.is_none() {
                self.settling = None;
            }
            // What the client has sent by now is still answered.
            if let Some(end) = done.filter(|_| !client)
                && (self.client_has_all() || self.client_flow.broken)
                && self.has_settled(cx, end)
            {
                return self.say_goodbye(cx, end, now);
            }
            if self.held_back && self.may_read() {
                // The flush made room: nobody but us knows that the sockets may be read again.
                (links, client) = (true, true);
            }
            if std::mem::take(&mut self.opened) {
                links = true;
                self.poll_expiry(cx, now);
            }
            if !(links || client) {
                break;
            }
        }
        self.arm_timer(cx);
        Poll::Pending
    }

    /// Whether the client has had time for what it was told before a drain ends it.
    fn has_settled(&mut self, cx: &mut Context<'_>, end: End) -> bool {
        let (_, told) = self.mux.frames();
        if end != End::Drained || told == 0 || self.client_flow.broken {
            return true;
        }
        let settling = self.settling.get_or_insert_with(|| Box::pin(tokio::time::sleep(SETTLE)));
        settling.as_mut().poll(cx).is_ready()
    }

    /// Whether nothing that was said waits to go out any more.
    fn client_has_all(&mut self) -> bool {
        self.mux.client_out().is_empty() && !self.client_flow.sends()
    }

    fn poll_inbox(&mut self, cx: &Context<'_>, now: Now) {
        while let Poll::Ready(event) = self.inbox.poll_next(cx) {
            match event {
                Event::Again(ticket, absence) => self.seek_again(ticket, absence, now),
                Event::Found(ticket, found) => {
                    self.seeking.remove(&ticket);
                    self.mux.found(ticket, found, now);
                }
                Event::Answered(ticket, Joined::Result(result)) => {
                    self.mux.answered(ticket, Ok(result.as_bytes()), now);
                }
                Event::Answered(ticket, Joined::Refused(refusal)) => {
                    self.mux.answered(ticket, Err(refusal), now);
                }
                Event::Answered(ticket, Joined::Error(error)) => {
                    self.mux.asked_wrongly(ticket, &error, now.at);
                }
                Event::Greeted(ticket, hello) => self.mux.greeted(ticket, hello.as_ref(), now.at),
                Event::Notices(upstream, batch) => {
                    let since = self.tally.since;
                    for Notice(session, body, _) in batch.iter().filter(|n| n.2 >= since) {
                        if self.listener.pool.sees(&self.visitor, session.as_str()) {
                            self.mux.notice(upstream, session.as_str(), body.clone(), now.at);
                        }
                    }
                }
                Event::Rests(session, epoch) => self.mux.rests(&session, epoch),
                Event::Gone(session, epoch) => self.mux.gone(&session, epoch, now.at),
                Event::Dead(upstream) => {
                    let dead = self.links.iter().find(|l| l.upstream() == upstream);
                    if let Some(link) = dead {
                        link.count_loss("dead");
                        self.mux.link_lost(link.id, now);
                    }
                }
                Event::Leave(Mode::Drain) => self.mux.drain(),
                Event::Leave(Mode::Now) => self.mux.cut(now),
            }
            self.act(now);
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Now) {
        let Some(timer) = &mut self.timer else { return };
        if timer.as_mut().poll(cx).is_ready() {
            self.timer = None;
            self.audit_kept(now.at);
            self.mux.tick(now);
            self.expire_flows(now);
            if !self.mux.needs_ticks() {
                self.mux.shrink();
                self.seeking.shrink_to_fit();
            }
            self.expire_buffers(now);
        }
    }

    /// Ends the conn if it holds much of what nobody has room for, and goes neither forward nor back.
    fn expire_buffers(&mut self, now: Now) {
        let buffered = &self.listener.buffered;
        let over = buffered.is_over() && !buffered.is_little(self.kept);
        match self.over_since.filter(|_| over) {
            Some(since) if now.at >= since + self.listener.stall_timeout => {
                self.mux.client_stalled();
            }
            since => self.over_since = since.or(over.then_some(now.at)),
        }
    }

    fn arm_timer(&mut self, cx: &mut Context<'_>) {
        let waits = self.client_flow.waits() || self.links.iter().any(|l| l.flow.waits());
        let held = self.kept > 0 && self.listener.buffered.is_over();
        let hushed = self.hush.as_ref().is_some_and(|hush| hush.keeps());
        if self.timer.is_none() && (self.mux.needs_ticks() || waits || held || hushed) {
            let mut timer = Box::pin(tokio::time::sleep_until(time::now() + TICK));
            // It is in the future: this only leaves our waker there.
            let _ = timer.as_mut().poll(cx);
            self.timer = Some(timer);
        }
    }

    /// Counts what changed: bytes kept against the process's budget, requests pending.
    fn keep_books(&mut self) {
        let kept = self.mux.buffered();
        if kept != self.kept {
            self.listener.buffered.change(self.id, self.kept, kept);
            self.kept = kept;
            self.over_since = None;
        }
        let pending = self.mux.pending() as u32;
        if pending != self.pending {
            let change = i64::from(pending) - i64::from(self.pending);
            self.listener.edge.metrics.rpc_pending.add(change);
            self.pending = pending;
        }
    }
}

/// Serves the client until it, or we, have done. A future by hand, so that a conn is held once and not three times.
impl Future for Conn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.drive(cx).map(|end| self.end = Some(end))
    }
}

impl Drop for Conn {
    /// Whatever ended the task, what the conn held is given back.
    fn drop(&mut self) {
        let now = Now { at: time::now(), wall: time::wall() };
        self.mux.close(now);
        self.act(now);
        self.keep_books();
        // What was not written is not kept any more, either.
        self.listener.buffered.change(self.id, self.kept, 0);
        self.listener.pool.leave(self.id);
        self.seat = None;
        self.listener.edge.metrics.connections.dec();
        self.audit_rest();
        self.report_end(now);
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
        // One task for each conn, and one of these for each link: most of what an idle conn holds.
        assert!(size_of::<Conn>() <= 1088, "{}", size_of::<Conn>());
        assert!(size_of::<LinkIo>() <= 104, "{}", size_of::<LinkIo>());
    }
}
