//! One CLI of a pool: its address, its condition, and how much lives on it. It never leaves its pool by itself.

use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::ask::{Ask, Asker};
use super::seat::Seat;
use super::tls::Way;
use crate::balance::{self, Candidate};
use crate::health::outlier::{Outlier, Rule};
use crate::health::state::{Change, Health, Seen, State};
use crate::id::UpstreamId;
use crate::observe::metrics::UpstreamMetrics;
use crate::rpc::mux::{Hello, LinkToken};
use crate::time::{self, Duration, Instant};

/// Between two complaints of one member in the log.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);

/// What a member is made of.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// Its name in logs and metrics.
    pub name: String,
    /// Where it is; `None` until its process is ready.
    pub address: Option<SocketAddr>,
    /// Its share of sessions.
    pub weight: u32,
    /// How many sessions may live on it.
    pub max_sessions: Option<u32>,
    /// In how many of them a turn may run.
    pub max_turns: Option<u32>,
    /// Good probes in a row that make it up.
    pub rise: u32,
    /// Bad ones that make it down.
    pub fall: u32,
    /// What it wants to hear first; `None`: nothing.
    pub token: Option<LinkToken>,
}

struct Condition {
    address: Option<SocketAddr>,
    health: Health,
    hello: Option<Hello>,
    token: Option<LinkToken>,
}

/// See the module's head.
pub struct Member {
    /// Its number in this process.
    pub id: UpstreamId,
    /// Its name in logs and metrics.
    pub name: String,
    /// The way to its `watch`.
    pub asker: Asker,
    /// Its series.
    pub metrics: Arc<UpstreamMetrics>,
    key: u64,
    weight: u32,
    max_sessions: Option<u32>,
    max_turns: Option<u32>,
    sessions: AtomicU32,
    busy: AtomicU32,
    links: AtomicU32,
    /// It takes nothing new.
    retired: AtomicBool,
    /// It is no member any more.
    ended: AtomicBool,
    /// Something that lived on it ended, or it has ended itself.
    left: Notify,
    /// How often there came to be more room.
    freed: AtomicU64,
    condition: Mutex<Condition>,
    /// When the last byte came from it, on any connection, in ms after `epoch`.
    heard: AtomicU64,
    epoch: Instant,
    /// When a log line complained of it, likewise; 0: never.
    complained: AtomicU64,
    hints: mpsc::Sender<Seen>,
    moved: Notify,
    way: OnceLock<Way>,
    outlier: Mutex<Outlier>,
    /// Whether nothing is held against it.
    steady: AtomicBool,
}

/// What the `watch` of a member listens to.
#[derive(Debug)]
pub struct Ears {
    /// Questions for its CLI.
    pub asks: mpsc::Receiver<Ask>,
    /// What conns saw of it.
    pub hints: mpsc::Receiver<Seen>,
}

impl Member {
    /// A member that has not answered yet, and what its `watch` listens to.
    pub fn new(id: UpstreamId, with: Parameters, metrics: Arc<UpstreamMetrics>) -> (Self, Ears) {
        let (asker, asks) = Asker::new();
        let (hints, heard_hints) = mpsc::channel(16);
        metrics.state.set(State::Starting.slug());
        metrics.session_capacity.set(with.max_sessions.map_or(0, i64::from));
        let member = Member {
            id,
            key: balance::member_key(&with.name),
            name: with.name,
            asker,
            metrics,
            weight: with.weight,
            max_sessions: with.max_sessions,
            max_turns: with.max_turns,
            sessions: AtomicU32::new(0),
            busy: AtomicU32::new(0),
            links: AtomicU32::new(0),
            retired: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            left: Notify::new(),
            freed: AtomicU64::new(0),
            condition: Mutex::new(Condition {
                address: with.address,
                health: Health::new(with.rise, with.fall),
                hello: None,
                token: with.token,
            }),
            heard: AtomicU64::new(0),
            complained: AtomicU64::new(0),
            epoch: time::now(),
            hints,
            moved: Notify::new(),
            way: OnceLock::new(),
            outlier: Mutex::default(),
            steady: AtomicBool::new(true),
        };
        (member, Ears { asks, hints: heard_hints })
    }

    /// Where it is, if its process is there.
    pub fn address(&self) -> Option<SocketAddr> {
        self.condition.lock().address
    }

