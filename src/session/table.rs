//! The table of a pool: session -> upstream, state, who is attached. It decides who goes where and who waits.
//!
//! One life of a session is an epoch: it begins when the session is placed and ends when no CLI has it in memory any
//! more. Whatever a conn reports carries the epoch that it was told, so that a late report cannot end a later life.
//! `L` is a lease on the CLI's capacity: the table holds it while the session lives, and drops it at the end.
//! It never chooses a CLI itself ([`Answer::Place`]), and never asks one ([`Answer::LookUp`]).

use ahash::AHashMap;
use smallvec::SmallVec;

use crate::error::{Reason, Refusal};
use crate::id::{AskId, ConnId, SessionId, UpstreamId};
use crate::time::Instant;
use crate::want::Want;

/// How many requests of one session to its clients are remembered.
const MAX_ASKS: usize = 1024;

/// Whether any CLI of the pool can resume any session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Each CLI has its own sessions on its own disk.
    Own,
    /// All CLIs see the same sessions.
    Shared,
}

/// What a create of an id that is taken becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateExisting {
    /// A resume: the session goes on.
    Resume,
    /// What the CLI makes of it: a session on disk starts blank.
    Pass,
    /// An error.
    Refuse,
}

/// What is known of an id from asking the CLIs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// This CLI has it in memory.
    Live(UpstreamId),
    /// These have it on disk.
    OnDisk(Vec<UpstreamId>),
    /// Two CLIs have it in memory.
    LiveTwice,
    /// All that are up were asked, none has it; `down`: but some are not up.
    Nobody {
        /// Whether a CLI that is not up may have it.
        down: bool,
    },
    /// One that is up did not answer.
    Unsure,
    /// Nobody was asked: too many others are asked for.
    Unasked,
}

/// What a look-up that found nothing tells those who wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Nobody has it.
    Nobody,
    /// Nobody that is up has it.
    NobodyUp,
    /// It could not be found out.
    Unsure,
    /// It is on two CLIs.
    Twice,
    /// It was not tried: too many others are asked for.
    Unasked,
}

/// What to do for somebody who wants a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Go there.
    Go {
        /// The CLI.
        upstream: UpstreamId,
        /// The session's present life.
        epoch: u64,
        /// A create must go out as a resume.
        resume: bool,
    },
    /// Ask again when woken ([`Wake`]).
    Wait,
    /// Ask all CLIs, then report with [`Table::looked_up`]; then as for `Wait`.
    LookUp,
    /// Choose a CLI and report with [`Table::place`], or [`Table::unplaceable`].
    Place {
        /// The only CLI that can have it.
        only: Option<UpstreamId>,
        /// A create must go out as a resume.
        resume: bool,
    },
    /// It cannot be had.
    Refused(Refusal),
    /// The session did not ask for what is answered.
    NotAsked,
}

/// Who asks, and under which number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Whose request it is.
    pub conn: ConnId,
    /// The conn's number for it.
    pub ticket: u32,
}

/// Somebody who may ask again now; with what a look-up found, if it found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake(pub Asker, pub Option<Absence>);

/// The states that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is being looked up or placed.
    Placing,
    /// A CLI has it in memory.
    Live,
    /// It is on a disk, or may be.
    Stored,
    /// Its CLI is gone, and its disk with it.
    Lost,
}

impl State {
    /// Every state, in order.
    pub const ALL: [State; 4] = [State::Placing, State::Live, State::Stored, State::Lost];

