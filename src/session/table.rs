//! The table of a pool: session -> upstream, state, who is attached. It decides who goes where and who waits.
//!
//! One life of a session is an epoch: it begins when the session is placed and ends when no CLI has it in memory any
//! more. Whatever a conn reports carries the epoch that it was told, so that a late report cannot end a later life.
//! `L` is a lease on the CLI's capacity: the table holds it while the session lives, and drops it at the end.
//! It never chooses a CLI itself ([`Answer::Place`]), and never asks one ([`Answer::LookUp`]).
//!
//! `words` is what goes in and out, `entry` what is remembered of one session; `want` decides; `begin`, `end`, `halt`,
//! `left` and `delete` change; `room` bounds.

mod begin;
#[cfg(test)]
mod bench;
mod delete;
mod end;
mod entry;
mod halt;
mod left;
mod room;
mod want;
mod words;

use ahash::AHashMap;
use smallvec::SmallVec;

pub use words::{
    Absence, Answer, Asker, CreateExisting, Hold, LINGER, Sighting, State, Storage, Wake,
};

use crate::id::{AskId, ConnId, SessionId, UpstreamId};
use entry::Entry;
use room::Room;

/// How many requests of one session to its clients are remembered.
const MAX_ASKS: usize = 256;

/// See the module's head.
pub struct Table<L> {
    entries: AHashMap<SessionId, Entry<L>>,
    storage: Storage,
    create_existing: CreateExisting,
    room: Room,
    epoch: u64,
    wakes: Vec<Wake>,
    /// CLIs that went away and did not come back.
    gone: SmallVec<[UpstreamId; 4]>,
    /// CLIs of whose processes something may live still.
    ending: SmallVec<[UpstreamId; 4]>,
}

impl<L> Table<L> {
    /// An empty table that remembers about `limit` sessions that only lie on a disk, and all that live.
    pub fn new(storage: Storage, create_existing: CreateExisting, limit: usize) -> Self {
        Table {
            entries: AHashMap::new(),
            storage,
            create_existing,
            room: Room::of(limit),
            epoch: 0,
            wakes: Vec::new(),
            gone: SmallVec::new(),
            ending: SmallVec::new(),
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
            if let Some(count) = counts.get_mut(entry.state() as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// How many sessions have a turn running.
    pub fn busy(&self) -> usize {
        self.entries.values().filter(|e| !e.busy.is_empty()).count()
    }

    /// The CLI that has, or had, the session.
    pub fn upstream_of(&self, session: &SessionId) -> Option<UpstreamId> {
        self.entries.get(session)?.upstream
    }

    /// The lease of this life of a session, while it lives.
    pub fn lease(&mut self, session: &SessionId, epoch: u64) -> Option<&mut L> {
        self.living(session, epoch)?.lease.as_mut()
    }

    /// Whether the conn is attached to this life of a session.
    pub fn is_attached(&self, session: &SessionId, epoch: u64, conn: ConnId) -> bool {
        let entry = self.entries.get(session).filter(|e| e.epoch == epoch);
        entry.is_some_and(|e| e.attached.contains(&conn))
    }

    /// Whether other conns than this one see a turn in this life of a session.
    pub fn works_for_others(&self, session: &SessionId, epoch: u64, conn: ConnId) -> bool {
        let entry = self.entries.get(session).filter(|e| e.epoch == epoch);
        entry.is_some_and(|e| e.busy.iter().any(|other| *other != conn))
    }

    /// The conns that are attached to this life of a session.
    pub fn attached_to(&self, session: &SessionId, epoch: u64) -> SmallVec<[ConnId; 2]> {
        let entry = self.entries.get(session).filter(|e| e.epoch == epoch);
        entry.map(|e| e.attached.clone()).unwrap_or_default()
    }

    /// A conn sees a turn begin or end in it. Returns its lease, and whether it is busy now, if that changed.
    pub fn turn(
        &mut self,
        session: &SessionId,
        epoch: u64,
        conn: ConnId,
        busy: bool,
    ) -> Option<(&mut L, bool)> {
        let entry = self.living(session, epoch)?;
        let before = !entry.busy.is_empty();
        entry.busy.retain(|seen_by| *seen_by != conn);
        if busy {
            entry.busy.push(conn);
        }
        let now = !entry.busy.is_empty();
        entry.lease.as_mut().filter(|_| now != before).map(|lease| (lease, now))
    }

    fn living(&mut self, session: &SessionId, epoch: u64) -> Option<&mut Entry<L>> {
        let lives = |e: &&mut Entry<L>| e.epoch == epoch && e.state() == State::Live;
        self.entries.get_mut(session).filter(lives)
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

    /// That needs no answer any more.
    pub fn settled(&mut self, session: &SessionId, ask: &AskId) {
        if let Some(entry) = self.entries.get_mut(session) {
            entry.asks.retain(|known| known != ask);
            if entry.asks.is_empty() {
                entry.asks = Vec::new();
            }
        }
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

    fn check(&self, session: &SessionId) {
        if cfg!(debug_assertions)
            && let Some(entry) = self.entries.get(session)
        {
            entry.check(session);
        }
    }

    /// Asserts what must hold after every call.
    pub fn check_invariants(&self) {
        for (session, entry) in &self.entries {
            entry.check(session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::bench::{A, Bench, S};
    use super::*;
    use crate::want::Want;

    #[test]
    fn what_is_settled_is_remembered_no_more() {
        let mut bench = Bench::new(Storage::Own, 100);
        bench.live(S, 1, A);
        let session = S.into();
        let wants = |bench: &mut Bench, ask: &AskId| {
            let asker = Asker { conn: bench.conn(1), ticket: 0 };
            let (want, up) = (Want::Answer(ask.clone()), |_| true);
            bench.table.want(&S.into(), asker, &want, None, up, bench.now)
        };
        for n in 0..3 * MAX_ASKS {
            let ask = AskId::new(&format!("r{n}"));
            bench.table.announced(&session, ask.clone());
            bench.table.announced(&session, ask.clone());
            assert!(matches!(wants(&mut bench, &ask), Answer::Go { .. }));
            bench.table.settled(&session, &ask);
            assert_eq!(wants(&mut bench, &ask), Answer::NotAsked);
            assert_eq!(bench.table.entries[&session].asks.capacity(), 0);
        }
    }

    #[test]
    fn a_turn_that_only_the_conn_itself_sees_is_no_work_for_others() {
        let mut bench = Bench::new(Storage::Own, 100);
        let epoch = bench.live(S, 1, A);
        let (session, me, other) = (S.into(), bench.conn(1), bench.conn(2));
        bench.table.turn(&session, epoch, me, true);
        assert!(!bench.table.works_for_others(&session, epoch, me));
        assert!(bench.table.works_for_others(&session, epoch, other));
        assert!(!bench.table.works_for_others(&session, epoch + 1, other));
    }
}