    /// Its process is there now, or nowhere.
    pub fn set_address(&self, address: Option<SocketAddr>) {
        self.condition.lock().address = address;
        if address.is_some() {
            self.moved.notify_one();
        }
    }

    /// How TLS is spoken with it; `None`: it is not.
    pub fn way(&self) -> Option<&Way> {
        self.way.get()
    }

    /// TLS is spoken with it like this. Say it before anybody connects to it; said twice, the first holds.
    pub fn set_way(&self, way: Way) {
        let _ = self.way.set(way);
    }

    /// What a link or watch that is made now presents to it.
    pub fn token(&self) -> Option<LinkToken> {
        self.condition.lock().token.clone()
    }

    /// From now on it wants to hear this.
    pub fn set_token(&self, token: Option<LinkToken>) {
        self.condition.lock().token = token;
    }

    /// Returns when its process is somewhere else.
    pub async fn moved(&self) {
        self.moved.notified().await;
    }

    /// What is known of it.
    pub fn state(&self) -> State {
        self.condition.lock().health.state()
    }

    /// Whether it takes sessions and answers for them.
    pub fn is_up(&self) -> bool {
        self.state() == State::Up
    }

    /// Takes note of what was seen; returns what changed, if the state did.
    pub fn see(&self, seen: Seen) -> Option<Change> {
        let changed = self.condition.lock().health.see(seen);
        if let Some(change) = changed {
            self.metrics.state.set(change.to.slug());
            self.free();
        }
        changed
    }

    /// A conn saw something of it: its `watch` will look.
    pub fn hint(&self, seen: Seen) {
        // Full: it looks already.
        let _ = self.hints.try_send(seen);
    }

    /// What it says of itself, once it has.
    pub fn hello(&self) -> Option<Hello> {
        self.condition.lock().hello.clone()
    }

    /// It said this of itself.
    pub fn set_hello(&self, hello: Hello) {
        self.metrics.info.set([&hello.protocol.to_string(), &hello.version]);
        self.condition.lock().hello = Some(hello);
    }

    /// A byte came from it.
    pub fn heard(&self, now: Instant) {
        self.heard.store(self.ms(now), Ordering::Relaxed);
    }

    /// Whether the log may complain of it again: not more than once in [`COMPLAIN_EVERY`].
    pub fn may_complain(&self, now: Instant) -> bool {
        let now = self.ms(now).max(1);
        let due = |last: u64| {
            let soon = last > 0 && now.saturating_sub(last) < COMPLAIN_EVERY.as_millis() as u64;
            (!soon).then_some(now)
        };
        self.complained.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok()
    }

    /// Milliseconds after `epoch`.
    fn ms(&self, now: Instant) -> u64 {
        let ms = now.saturating_duration_since(self.epoch).as_millis();
        u64::try_from(ms).unwrap_or(u64::MAX)
    }

    /// When the last byte came from it.
    pub fn last_heard(&self) -> Instant {
        self.epoch + Duration::from_millis(self.heard.load(Ordering::Relaxed))
    }

    /// A number that changes whenever there may be room that there was not.
    pub fn freed(&self) -> u64 {
        self.freed.load(Ordering::Relaxed)
    }

    fn free(&self) {
        self.freed.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether sessions may be placed on it, if it has room.
    pub fn takes(&self) -> bool {
        self.is_up() && !self.is_retired()
    }

    /// Whether it takes nothing new, and goes once nothing lives on it.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// It takes nothing new. Says whether it did before. The pool's lock keeps anybody from being placed meanwhile.
    pub(super) fn retire(&self) -> bool {
        self.metrics.retired.set(1);
        !self.retired.swap(true, Ordering::Relaxed)
    }

    /// It takes sessions again. Says whether it did not.
    pub(super) fn stay(&self) -> bool {
        let was = self.retired.swap(false, Ordering::Relaxed);
        if was {
            self.metrics.retired.set(0);
            self.free();
        }
        was
    }

    /// Whether anything lives on it: sessions, or links.
    pub(super) fn is_used(&self) -> bool {
        self.sessions.load(Ordering::Relaxed) + self.links.load(Ordering::Relaxed) > 0
    }

    /// Returns when something that lived on it has ended; perhaps sooner.
    pub(super) async fn unused(&self) {
        self.left.notified().await;
    }

    /// It is no member any more.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.left.notify_waiters();
    }