    /// The word for metrics and logs.
    pub const fn slug(self) -> &'static str {
        match self {
            State::Placing => "placing",
            State::Live => "live",
            State::Stored => "stored",
            State::Lost => "lost",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The CLIs are being asked.
    Sought,
    /// A conn's create or resume is under way; `known`: it was stored before.
    Placing { by: ConnId, known: bool },
    /// In memory.
    Live,
    /// On disk; `cut`: its CLI went away under it, and who used it must resume it.
    Stored { cut: bool },
    /// On the disk of a CLI that is not up.
    Lost,
}

struct Entry<L> {
    stage: Stage,
    upstream: Option<UpstreamId>,
    epoch: u64,
    attached: SmallVec<[ConnId; 2]>,
    /// Conns whose resume of the live session is under way.
    joining: SmallVec<[ConnId; 1]>,
    lease: Option<L>,
    waiters: Vec<Asker>,
    asks: Vec<AskId>,
    /// How many conns see a turn in it.
    busy: u32,
    touched: Instant,
}

/// See the module's head.
pub struct Table<L> {
    entries: AHashMap<SessionId, Entry<L>>,
    storage: Storage,
    create_existing: CreateExisting,
    /// How many sessions without a life are remembered.
    limit: usize,
    epoch: u64,
    wakes: Vec<Wake>,
    /// CLIs that went away and did not come back.
    gone: SmallVec<[UpstreamId; 4]>,
}

impl<L> Table<L> {
    /// An empty table that remembers at most `limit` sessions.
    pub fn new(storage: Storage, create_existing: CreateExisting, limit: usize) -> Self {
        Table {
            entries: AHashMap::new(),
            storage,
            create_existing,
            limit,
            epoch: 0,
            wakes: Vec::new(),
            gone: SmallVec::new(),
        }
    }

    /// Those who were told to wait and may ask again. Take them after every call.
    pub fn take_wakes(&mut self) -> Vec<Wake> {
        std::mem::take(&mut self.wakes)
    }

