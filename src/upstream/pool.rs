//! A pool: its members, its session table, its conns; and the one place where a session gets its CLI.
//!
//! The table decides, the balancer chooses, the lease takes room: all under one lock, which is taken when a session is
//! sought, placed or left, never for a message on its way.

mod ephemeral;
mod find;
mod fleet;
mod forget;
mod gate;
mod halt;
mod look_up;
mod own;

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use self::ephemeral::Due;
use self::find::{OURSELVES, Seekers};
use self::gate::Gate;
use self::own::May;
pub use self::own::{By, Grants, Origin, Owners, Unknown, Visitor};
use super::hub::{Event, Hub};
use super::member::{Lease, Member};
use crate::balance::{Balancer, Candidate, PlacementReason, Policy};
use crate::drain::Tasks;
use crate::error::{Reason, Refusal};
use crate::health::state::{Change, Seen, State};
use crate::id::{AskId, ConnId, SessionId, UpstreamId};
use crate::observe::metrics::PoolMetrics;
use crate::rpc::mux::{Found, Hello, Left, Ticket};
use crate::session::table::{
    self, Absence, Answer, Asker, CreateExisting, Hold, Sighting, Storage, Table, Wake,
};
use crate::time::{self, Duration};
use crate::want::Want;

/// How many sessions that only lie on a disk are remembered.
const REMEMBERED: usize = 100_000;

/// When a client may try again after a cap was reached.
const RETRY_AFTER_MS: u64 = 1000;

/// What a pool is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parameters {
    /// How sessions are placed.
    pub policy: Policy,
    /// Who sees whose disk.
    pub storage: Storage,
    /// What a create of an id that is taken becomes.
    pub create_existing: CreateExisting,
    /// For one question to all CLIs, from when it is asked.
    pub lookup_timeout: Duration,
    /// For the turn of a look-up to come.
    pub lookup_wait: Duration,
    /// For an answer that is joined over all CLIs.
    pub fleet_timeout: Duration,
    /// How long an ephemeral session lives without a conn.
    pub ephemeral_grace: Duration,
}

/// The key by which a session is placed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// Equal keys go to equal members, where the policy cares.
    pub text: String,
    /// It is the session's own id, for want of a user.
    pub no_user: bool,
    /// The user that the session's id names.
    pub named: Option<Arc<str>>,
}

struct Decisions {
    table: Table<Lease>,
    balancer: Balancer,
}

/// See the module's head.
pub struct Pool {
    /// Its name in logs and metrics.
    pub name: String,
    /// Its CLIs.
    pub members: Vec<Arc<Member>>,
    /// Its conns.
    pub hub: Hub,
    /// Its series.
    pub metrics: Arc<PoolMetrics>,
    with: Parameters,
    /// `None`: its callers are not told apart, and all its sessions are persistent.
    owners: Option<Owners>,
    decisions: Mutex<Decisions>,
    gate: Gate,
    seekers: Seekers,
    due: Due,
    tasks: Tasks,
    changed: tokio::sync::Notify,
}

impl Pool {
    /// A pool of these members.
    pub fn new(
        name: String,
        members: Vec<Arc<Member>>,
        with: Parameters,
        owners: Option<Owners>,
        metrics: Arc<PoolMetrics>,
        tasks: Tasks,
    ) -> Arc<Self> {
        let table = Table::new(with.storage, with.create_existing, REMEMBERED);
        let balancer = Balancer::new(with.policy);
        Arc::new(Pool {
            name,
            members,
            hub: Hub::default(),
            metrics,
            with,
            owners,
            decisions: Mutex::new(Decisions { table, balancer }),
            gate: Gate::new(),
            seekers: Seekers::default(),
            due: Due::default(),
            tasks,
            changed: tokio::sync::Notify::new(),
        })
    }

    /// The member of this number.
    pub fn member(&self, id: UpstreamId) -> Option<&Arc<Member>> {
        self.members.iter().find(|m| m.id == id)
    }

    /// A CLI for what any CLI can answer: the one with the least to do.
    pub fn any(&self) -> Option<UpstreamId> {
        let up = self.members.iter().filter(|m| m.is_up());
        let least = |m: &&Arc<Member>| m.candidate().map_or(u32::MAX, |c| c.sessions + c.busy);
        up.min_by_key(least).map(|m| m.id)
    }

