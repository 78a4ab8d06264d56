//! A pool: its members, its session table, its conns; and the one place where a session gets its CLI.
//!
//! The table decides, the balancer chooses, the lease takes room: all under one lock, which is taken when a session is
//! sought, placed or left, never for a message on its way.

#[cfg(test)]
pub(crate) mod bench;
mod ephemeral;
mod find;
mod fleet;
mod forget;
mod gate;
mod halt;
mod left;
mod look_up;
mod members;
mod outlier;
mod own;
mod pick;
mod place;
mod queue;
mod roster;
mod work;

use std::sync::{Arc, OnceLock};

use ahash::AHashMap;
use parking_lot::Mutex;

use self::ephemeral::Due;
use self::find::{OURSELVES, Seekers};
use self::gate::{Came, Gate};
use self::own::{Book, May};
pub use self::own::{By, Grants, Grounds, Origin, Owners, Unknown, Visitor};
pub use self::pick::{Picked, Tried};
use self::place::{Among, Promise, Sought};
pub use self::queue::Patience;
use self::queue::Waiter;
use self::roster::Roster;
use super::cut::Cuts;
use super::hub::{Event, Hub};
use super::member::{Lease, Member};
use super::seat::Seats;
use crate::balance::{Balancer, PlacementReason, Policy};
use crate::caller::Owner;
use crate::drain::Tasks;
use crate::error::Refusal;
use crate::health::outlier::Rule;
use crate::id::{AskId, ConnId, SessionId, UpstreamId};
use crate::observe::metrics::PoolMetrics;
use crate::rpc::mux::{Found, Left, Ticket};
use crate::session::queue::Queue;
use crate::session::quota::Bounds;
use crate::session::table::{
    self, Absence, Answer, Asker, CreateExisting, Hold, Sighting, Storage, Table, Wake,
};
use crate::time::{self, Duration};
use crate::want::Want;

/// How many sessions that only lie on a disk are remembered.
const REMEMBERED: usize = 100_000;

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
    /// How many sessions may live.
    pub sessions: Bounds,
    /// In how many of them a turn may run.
    pub turns: Bounds,
    /// For room.
    pub patience: Patience,
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

type Claims = AHashMap<(ConnId, Ticket), SessionId>;

/// What the pool's lock guards.
struct Decisions {
    table: Table<Lease>,
    balancer: Balancer,
    /// Who waits for room.
    queue: Queue<Owner, Waiter>,
    /// Room that is kept for those who were called.
    promises: AHashMap<(ConnId, Ticket), Promise>,
    /// Sessions that were claimed for somebody who has not come back yet.
    claims: Claims,
    /// What the members gave back when those in the queue were last called.
    freed: u64,
    /// A task waits for the deadlines of those in the queue.
    watched: bool,
    /// What is to be told once the lock is free.
    told: Vec<(ConnId, Event)>,
}

/// What somebody hears who wants a session.
enum Heard {
    Found(Found),
    /// It is told when to ask again.
    Wait,
    /// Likewise; somebody has to see to it that the fleet is asked.
    LookUp,
    /// Likewise; this CLI is to be asked whether it has what it was left with in this life.
    AskLeft(UpstreamId, u64),
}