    /// How many sessions are in each state, in the order of [`State::ALL`].
    pub fn counts(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for entry in self.entries.values() {
            let state = match entry.stage {
                Stage::Sought | Stage::Placing { .. } => State::Placing,
                Stage::Live => State::Live,
                Stage::Stored { .. } => State::Stored,
                Stage::Lost => State::Lost,
            };
            if let Some(count) = counts.get_mut(state as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// How many sessions have a turn running.
    pub fn busy(&self) -> usize {
        self.entries.values().filter(|e| e.busy > 0).count()
    }

    /// The CLI that has, or had, the session.
    pub fn upstream_of(&self, session: &SessionId) -> Option<UpstreamId> {
        self.entries.get(session)?.upstream
    }

    /// Somebody wants a session. `absence`: what the look-up that it waited for did not find. `up`: whether a CLI may
    /// be used.
    pub fn want(
        &mut self,
        session: &SessionId,
        asker: Asker,
        want: &Want,
        absence: Option<Absence>,
        up: impl Fn(UpstreamId) -> bool,
        now: Instant,
    ) -> Answer {
        let Some(entry) = self.entries.get_mut(session) else {
            return self.want_unknown(session, want, absence, now);
        };
        entry.touched = now;
        let (stage, epoch) = (entry.stage, entry.epoch);
        let Some(upstream) = entry.upstream else {
            entry.waiters.push(asker);
            return Answer::Wait;
        };
        match stage {
            Stage::Sought | Stage::Placing { .. } => {
                entry.waiters.push(asker);
                Answer::Wait
            }
            Stage::Live => match want {
                Want::Create | Want::CreateNew | Want::Resume => {
                    let resume = match existing(want, self.create_existing, session) {
                        Ok(resume) => resume,
                        Err(refusal) => return Answer::Refused(refusal),
                    };
                    entry.joining.push(asker.conn);
                    Answer::Go { upstream, epoch, resume }
                }
                Want::Answer(ask) if !entry.asks.contains(ask) => Answer::NotAsked,
                Want::Answer(_) | Want::Use { .. } => Answer::Go { upstream, epoch, resume: false },
            },
            Stage::Lost => Answer::Refused(session_lost(session)),
            Stage::Stored { cut } => self.want_stored(session, want, upstream, cut, up(upstream)),
        }
    }

    fn want_unknown(
        &mut self,
        session: &SessionId,
        want: &Want,
        absence: Option<Absence>,
        now: Instant,
    ) -> Answer {
        let found_out = match (absence, want) {
            (_, Want::CreateNew) => return Answer::Place { only: None, resume: false },
            (None, _) => {
                self.make_room();
                self.insert(session, Stage::Sought, None, now);
                return Answer::LookUp;
            }
            (Some(Absence::Nobody | Absence::NobodyUp), Want::Create) => {
                return Answer::Place { only: None, resume: false };
            }
            (Some(absence), _) => absence,
        };
        let unsure = |why: &str| Refusal::new(Reason::NoUpstream, why).of_session(session.as_str());
        Answer::Refused(match found_out {
            Absence::Nobody => Refusal::session_not_found(session.as_str()),
            Absence::NobodyUp if self.storage == Storage::Shared => {
                Refusal::session_not_found(session.as_str())
            }
            Absence::NobodyUp => unsure("no CLI that is up has the session, but one is down"),
            Absence::Unsure => unsure("a CLI did not say whether it has the session"),
            Absence::Twice => unsure("two CLIs have the session: it is left alone"),
            Absence::Unasked => Refusal::crowded(session.as_str()),
        })
    }

    /// On a shared disk any CLI finds a session: where the one that had it last is not up, `other` answers for it.
    pub fn rehome(
        &mut self,
        session: &SessionId,
        up: impl Fn(UpstreamId) -> bool,
        other: impl FnOnce() -> Option<UpstreamId>,
    ) {
        let shared = self.storage == Storage::Shared;
        let stored = |e: &&mut Entry<L>| shared && matches!(e.stage, Stage::Stored { .. });
        let Some(entry) = self.entries.get_mut(session).filter(stored) else { return };
        if entry.upstream.is_some_and(|had| !up(had)) {
            entry.upstream = other().or(entry.upstream);
        }
    }

    fn want_stored(
        &mut self,
        session: &SessionId,
        want: &Want,
        upstream: UpstreamId,
        cut: bool,
        up: bool,
    ) -> Answer {
        let own = self.storage == Storage::Own;
        let down = || {
            let refusal = Refusal::new(Reason::NoUpstream, "the session's CLI is not up");
            Answer::Refused(refusal.of_session(session.as_str()))
        };
        let epoch = self.entries.get(session).map_or(0, |e| e.epoch);
        match want {
            Want::Create | Want::CreateNew | Want::Resume => {
                match existing(want, self.create_existing, session) {
                    Err(refusal) => Answer::Refused(refusal),
                    Ok(_) if own && !up => down(),
                    Ok(resume) => Answer::Place { only: own.then_some(upstream), resume },
                }
            }
            Want::Answer(_) => Answer::NotAsked,
            Want::Use { on_disk: false } if cut => {
                let refusal =
                    Refusal::new(Reason::UpstreamLost, "its CLI went away: resume it first");
                Answer::Refused(refusal.of_session(session.as_str()))
            }
            Want::Use { .. } if !up => down(),
            Want::Use { .. } => Answer::Go { upstream, epoch, resume: false },
        }
    }

    /// A CLI was chosen for a session that [`Answer::Place`] was said of. Returns the life that begins.
    pub fn place(
        &mut self,
        session: &SessionId,
        by: ConnId,
        upstream: UpstreamId,
        lease: L,
        now: Instant,
    ) -> u64 {
        self.epoch += 1;
        let epoch = self.epoch;
        let known = self.entries.contains_key(session);
        if !known {
            self.make_room();
            self.insert(session, Stage::Placing { by, known }, Some(upstream), now);
        }
        if let Some(entry) = self.entries.get_mut(session) {
            entry.stage = Stage::Placing { by, known };
            entry.upstream = Some(upstream);
            entry.epoch = epoch;
            entry.lease = Some(lease);
            entry.attached.clear();
            entry.joining.clear();
        }
        self.check(session);
        epoch
    }

    /// What asking all CLIs for a session gave.
    pub fn looked_up(&mut self, session: &SessionId, sighting: Sighting) {
        let Some(entry) = self.entries.get_mut(session) else { return };
        if entry.stage != Stage::Sought {
            return;
        }
        let absence = match sighting {
            Sighting::Live(upstream) => {
                self.epoch += 1;
                entry.epoch = self.epoch;
                entry.upstream = Some(upstream);
                entry.stage = Stage::Live;
                return self.wake(session, None);
            }
            Sighting::OnDisk(upstreams) => match upstreams.as_slice() {
                [upstream, rest @ ..] if rest.is_empty() || self.storage == Storage::Shared => {
                    entry.upstream = Some(*upstream);
                    entry.stage = Stage::Stored { cut: false };
                    return self.wake(session, None);
                }
                [] => Absence::Nobody,
                [..] => Absence::Twice,
            },
            Sighting::LiveTwice => Absence::Twice,
            Sighting::Nobody { down: false } => Absence::Nobody,
            Sighting::Nobody { down: true } => Absence::NobodyUp,
            Sighting::Unsure => Absence::Unsure,
            Sighting::Unasked => Absence::Unasked,
        };
        self.forget(session, Some(absence));
    }

    /// A conn is attached: its create or resume was acknowledged.
    pub fn attached(&mut self, session: &SessionId, conn: ConnId, epoch: u64) {
        let Some(entry) = self.entries.get_mut(session).filter(|e| e.epoch == epoch) else {
            return;
        };
        remove_one(&mut entry.joining, conn);
        if !entry.attached.contains(&conn) {
            entry.attached.push(conn);
        }
        entry.stage = Stage::Live;
        self.wake(session, None);
        self.check(session);
    }

    /// A live session that conns of ours hold takes room, also if it was found and not placed: its lease, if it has none.
    pub fn lend(&mut self, session: &SessionId, lease: impl FnOnce(UpstreamId) -> Option<L>) {
        let Some(entry) = self.entries.get_mut(session) else { return };
        if entry.stage == Stage::Live && !entry.attached.is_empty() && entry.lease.is_none() {
            entry.lease = entry.upstream.and_then(lease);
        }
    }

    /// A conn's create or resume came to nothing; `absent`: because its CLI has no such session.
    pub fn not_placed(&mut self, session: &SessionId, conn: ConnId, epoch: u64, absent: bool) {
        let Some(entry) = self.entries.get_mut(session).filter(|e| e.epoch == epoch) else {
            return;
        };
        match entry.stage {
            Stage::Placing { by, known } if by == conn => {
                if known && !absent {
                    self.store(session, false);
                } else {
                    self.forget(session, None);
                }
            }
            Stage::Live => {
                remove_one(&mut entry.joining, conn);
                self.settle(session, false);
            }
            Stage::Placing { .. } | Stage::Sought | Stage::Stored { .. } | Stage::Lost => {}
        }
    }

    /// No CLI could be chosen for a session that [`Answer::Place`] was said of.
    pub fn unplaceable(&mut self, session: &SessionId) {
        self.wake(session, None);
    }

    /// A conn is no longer attached; `cut`: because its CLI went away.
    pub fn detached(&mut self, session: &SessionId, conn: ConnId, epoch: u64, cut: bool) {
        let Some(entry) = self.entries.get_mut(session).filter(|e| e.epoch == epoch) else {
            return;
        };
        entry.attached.retain(|c| *c != conn);
        if entry.stage == Stage::Live {
            self.settle(session, cut);
        }
    }

    /// The CLI no longer has the session in memory.
    pub fn closed(&mut self, session: &SessionId, upstream: UpstreamId, epoch: u64) {
        let Some(entry) = self.entries.get_mut(session).filter(|e| e.epoch == epoch) else {
            return;
        };
        if entry.upstream == Some(upstream) && entry.stage == Stage::Live {
            entry.attached.clear();
            self.settle(session, false);
        }
    }

    /// The session was deleted there.
    pub fn deleted(&mut self, session: &SessionId, upstream: UpstreamId, epoch: u64) {
        let here = |e: &&mut Entry<L>| e.upstream == Some(upstream) && e.epoch == epoch;
        let Some(entry) = self.entries.get_mut(session).filter(here) else { return };
        match entry.stage {
            // Whoever is on the way may bring it to life again there, and says so.
            Stage::Placing { .. } => {}
            Stage::Live if !entry.joining.is_empty() => entry.attached.clear(),
            Stage::Live | Stage::Sought | Stage::Stored { .. } | Stage::Lost => {
                self.forget(session, None);
            }
        }
    }

    /// A CLI made a session under a name of its own.
    pub fn learned(
        &mut self,
        session: &SessionId,
        upstream: UpstreamId,
        life: Option<(ConnId, L)>,
        now: Instant,
    ) -> u64 {
        self.make_room();
        match life {
            Some((conn, lease)) => {
                let epoch = self.place(session, conn, upstream, lease, now);
                self.attached(session, conn, epoch);
                epoch
            }
            None => {
                if !self.entries.contains_key(session) {
                    self.insert(session, Stage::Stored { cut: false }, Some(upstream), now);
                }
                0
            }
        }
    }

    /// A conn sees a turn begin or end in it. Returns its lease, and whether it is busy now, if that changed.
    pub fn turn(&mut self, session: &SessionId, epoch: u64, busy: bool) -> Option<(&mut L, bool)> {
        let lives = |e: &&mut Entry<L>| e.epoch == epoch && e.stage == Stage::Live;
        let entry = self.entries.get_mut(session).filter(lives)?;
        let before = entry.busy > 0;
        entry.busy = if busy { entry.busy.saturating_add(1) } else { entry.busy.saturating_sub(1) };
        let now = entry.busy > 0;
        entry.lease.as_mut().filter(|_| now != before).map(|lease| (lease, now))
    }

    /// The session asked its clients for something.
    pub fn announced(&mut self, session: &SessionId, ask: AskId) {
        let Some(entry) = self.entries.get_mut(session) else { return };
        if !entry.asks.contains(&ask) {
            if entry.asks.len() >= MAX_ASKS {
                entry.asks.remove(0);
            }
            entry.asks.push(ask);
        }
    }

    /// A CLI went away, or came back. With own storage its sessions go and come with it. Those that conns hold end when
    /// the conns say so.
    pub fn upstream_is(&mut self, upstream: UpstreamId, up: bool) {
        self.gone.retain(|gone| *gone != upstream);
        if !up {
            self.gone.push(upstream);
        }
        let own = self.storage == Storage::Own;
        for entry in self.entries.values_mut().filter(|e| e.upstream == Some(upstream)) {
            let held = !entry.attached.is_empty() || !entry.joining.is_empty();
            entry.stage = match entry.stage {
                Stage::Live if !up && !held => {
                    entry.lease = None;
                    entry.busy = 0;
                    entry.asks.clear();
                    if own { Stage::Lost } else { Stage::Stored { cut: true } }
                }
                Stage::Stored { .. } if !up && own => Stage::Lost,
                Stage::Lost if up => Stage::Stored { cut: true },
                same @ (Stage::Sought
                | Stage::Placing { .. }
                | Stage::Live
                | Stage::Stored { .. }
                | Stage::Lost) => same,
            };
        }
    }

    /// Nobody here holds it: it is stored; or somebody still does.
    fn settle(&mut self, session: &SessionId, cut: bool) {
        let held = self
            .entries
            .get(session)
            .is_some_and(|e| !e.attached.is_empty() || !e.joining.is_empty());
        if !held {
            self.store(session, cut);
        }
    }

    fn store(&mut self, session: &SessionId, cut: bool) {
        let own = self.storage == Storage::Own;
        if let Some(entry) = self.entries.get_mut(session) {
            let gone = own && entry.upstream.is_some_and(|u| self.gone.contains(&u));
            entry.stage = if gone { Stage::Lost } else { Stage::Stored { cut } };
            entry.lease = None;
            entry.busy = 0;
            entry.asks.clear();
            entry.attached.clear();
            entry.joining.clear();
        }
        self.wake(session, None);
        self.check(session);
    }

    fn forget(&mut self, session: &SessionId, absence: Option<Absence>) {
        self.wake(session, absence);
        self.entries.remove(session);
    }

    fn wake(&mut self, session: &SessionId, absence: Option<Absence>) {
        if let Some(entry) = self.entries.get_mut(session) {
            self.wakes.extend(entry.waiters.drain(..).map(|asker| Wake(asker, absence)));
        }
    }

    /// The one who asked for a look-up waits like those who came after it.
    pub fn wait(&mut self, session: &SessionId, asker: Asker) {
        if let Some(entry) = self.entries.get_mut(session) {
            entry.waiters.push(asker);
        }
    }

    fn insert(
        &mut self,
        session: &SessionId,
        stage: Stage,
        upstream: Option<UpstreamId>,
        now: Instant,
    ) {
        // Not the epoch of a life that it had before it was forgotten.
        self.epoch += 1;
        let entry = Entry {
            stage,
            upstream,
            epoch: self.epoch,
            attached: SmallVec::new(),
            joining: SmallVec::new(),
            lease: None,
            waiters: Vec::new(),
            asks: Vec::new(),
            busy: 0,
            touched: now,
        };
        self.entries.insert(session.clone(), entry);
    }

    /// Forgets an eighth of the sessions that only lie on a disk, oldest first, once there are too many: whoever wants
    /// one again finds it by asking the CLIs.
    fn make_room(&mut self) {
        if self.entries.len() < self.limit {
            return;
        }
        let mut idle: Vec<(Instant, SessionId)> = self
            .entries
            .iter()
            .filter(|(_, e)| matches!(e.stage, Stage::Stored { .. } | Stage::Lost))
            .map(|(id, e)| (e.touched, id.clone()))
            .collect();
        idle.sort_unstable_by(|(a, x), (b, y)| (a, x.as_bytes()).cmp(&(b, y.as_bytes())));
        for (_, session) in idle.into_iter().take(self.limit / 8 + 1) {
            self.forget(&session, None);
        }
    }

    fn check(&self, session: &SessionId) {
        if cfg!(debug_assertions)
            && let Some(entry) = self.entries.get(session)
        {
            check_entry(session, entry);
        }
    }

    /// Asserts what must hold after every call.
    pub fn check_invariants(&self) {
        for (session, entry) in &self.entries {
            check_entry(session, entry);
        }
    }
}

fn check_entry<L>(session: &SessionId, entry: &Entry<L>) {
    match entry.stage {
        Stage::Sought => assert!(entry.lease.is_none() && entry.upstream.is_none(), "{session}"),
        Stage::Placing { .. } => {
            assert!(entry.lease.is_some(), "{session} is placed without a lease");
            assert!(entry.attached.is_empty(), "{session} is placed while it lives");
        }
        Stage::Live => assert!(entry.upstream.is_some(), "{session} lives nowhere"),
        Stage::Stored { .. } | Stage::Lost => {
            assert!(entry.lease.is_none(), "{session} holds a lease for nothing");
            assert!(entry.attached.is_empty(), "{session} has conns but no life");
            assert!(entry.busy == 0, "{session} works without a life");
        }
    }
}

fn remove_one(conns: &mut SmallVec<[ConnId; 1]>, conn: ConnId) {
    if let Some(at) = conns.iter().position(|c| *c == conn) {
        conns.remove(at);
    }
}

/// Whether a create of an id that is taken goes out as a resume.
fn existing(want: &Want, policy: CreateExisting, session: &SessionId) -> Result<bool, Refusal> {
    match (want, policy) {
        (Want::Create | Want::CreateNew, CreateExisting::Resume) => Ok(true),
        (Want::Create | Want::CreateNew, CreateExisting::Refuse) => {
            let refusal = Refusal::new(Reason::MethodDenied, "a session of this id exists");
            Err(refusal.of_session(session.as_str()))
        }
        (Want::Create | Want::CreateNew, CreateExisting::Pass)
        | (Want::Resume | Want::Answer(_) | Want::Use { .. }, _) => Ok(false),
    }
}

fn session_lost(session: &SessionId) -> Refusal {
    let message = "the session's CLI is gone and its state is not on shared storage";
    Refusal::new(Reason::SessionLost, message).of_session(session.as_str())
}