    /// Whether it is no member any more.
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Returns when it is no member any more.
    pub async fn ended(&self) {
        loop {
            let mut left = pin!(self.left.notified());
            left.as_mut().enable();
            if self.is_ended() {
                return;
            }
            left.await;
        }
    }

    /// Something that lived on it has ended.
    fn leave(&self) {
        if self.is_retired() {
            self.left.notify_waiters();
            self.left.notify_one();
        }
    }

    /// Whether nothing is held against it: then it is not out.
    pub(super) fn is_steady(&self) -> bool {
        self.steady.load(Ordering::Relaxed)
    }

    /// Whether it is put out, because it failed too often.
    pub(super) fn is_out(&self, now: Instant) -> bool {
        !self.is_steady() && self.outlier.lock().is_out(now)
    }

    /// How it served. Returns until when it is put out, if it is now.
    pub(super) fn served(
        &self,
        rule: &Rule,
        well: bool,
        now: Instant,
        may: impl FnOnce() -> bool,
    ) -> Option<Instant> {
        // Asked before the lock is taken, because it asks all members.
        let may = !well && may();
        let mut outlier = self.outlier.lock();
        let until = if well {
            outlier.succeeded(rule, now);
            None
        } else {
            outlier.failed(rule, now, may)
        };
        self.steady.store(*outlier == Outlier::default(), Ordering::Relaxed);
        if until.is_some() {
            self.metrics.ejections.inc();
        }
        until
    }

    /// As the policies see it; `None` if it may take no session.
    pub fn candidate(&self) -> Option<Candidate> {
        self.room().filter(|_| !self.is_retired())
    }

    /// The same, for a session that no other has; `None` if it is not up or has no room.
    pub fn room(&self) -> Option<Candidate> {
        let candidate = Candidate {
            id: self.id,
            key: self.key,
            weight: self.weight,
            sessions: self.sessions.load(Ordering::Relaxed),
            busy: self.busy.load(Ordering::Relaxed),
        };
        let room = self.max_sessions.is_none_or(|max| candidate.sessions < max);
        (room && self.is_up()).then_some(candidate)
    }
}

/// Room for one session on a member, and its owner's seat in the pool; given back when dropped.
pub struct Lease {
    member: Arc<Member>,
    /// `None`: nobody counts.
    seat: Option<Box<Seat>>,
    busy: bool,
}

impl Lease {
    /// Takes room. The pool's lock keeps two from taking the last.
    pub fn take(member: &Arc<Member>, seat: Option<Seat>) -> Self {
        member.sessions.fetch_add(1, Ordering::Relaxed);
        member.metrics.sessions.inc();
        Lease { member: Arc::clone(member), seat: seat.map(Box::new), busy: false }
    }

    /// Whether a turn may run in the session: one does, or there is room for it.
    pub fn has_room_for_turn(&self) -> bool {
        let here = |max: u32| self.member.busy.load(Ordering::Relaxed) < max;
        let seat = |seat: &Seat| seat.has_room_for_turn();
        self.busy || self.member.max_turns.is_none_or(here) && self.seat.as_deref().is_none_or(seat)
    }

    /// A turn runs in the session, or none does.
    pub fn set_busy(&mut self, busy: bool) {
        match (self.busy, busy) {
            (false, true) => drop(self.member.busy.fetch_add(1, Ordering::Relaxed)),
            (true, false) => {
                self.member.busy.fetch_sub(1, Ordering::Relaxed);
                self.member.free();
            }
            (false, false) | (true, true) => {}
        }
        self.busy = busy;
        if let Some(seat) = &mut self.seat {
            seat.set_busy(busy);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.set_busy(false);
        self.member.sessions.fetch_sub(1, Ordering::Relaxed);
        self.member.metrics.sessions.dec();
        self.member.free();
        self.member.leave();
    }
}

/// A member that a link goes to: it stays as long as that.
pub struct Linked(Arc<Member>);

impl Linked {
    /// One link more.
    pub fn to(member: Arc<Member>) -> Self {
        member.links.fetch_add(1, Ordering::Relaxed);
        member.metrics.links.inc();
        Linked(member)
    }
}

impl Deref for Linked {
    type Target = Member;

    fn deref(&self) -> &Member {
        &self.0
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        self.0.links.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.links.dec();
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The session table's own test counts with this.
    #[test]
    fn a_lease_takes_three_words() {
        assert!(size_of::<Lease>() <= 24);
    }
}
