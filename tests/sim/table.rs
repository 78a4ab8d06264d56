//! The session table alone, against a model of one line: a session has a home as long as somebody holds it or is on the
//! way to it, and then it is one.
//!
//! Where the whole world is simulated, clients and CLIs hide much of the table's tree. Here its callers do anything that
//! they may, late reports of lives that are over among it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use fairlead::id::{ConnId, SessionId, UpstreamId};
use fairlead::placement::PlacementReason;
use fairlead::session::table::{
    Absence, Answer, Asker, CreateExisting, Hold, Sighting, Storage, Table, Wake,
};
use fairlead::want::Want;

use super::rng::Rng;
use super::world::Lease;

const CONNS: usize = 4;
const SESSIONS: usize = 3;
const UPSTREAMS: usize = 3;

/// Somebody on the way to a session, or in it.
#[derive(Clone, Copy, Debug)]
struct Holder {
    session: usize,
    conn: usize,
    upstream: UpstreamId,
    epoch: u64,
    attached: bool,
}

/// A life that is over but for what its CLI keeps in memory.
#[derive(Clone, Copy, Debug)]
struct Halt {
    session: usize,
    epoch: u64,
    /// The CLI is being asked to close it.
    asked: bool,
}

struct Bench {
    rng: Rng,
    table: Table<Lease>,
    leases: Rc<Cell<usize>>,
    holders: Vec<Holder>,
    /// Lives that began with a place, which alone hold leases.
    placed: BTreeSet<(usize, u64)>,
    waiting: BTreeMap<u32, (usize, Want)>,
    tickets: u32,
    sought: Vec<usize>,
    halts: Vec<Halt>,
    /// What was said of sessions that may be deleted later.
    seen: Vec<(usize, Hold)>,
    /// Sessions that are gone, and whether their CLI is being asked to delete them.
    deleting: BTreeMap<usize, bool>,
    /// CLIs that were left with a session, and are asked whether they have it.
    lefts: Vec<(usize, u64)>,
    /// Reports of lives that may be over.
    past: Vec<Holder>,
}

fn name(session: usize) -> SessionId {
    SessionId::new(&format!("s{session}"))
}