/// See the module's head.
pub struct Pool {
    /// Its name in logs and metrics.
    pub name: String,
    /// Its conns.
    pub hub: Hub,
    /// Those of its conns that hear of nothing by themselves.
    pub cuts: Cuts,
    /// Its series.
    pub metrics: Arc<PoolMetrics>,
    with: Parameters,
    /// Its CLIs.
    roster: Roster,
    /// `None`: its callers are not told apart, and all its sessions are persistent.
    owners: Option<Owners>,
    /// `None`: nothing is bounded but what each CLI may have.
    seats: Option<Arc<Seats>>,
    decisions: Mutex<Decisions>,
    gate: Gate,
    seekers: Seekers,
    /// Held while all CLIs are being changed.
    changes: tokio::sync::Mutex<()>,
    due: Due,
    tasks: Tasks,
    changed: tokio::sync::Notify,
    /// Who is put out; not said: nobody.
    outliers: OnceLock<Rule>,
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
        let decisions = Decisions {
            table,
            balancer: Balancer::new(with.policy),
            queue: Queue::new(with.patience.length),
            promises: AHashMap::new(),
            claims: Claims::new(),
            freed: 0,
            watched: false,
            told: Vec::new(),
        };
        Arc::new(Pool {
            name,
            hub: Hub::default(),
            cuts: Cuts::default(),
            metrics,
            with,
            roster: Roster::of(members),
            owners,
            seats: Seats::new(with.sessions, with.turns),
            decisions: Mutex::new(decisions),
            gate: Gate::new(),
            seekers: Seekers::default(),
            changes: tokio::sync::Mutex::default(),
            due: Due::default(),
            tasks,
            changed: tokio::sync::Notify::new(),
            outliers: OnceLock::new(),
        })
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
        let asker = (conn, ticket);
        let (may, claimed) = self.decide(|decisions| {
            let claimed = decisions.claims.remove(&asker).is_some();
            (self.may(&decisions.table, session, want, absence, by), claimed)
        });
        let found = match may {
            Ok(May { owner, book }) => {
                let sought = Sought { asker, session, want, absence, key: by.key, owner };
                match book {
                    Book::Stands => self.look(&sought),
                    Book::New(_) | Book::Changes(_) => self.book_and_look(&sought, book, by),
                }
            }
            Err(refusal) => Some(Found::Refused(refusal)),
        };
        if found.is_some() {
            self.answered(asker);
        }
        if claimed && matches!(found, Some(Found::Refused(_))) {
            self.disown(session);
        }
        found
    }

    /// The same, whoever wants it.
    fn look(self: &Arc<Self>, sought: &Sought<'_>) -> Option<Found> {
        match self.decide(|decisions| self.answer(decisions, sought)) {
            Heard::Found(found) => Some(found),
            Heard::Wait => None,
            Heard::LookUp => {
                self.look_up();
                None
            }
            Heard::AskLeft(by, epoch) => {
                self.ask_left(sought.session, by, epoch);
                None
            }
        }
    }

    fn answer(self: &Arc<Self>, decisions: &mut Decisions, sought: &Sought<'_>) -> Heard {
        let Sought { asker: (conn, ticket), session, want, absence, .. } = *sought;
        let asker = Asker { conn, ticket: ticket.0 };
        let up = |id| self.member(id).is_some_and(|m| m.is_up());
        let now = time::now();
        if *want == (Want::Use { on_disk: true }) {
            decisions.table.rehome(session, up, || self.any());
        }
        match decisions.table.want(session, asker, want, absence, up, now) {
            Answer::Go { upstream, epoch, resume, reason } => {
                let room = match want {
                    Want::Turn => self.turn_room(decisions, sought, epoch),
                    Want::Create
                    | Want::CreateNew
                    | Want::Resume
                    | Want::Answer(_)
                    | Want::Use { .. } => Ok(()),
                };
                Heard::of(room.map(|()| Found::Go { upstream, epoch, resume, reason }))
            }
            Answer::Refused(refusal) => Heard::Found(Found::Refused(refusal)),
            Answer::NotAsked => Heard::Found(Found::NotAsked),
            Answer::Wait => Heard::Wait,
            Answer::LookUp => match self.gate.come(session, now) {
                Came::Full => {
                    decisions.table.looked_up(session, Sighting::Unasked);
                    Heard::Found(Found::Refused(Refusal::crowded(session.as_str())))
                }
                came @ (Came::Opens | Came::Waits) => {
                    decisions.table.wait(session, asker);
                    if came == Came::Opens { Heard::LookUp } else { Heard::Wait }
                }
            },
            Answer::Place { ask: Some(by), near, .. } if self.moves(by, near, &sought.owner) => {
                let asked = decisions.table.ask_left(session, asker);
                asked.map_or(Heard::Wait, |epoch| Heard::AskLeft(by, epoch))
            }
            Answer::Place { only, near, resume, .. } => {
                let placed = self.place(decisions, sought, Among { only, near });
                Heard::of(placed.map(|(upstream, epoch, reason)| {
                    let reason = Some(reason);
                    Found::Go { upstream, epoch, resume, reason }
                }))
            }
        }
    }

    /// Whether a session that `by` was left with can go to another CLI, instead of back to the one that is `near`.
    fn moves(&self, by: UpstreamId, near: Option<UpstreamId>, owner: &Owner) -> bool {
        let back = near.is_some_and(|near| self.has_room(owner, Some(near)));
        !back && self.members().iter().any(|m| m.id != by)
    }

    /// The session is attached to the conn. Says whether it is at work for others, as far as is known: its CLI is asked
    /// then, and [`Event::Rests`] tells if it is not.
    pub fn attached(
        self: &Arc<Self>,
        session: &SessionId,
        conn: ConnId,
        epoch: u64,
        by: By<'_>,
    ) -> bool {
        let lease = |id| Some(self.lease(&self.member(id)?, &self.owner_of(session, by)));
        let (failover, works, upstream) = self.change(|table| {
            let failover = table.attached(session, conn, epoch);
            table.lend(session, lease);
            let works = table.works_for_others(session, epoch, conn);
            (failover, works, table.upstream_of(session))
        });
        if failover {
            self.metrics.failovers.inc("ok");
        }
        self.used(session, upstream.and_then(|id| self.member(id)).as_deref());
        if works {
            self.ask_whether_it_works(session, conn, epoch);
        }
        works
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
        let (gone, failover) = self.change_of(session, |table| {
            let known = table.upstream_of(session);
            let failover = table.not_placed(session, conn, epoch, absent, now);
            let gone = known.filter(|_| table.upstream_of(session).is_none());
            let clean = gone.is_some() && clean && table.delete(session, Hold::Unknown, now);
            (gone.map(|upstream| (upstream, clean)), failover)
        });
        if failover {
            self.metrics.failovers.inc("failed");
        }
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
        if matches!(how, Left::Detached | Left::LinkLost) {
            // Also one that it was granted and did not start.
            self.turn(session, conn, epoch, false);
        }
        match how {
            Left::Detached => {
                self.change_of(session, |t| t.detached(session, conn, epoch, false, now));
            }
            Left::LinkLost => {
                self.change_of(session, |t| t.detached(session, conn, epoch, true, now));
            }
            Left::Closed => self.change_of(session, |t| t.closed(session, upstream, epoch, now)),
            Left::Deleted => {
                let attached = self.change(|t| {
                    let attached = t.attached_to(session, epoch);
                    t.deleted(session, upstream, epoch);
                    attached
                });
                for other in attached.into_iter().filter(|other| *other != conn) {
                    self.hub.tell(other, Event::Gone(session.clone(), epoch));
                }
                self.disown(session);
            }
            Left::Halted => {
                self.note_ended(session, conn);
                let closes = self.change_of(session, |t| t.halted(session, conn, upstream, epoch));
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
        let owner = self.own(session, origin);
        let Some(member) = self.member(upstream) else { return 0 };
        self.metrics.placements.inc(PlacementReason::Learned.slug());
        let life = conn.map(|conn| (conn, self.lease(&member, &owner)));
        self.change_of(session, |table| table.learned(session, upstream, life, time::now()))
    }

    /// A conn sees a turn begin or end in the session.
    pub fn turn(&self, session: &SessionId, conn: ConnId, epoch: u64, busy: bool) {
        self.change(|table| {
            if let Some((lease, busy)) = table.turn(session, epoch, conn, busy) {
                lease.set_busy(busy);
            }
        });
    }

    /// The session asked its clients for something.
    pub fn announced(&self, session: &SessionId, ask: AskId) {
        self.change(|table| table.announced(session, ask));
    }

    /// That needs no answer any more.
    pub fn settled_ask(&self, session: &SessionId, ask: &AskId) {
        self.change(|table| table.settled(session, ask));
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

    fn change<T>(&self, change: impl FnOnce(&mut Table<Lease>) -> T) -> T {
        self.decide(|decisions| change(&mut decisions.table))
    }

    /// The one way to the table: who may go on after it is told so.
    fn decide<T>(&self, decide: impl FnOnce(&mut Decisions) -> T) -> T {
        let mut decisions = self.decisions.lock();
        let result = decide(&mut decisions);
        self.call(&mut decisions);
        let (wakes, told) = (decisions.table.take_wakes(), std::mem::take(&mut decisions.told));
        drop(decisions);
        told.into_iter().for_each(|(conn, event)| self.hub.tell(conn, event));
        self.wake(wakes);
        result
    }

    /// The same, where it may leave the session to nobody.
    fn change_of<T>(&self, session: &SessionId, change: impl FnOnce(&mut Table<Lease>) -> T) -> T {
        let (result, hold) = self.change(|table| {
            let result = change(table);
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

impl Heard {
    /// Found, refused, or in the queue.
    fn of(found: Result<Found, Option<Found>>) -> Self {
        found.map_or_else(|wait| wait.map_or(Heard::Wait, Heard::Found), Heard::Found)
    }
}