    /// What the CLIs that are up say of themselves: the lowest version, what all of them can do.
    pub fn hello(&self) -> Option<Hello> {
        let mut all = self.members.iter().filter(|m| m.is_up()).filter_map(|m| m.hello());
        let mut common = all.next()?;
        for hello in all {
            if version_key(&hello.version) < version_key(&common.version) {
                common.version = hello.version;
            }
            common.protocol = common.protocol.min(hello.protocol);
            common.task_kinds.retain(|kind| hello.task_kinds.contains(kind));
        }
        Some(common)
    }

    /// Waits until [`Pool::hello`] has something to say, for at most `limit`.
    pub async fn hello_within(&self, limit: Duration) -> Option<Hello> {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if let Some(hello) = self.hello() {
                    return hello;
                }
                changed.await;
            }
        };
        tokio::time::timeout(limit, wait).await.ok()
    }

    /// Returns once it is known of each CLI whether it is up, and one is.
    pub async fn settled(&self) {
        loop {
            let changed = self.changed.notified();
            let known = self.members.iter().all(|m| m.state() != State::Starting);
            if known && self.hello().is_some() {
                return;
            }
            changed.await;
        }
    }

    /// Something was seen of a member that says all.
    pub fn saw(&self, member: &Member, seen: Seen) {
        if let Some(change) = member.see(seen) {
            self.member_changed(member, change);
        }
    }

    /// A member changed its state.
    pub fn member_changed(&self, member: &Member, Change { from, to: state }: Change) {
        if state == State::Up {
            self.decide(|table| table.upstream_is(member.id, true));
        }
        self.changed.notify_waiters();
        tracing::info!(
            kind = "upstream",
            pool = self.name,
            upstream = member.name,
            state = state.slug(),
            "upstream is {}",
            state.slug()
        );
        let words = match (from, state) {
            (_, State::Misconfigured) => "the CLI refuses the pool's token",
            (State::Misconfigured, _) => "the CLI is no longer known to refuse the pool's token",
            (
                State::Starting | State::Up | State::Down | State::Leaving,
                State::Starting | State::Up | State::Down | State::Leaving,
            ) => return,
        };
        tracing::warn!(pool = self.name, upstream = member.name, state = state.slug(), "{words}");
    }

    /// A member is dead: links to it are lost, and with own storage its sessions. One that is only down may be busy.
    pub fn member_dead(&self, member: &Member) {
        self.decide(|table| table.upstream_is(member.id, false));
        self.hub.tell_all(&Event::Dead(member.id));
    }

    /// Somebody wants a session. `None`: the answer comes to the conn's inbox, as [`Event::Again`].
    pub fn seek(
        self: &Arc<Self>,
        conn: ConnId,
        ticket: Ticket,
        session: &SessionId,
        want: &Want,
        absence: Option<Absence>,
        by: By<'_>,
    ) -> Option<Found> {
        let decisions = self.decisions.lock();
        let claimed = match self.may(&decisions.table, session, want, absence, by) {
            Ok(May::Use) => false,
            Ok(May::Claim(receipt)) => {
                match self.written(receipt, session, (conn, ticket), absence)? {
                    Ok(()) => true,
                    Err(found) => return Some(found),
                }
            }
            Err(refusal) => return Some(Found::Refused(refusal)),
        };
        let found = self.look(decisions, (conn, ticket), session, want, absence, by.key);
        // A claim that took its time was made when this was asked first.
        let nobodys =
            *want == Want::CreateNew || *want == Want::Create && absence == Some(Absence::Nobody);
        if (claimed || nobodys) && matches!(found, Some(Found::Refused(_))) {
            self.disown(session);
        }
        found
    }

    /// The same, whoever wants it.
    fn look(
        self: &Arc<Self>,
        mut decisions: MutexGuard<'_, Decisions>,
        (conn, ticket): (ConnId, Ticket),
        session: &SessionId,
        want: &Want,
        absence: Option<Absence>,
        key: &Key,
    ) -> Option<Found> {
        let asker = Asker { conn, ticket: ticket.0 };
        let up = |id| self.member(id).is_some_and(|m| m.is_up());
        let now = time::now();
        if *want == (Want::Use { on_disk: true }) {
            decisions.table.rehome(session, up, || self.any());
        }
        match decisions.table.want(session, asker, want, absence, up, now) {
            Answer::Go { upstream, epoch, resume, reason } => {
                Some(Found::Go { upstream, epoch, resume, reason })
            }
            Answer::Refused(refusal) => Some(Found::Refused(refusal)),
            Answer::NotAsked => Some(Found::NotAsked),
            Answer::Wait => None,
            Answer::LookUp => {
                let Some(place) = self.gate.place() else {
                    decisions.table.looked_up(session, Sighting::Unasked);
                    return Some(Found::Refused(Refusal::crowded(session.as_str())));
                };
                decisions.table.wait(session, asker);
                drop(decisions);
                self.look_up(session, place);
                None
            }
            Answer::Place { only, near, resume } => {
                let placed = self.place(&mut decisions, session, conn, (only, near), key);
                let wakes = decisions.table.take_wakes();
                drop(decisions);
                self.wake(wakes);
                Some(match placed {
                    Ok((upstream, epoch, reason)) => {
                        Found::Go { upstream, epoch, resume, reason: Some(reason) }
                    }
                    Err(refusal) => Found::Refused(refusal),
                })
            }
        }
    }

    fn place(
        &self,
        decisions: &mut Decisions,
        session: &SessionId,
        conn: ConnId,
        (only, near): (Option<UpstreamId>, Option<UpstreamId>),
        key: &Key,
    ) -> Result<(UpstreamId, u64, PlacementReason), Refusal> {
        let candidates: Vec<Candidate> = self
            .members
            .iter()
            .filter(|m| only.is_none_or(|id| m.id == id))
            .filter_map(|m| m.candidate())
            .collect();
        let near = candidates.iter().find(|c| Some(c.id) == only.or(near));
        let chosen = match (near, only) {
            (Some(candidate), _) => Some((candidate.id, PlacementReason::Storage)),
            (None, Some(_)) => None,
            (None, None) => decisions.balancer.choose(key.text.as_bytes(), &candidates),
        };
        let Some((upstream, reason)) = chosen else {
            decisions.table.unplaceable(session);
            return Err(self.nobody(only, session));
        };
        let Some(member) = self.member(upstream) else {
            return Err(self.nobody(only, session));
        };
        let no_user = key.no_user && reason == PlacementReason::Sticky;
        let reason = if no_user { PlacementReason::NoUser } else { reason };
        let lease = Lease::take(member);
        let epoch = decisions.table.place(session, conn, upstream, reason, lease, time::now());
        self.metrics.placements.inc(reason.slug());
        tracing::info!(
            kind = "audit", action = "place", pool = self.name, session_id = %session,
            upstream = member.name, placement_reason = reason.slug(), conn_id = conn.0, "placed"
        );
        Ok((upstream, epoch, reason))
    }

    /// Why no member can take the session: none is up, or all that are up are full.
    fn nobody(&self, only: Option<UpstreamId>, session: &SessionId) -> Refusal {
        let up = self.members.iter().any(|m| only.is_none_or(|id| m.id == id) && m.is_up());
        let mut refusal = if up {
            Refusal::new(Reason::Overloaded, "every CLI has as many sessions as it may")
        } else {
            Refusal::new(Reason::NoUpstream, "no CLI is up")
        };
        refusal.retry_after_ms = Some(RETRY_AFTER_MS);
        refusal.of_session(session.as_str())
    }

    /// A CLI for a session that the CLI itself will name.
    pub fn choose_unnamed(&self, key: &Key) -> Result<UpstreamId, Refusal> {
        let candidates: Vec<Candidate> =
            self.members.iter().filter_map(|m| m.candidate()).collect();
        let chosen = self.decisions.lock().balancer.choose(key.text.as_bytes(), &candidates);
        chosen.map(|(id, _)| id).ok_or_else(|| self.nobody(None, &SessionId::new("")))
    }

    /// The session is attached to the conn.
    pub fn attached(&self, session: &SessionId, conn: ConnId, epoch: u64) {
        self.decide(|table| {
            table.attached(session, conn, epoch);
            table.lend(session, |upstream| self.member(upstream).map(Lease::take));
        });
        self.used(session);
    }

    /// It is not, after all.
    pub fn not_placed(
        self: &Arc<Self>,
        session: &SessionId,
        conn: ConnId,
        epoch: u64,
        absent: bool,
    ) {
        let now = time::now();
        // What a create came to on its CLI is not known, where that did not say that there is none.
        let clean = !absent && self.is_ephemeral(session);
        let gone = self.decide_on(session, |table| {
            let upstream = table.upstream_of(session)?;
            table.not_placed(session, conn, epoch, absent, now);
            let gone = table.upstream_of(session).is_none();
            let clean = gone && clean && table.delete(session, Hold::Unknown, now);
            gone.then_some((upstream, clean))
        });
        match gone {
            Some((upstream, true)) => self.unmake(session, upstream),
            Some((_, false)) => self.disown(session),
            None => {}
        }
    }

    /// It left the conn, or its CLI's memory, or the world.
    pub fn left(
        self: &Arc<Self>,
        session: &SessionId,
        conn: ConnId,
        upstream: UpstreamId,
        epoch: u64,
        how: Left,
    ) {
        let now = time::now();
        match how {
            Left::Detached => {
                self.decide_on(session, |t| t.detached(session, conn, epoch, false, now));
            }
            Left::LinkLost => {
                self.decide_on(session, |t| t.detached(session, conn, epoch, true, now));
            }
            Left::Closed => self.decide_on(session, |t| t.closed(session, upstream, epoch, now)),
            Left::Deleted => {
                self.decide(|t| t.deleted(session, upstream, epoch));
                self.disown(session);
            }
            Left::Halted => {
                self.note_ended(session, conn);
                let closes = self.decide_on(session, |t| t.halted(session, conn, upstream, epoch));
                if let Some(now) = closes {
                    self.close_halted(session, upstream, epoch, now);
                }
            }
        }
    }

    /// A CLI made a session under a name of its own; `conn` is attached to it, if any is.
    pub fn learned(
        &self,
        session: &SessionId,
        upstream: UpstreamId,
        origin: Origin<'_>,
        conn: Option<ConnId>,
    ) -> u64 {
        self.own(session, origin);
        let Some(member) = self.member(upstream) else { return 0 };
        self.metrics.placements.inc(PlacementReason::Learned.slug());
        let life = conn.map(|conn| (conn, Lease::take(member)));
        self.decide_on(session, |table| table.learned(session, upstream, life, time::now()))
    }

    /// A conn sees a turn begin or end in the session.
    pub fn turn(&self, session: &SessionId, epoch: u64, busy: bool) {
        self.decide(|table| {
            if let Some((lease, busy)) = table.turn(session, epoch, busy) {
                lease.set_busy(busy);
            }
        });
    }

    /// The session asked its clients for something.
    pub fn announced(&self, session: &SessionId, ask: AskId) {
        self.decide(|table| table.announced(session, ask));
    }

    /// How many sessions are in each state, in the order of [`table::State::ALL`], and how many are busy.
    pub fn counts(&self) -> ([usize; 4], usize) {
        let decisions = self.decisions.lock();
        (decisions.table.counts(), decisions.table.busy())
    }

    /// Sets the gauges that are counted, not kept.
    pub fn publish(&self) {
        let (counts, busy) = self.counts();
        for (state, count) in table::State::ALL.iter().zip(counts) {
            self.metrics.sessions.of(state.slug()).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.metrics.turns_active.set(i64::try_from(busy).unwrap_or(i64::MAX));
    }

    /// Starts a task that no drain waits for.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_aside(name, task);
    }

    fn decide<T>(&self, decide: impl FnOnce(&mut Table<Lease>) -> T) -> T {
        let mut decisions = self.decisions.lock();
        let result = decide(&mut decisions.table);
        let wakes = decisions.table.take_wakes();
        drop(decisions);
        self.wake(wakes);
        result
    }

    /// The same, where it may leave the session to nobody.
    fn decide_on<T>(&self, session: &SessionId, decide: impl FnOnce(&mut Table<Lease>) -> T) -> T {
        let (result, hold) = self.decide(|table| {
            let result = decide(table);
            (result, table.hold(session))
        });
        self.note(session, hold);
        result
    }

    fn wake(&self, wakes: Vec<Wake>) {
        for Wake(asker, absence) in wakes {
            if asker.conn == OURSELVES {
                self.seekers.tell(asker.ticket, absence);
                continue;
            }
            self.hub.tell(asker.conn, Event::Again(Ticket(asker.ticket), absence));
        }
    }
}

/// Orders `1.0.9` before `1.0.10`.
fn version_key(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_numbers() {
        assert!(version_key("1.0.9") < version_key("1.0.10"));
        assert!(version_key("1.0.102") < version_key("1.1.0-beta.1"));
    }
}