impl Bench {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let storage = if rng.one_in(2) { Storage::Own } else { Storage::Shared };
        let limit = if rng.one_in(3) { 1 } else { 100 };
        Bench {
            rng,
            table: Table::new(storage, CreateExisting::Resume, limit),
            leases: Rc::default(),
            holders: Vec::new(),
            placed: BTreeSet::new(),
            waiting: BTreeMap::new(),
            tickets: 0,
            sought: Vec::new(),
            halts: Vec::new(),
            seen: Vec::new(),
            deleting: BTreeMap::new(),
            lefts: Vec::new(),
            past: Vec::new(),
        }
    }

    fn step(&mut self) {
        let session = self.rng.below(SESSIONS);
        match self.rng.below(13) {
            0..4 => {
                let conn = self.rng.below(CONNS);
                let want = match self.rng.below(4) {
                    0 => Want::Create,
                    1 => Want::Use { on_disk: self.rng.one_in(2) },
                    _ => Want::Resume,
                };
                self.tickets += 1;
                self.want(self.tickets, conn, session, want, None);
            }
            4..7 => self.settle_one(),
            7 if self.rng.one_in(2) => self.left_answers(),
            7 => self.look_up(),
            8 => self.halt(),
            9 => self.close(),
            10 => self.delete(session),
            11 => self.deleted(),
            _ => self.late_report(),
        }
        self.check();
    }

    fn want(
        &mut self,
        ticket: u32,
        conn: usize,
        session: usize,
        want: Want,
        absence: Option<Absence>,
    ) {
        let (id, now) = (name(session), fairlead::time::now());
        let asker = Asker { conn: ConnId(conn as u64), ticket };
        let places = matches!(want, Want::Create | Want::Resume);
        match self.table.want(&id, asker, &want, absence, |_| true, now) {
            Answer::Go { .. } | Answer::Place { .. } if self.deleting.contains_key(&session) => {
                panic!("{id} is given to somebody while it is deleted");
            }
            Answer::Go { upstream, epoch, .. } if places => {
                self.holders.push(Holder { session, conn, upstream, epoch, attached: false });
            }
            Answer::Go { .. } | Answer::Refused(_) | Answer::NotAsked => {}
            Answer::Wait => drop(self.waiting.insert(ticket, (session, want))),
            Answer::LookUp => {
                self.table.wait(&id, asker);
                self.waiting.insert(ticket, (session, want));
                self.sought.push(session);
            }
            Answer::Place { ask: Some(_), .. } if self.rng.one_in(2) => {
                self.waiting.insert(ticket, (session, want));
                if let Some(epoch) = self.table.ask_left(&id, asker) {
                    self.lefts.push((session, epoch));
                }
            }
            Answer::Place { only, .. } => {
                let held = self.holders.iter().any(|h| h.session == session);
                assert!(!held, "{id} is placed while it is held");
                let kept = self.halts.iter().any(|h| h.session == session);
                assert!(!kept, "{id} is placed while a CLI keeps what is left of it");
                let any = UpstreamId(self.rng.below(UPSTREAMS) as u32);
                let upstream = only.unwrap_or(any);
                let reason = PlacementReason::RoundRobin;
                let lease = Lease::take(&self.leases);
                let epoch = self.table.place(&id, asker.conn, upstream, reason, lease, now);
                self.placed.insert((session, epoch));
                self.holders.push(Holder { session, conn, upstream, epoch, attached: false });
            }
        }
        self.wake();
    }

    /// Whoever is woken asks again: each is woken once.
    fn wake(&mut self) {
        for Wake(asker, absence) in self.table.take_wakes() {
            let waited = self.waiting.remove(&asker.ticket);
            let (session, want) = waited.unwrap_or_else(|| panic!("{asker:?} was not waiting"));
            self.want(asker.ticket, asker.conn.0 as usize, session, want, absence);
        }
    }

    /// One that is on the way arrives, or does not; one that is there leaves.
    fn settle_one(&mut self) {
        if self.holders.is_empty() {
            return;
        }
        let at = self.rng.below(self.holders.len());
        let holder = self.holders[at];
        let (id, conn) = (name(holder.session), ConnId(holder.conn as u64));
        if !holder.attached && !self.rng.one_in(4) {
            let twin =
                |h: &Holder| h.attached && h.session == holder.session && h.conn == holder.conn;
            // To be attached twice is to be attached.
            if self.holders.iter().any(twin) {
                self.holders.remove(at);
            } else {
                self.holders[at].attached = true;
            }
            self.table.attached(&id, conn, holder.epoch);
            // A resume that its CLI let pass after it gave no answer to the close: it lives.
            let lives = |h: &Halt| (h.session, h.epoch) == (holder.session, holder.epoch);
            self.halts.retain(|h| h.asked || !lives(h));
        } else {
            self.holders.remove(at);
            self.past.push(holder);
            let now = fairlead::time::now();
            if holder.attached {
                let cut = self.rng.one_in(2);
                self.table.detached(&id, conn, holder.epoch, cut, now);
            } else {
                let absent = self.rng.one_in(3);
                self.table.not_placed(&id, conn, holder.epoch, absent, now);
            }
        }
        self.wake();
    }

    /// What was seen of a session may have changed before it is deleted, or forgotten.
    fn delete(&mut self, session: usize) {
        let id = name(session);
        if self.rng.one_in(2) || self.seen.is_empty() {
            self.seen.push((session, self.table.hold(&id)));
            return;
        }
        let at = self.rng.below(self.seen.len());
        let (session, hold) = self.seen.swap_remove(at);
        let id = name(session);
        let held = self.holders.iter().any(|h| h.session == session)
            || self.halts.iter().any(|h| h.session == session);
        let before = self.leases.get();
        if self.rng.one_in(4) && !self.deleting.contains_key(&session) {
            assert!(!(self.table.forget_free(&id, hold) && held), "{id} is forgotten in use");
        } else if self.table.delete(&id, hold, fairlead::time::now()) {
            assert!(!held, "{id} is deleted in use");
            let asked = self.deleting.insert(session, true);
            assert_ne!(asked, Some(true), "{id} is deleted by two");
            assert_eq!(self.leases.get(), before, "nobody had room for it");
        }
        self.wake();
    }

    /// Its CLI says that it is gone, or does not.
    fn deleted(&mut self) {
        let asked: Vec<usize> =
            self.deleting.iter().filter(|(_, asked)| **asked).map(|(s, _)| *s).collect();
        let Some(session) = self.rng.pick(&asked).copied() else { return };
        let (id, gone) = (name(session), !self.rng.one_in(3));
        self.table.delete_answered(&id, gone);
        let hold = self.table.hold(&id);
        if gone {
            self.deleting.remove(&session);
            assert_eq!(hold, Hold::Unknown);
        } else {
            self.deleting.insert(session, false);
            assert!(matches!(hold, Hold::Undeleted(_)), "{id} came back: {hold:?}");
            self.seen.push((session, hold));
        }
        self.wake();
    }

    fn at_rest(&self) -> bool {
        let sought = !self.sought.is_empty() || !self.lefts.is_empty();
        let deleting = self.deleting.values().any(|asked| *asked);
        self.holders.is_empty() && self.halts.is_empty() && !sought && !deleting
    }

    fn look_up(&mut self) {
        let Some(session) = self.sought.pop() else { return };
        let one = UpstreamId(self.rng.below(UPSTREAMS) as u32);
        let sighting = match self.rng.below(7) {
            0 => Sighting::Live(one),
            1 => Sighting::LiveTwice,
            2 => Sighting::Unsure,
            3 => Sighting::Nobody { down: self.rng.one_in(2) },
            4 => Sighting::Unasked,
            _ => Sighting::OnDisk(vec![one]),
        };
        self.table.looked_up(&name(session), sighting);
        self.wake();
    }

    fn left_answers(&mut self) {
        let Some((session, epoch)) = self.lefts.pop() else { return };
        let has = [Some(true), Some(false), None][self.rng.below(3)];
        self.table.left_answered(&name(session), epoch, has, fairlead::time::now());
        self.wake();
    }

    /// Its end is written: nobody is attached any more, some may be on the way.
    fn halt(&mut self) {
        let Some(holder) = self.rng.pick(&self.holders).copied() else { return };
        let Holder { session, epoch, upstream, attached, .. } = holder;
        if !attached {
            return;
        }
        let (id, conn) = (name(session), ConnId(holder.conn as u64));
        let first = !self.halts.iter().any(|h| h.session == session);
        let free = !self.holders.iter().any(|h| h.session == session && !h.attached);
        let closes = self.table.halted(&id, conn, upstream, epoch);
        assert_eq!(closes, first.then_some(free), "it is to be closed");
        if !first {
            self.holders
                .retain(|h| (h.session, h.conn, h.attached) != (session, holder.conn, true));
            return self.past.push(holder);
        }
        let there = |h: &Holder| h.session == session && h.attached;
        self.past.extend(self.holders.iter().copied().filter(there));
        self.holders.retain(|h| !there(h));
        self.halts.push(Halt { session, epoch, asked: free });
        self.wake();
    }

    fn close(&mut self) {
        if self.halts.is_empty() {
            return;
        }
        let at = self.rng.below(self.halts.len());
        let Halt { session, epoch, asked } = self.halts[at];
        let (id, now) = (name(session), fairlead::time::now());
        if asked {
            let closed = !self.rng.one_in(3);
            let again = self.table.close_answered(&id, epoch, closed, now);
            assert_eq!(again, !closed, "{id} is closed when its CLI says so");
            self.halts[at].asked = false;
            self.halts.retain(|h| h.session != session || !closed);
        } else {
            let held = self.holders.iter().any(|h| h.session == session);
            assert_eq!(self.table.close_again(&id, epoch), Some(!held), "{id} is not closed yet");
            self.halts[at].asked = !held;
        }
        self.wake();
    }

    /// What is said of a life that is over changes no later one.
    fn late_report(&mut self) {
        let Some(holder) = self.rng.pick(&self.past).copied() else { return };
        let Holder { session, epoch, .. } = holder;
        let halted = self.halts.iter().any(|h| (h.session, h.epoch) == (session, epoch));
        if halted || self.holders.iter().any(|h| (h.session, h.epoch) == (session, epoch)) {
            return;
        }
        let before = self.leases.get();
        let (id, conn) = (name(session), ConnId(holder.conn as u64));
        let now = fairlead::time::now();
        match self.rng.below(5) {
            0 => self.table.detached(&id, conn, epoch, true, now),
            1 => self.table.closed(&id, holder.upstream, epoch, now),
            2 => drop(self.table.not_placed(&id, conn, epoch, true, now)),
            // A life that is over, but perhaps not in its CLI: that is asked, and takes no room.
            3 => {
                if let Some(asked) = self.table.halted(&id, conn, holder.upstream, epoch) {
                    self.placed.remove(&(session, epoch));
                    self.halts.push(Halt { session, epoch, asked });
                }
            }
            _ => {
                let turn = self.table.turn(&id, epoch, conn, true);
                assert!(turn.is_none(), "a life that is over works");
            }
        }
        assert_eq!(self.leases.get(), before, "a life that is over gave back a lease");
        self.wake();
    }

    fn check(&self) {
        self.table.check_invariants();
        for (session, asked) in &self.deleting {
            let hold = self.table.hold(&name(*session));
            let so =
                if *asked { hold == Hold::Changing } else { matches!(hold, Hold::Undeleted(_)) };
            assert!(so, "session {session} is to be gone: {hold:?}");
        }
        let mut homes = BTreeMap::new();
        for holder in &self.holders {
            let home = (holder.upstream, holder.epoch);
            let other = *homes.entry(holder.session).or_insert(home);
            assert_eq!(other, home, "session {} has two homes", holder.session);
            assert_eq!(self.table.upstream_of(&name(holder.session)), Some(holder.upstream));
        }
        let held = homes.iter().map(|(session, (_, epoch))| (*session, *epoch));
        let lives: BTreeSet<(usize, u64)> =
            held.chain(self.halts.iter().map(|h| (h.session, h.epoch))).collect();
        let placed = lives.intersection(&self.placed).count();
        assert_eq!(self.leases.get(), placed, "a lease for each life that is held or halted");
    }
}

#[test]
fn a_session_that_is_held_has_one_home_and_one_lease() {
    for seed in 0..512 {
        let mut bench = Bench::new(seed);
        (0..200).for_each(|_| bench.step());
        while !bench.at_rest() {
            bench.left_answers();
            bench.deleted();
            bench.close();
            bench.settle_one();
            bench.look_up();
            bench.check();
        }
        assert!(bench.waiting.is_empty(), "seed {seed}: {:?} wait for ever", bench.waiting);
        assert_eq!(bench.leases.get(), 0, "seed {seed}");
    }
}
