//! The session table alone, against a model of one line: a session has a home as long as somebody holds it or is on the
//! way to it, and then it is one.
//!
//! Where the whole world is simulated, clients and CLIs hide much of the table's tree. Here its callers do anything that
//! they may, late reports of lives that are over among it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use fairlead::id::{ConnId, SessionId, UpstreamId};
use fairlead::session::table::{
    Absence, Answer, Asker, CreateExisting, Sighting, Storage, Table, Wake,
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
        let limit = if rng.one_in(3) { 2 } else { 100 };
        Bench {
            rng,
            table: Table::new(storage, CreateExisting::Resume, limit),
            leases: Rc::default(),
            holders: Vec::new(),
            placed: BTreeSet::new(),
            waiting: BTreeMap::new(),
            tickets: 0,
            sought: Vec::new(),
            past: Vec::new(),
        }
    }

    fn step(&mut self) {
        let session = self.rng.below(SESSIONS);
        match self.rng.below(9) {
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
            7 => self.look_up(),
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
            Answer::Place { only, .. } => {
                let held = self.holders.iter().any(|h| h.session == session);
                assert!(!held, "{id} is placed while it is held");
                let any = UpstreamId(self.rng.below(UPSTREAMS) as u32);
                let upstream = only.unwrap_or(any);
                let lease = Lease::take(&self.leases);
                let epoch = self.table.place(&id, asker.conn, upstream, lease, now);
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
        } else {
            self.holders.remove(at);
            self.past.push(holder);
            if holder.attached {
                let cut = self.rng.one_in(2);
                self.table.detached(&id, conn, holder.epoch, cut);
            } else {
                let absent = self.rng.one_in(3);
                self.table.not_placed(&id, conn, holder.epoch, absent);
            }
        }
        self.wake();
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

    /// What is said of a life that is over changes no later one.
    fn late_report(&mut self) {
        let Some(holder) = self.rng.pick(&self.past).copied() else { return };
        let Holder { session, epoch, .. } = holder;
        if self.holders.iter().any(|h| (h.session, h.epoch) == (session, epoch)) {
            return;
        }
        let before = self.leases.get();
        let (id, conn) = (name(session), ConnId(holder.conn as u64));
        match self.rng.below(4) {
            0 => self.table.detached(&id, conn, epoch, true),
            1 => self.table.closed(&id, holder.upstream, epoch),
            2 => self.table.not_placed(&id, conn, epoch, true),
            _ => assert!(self.table.turn(&id, epoch, true).is_none(), "a life that is over works"),
        }
        assert_eq!(self.leases.get(), before, "a life that is over gave back a lease");
        self.wake();
    }

    fn check(&self) {
        self.table.check_invariants();
        let mut homes = BTreeMap::new();
        for holder in &self.holders {
            let home = (holder.upstream, holder.epoch);
            let other = *homes.entry(holder.session).or_insert(home);
            assert_eq!(other, home, "session {} has two homes", holder.session);
            assert_eq!(self.table.upstream_of(&name(holder.session)), Some(holder.upstream));
        }
        let placed = homes.iter().filter(|(s, (_, epoch))| self.placed.contains(&(**s, *epoch)));
        assert_eq!(self.leases.get(), placed.count(), "a lease for each life that is held");
    }
}

#[test]
fn a_session_that_is_held_has_one_home_and_one_lease() {
    for seed in 0..512 {
        let mut bench = Bench::new(seed);
        (0..200).for_each(|_| bench.step());
        while !bench.holders.is_empty() || !bench.sought.is_empty() {
            bench.settle_one();
            bench.look_up();
            bench.check();
        }
        assert!(bench.waiting.is_empty(), "seed {seed}: {:?} wait for ever", bench.waiting);
        assert_eq!(bench.leases.get(), 0, "seed {seed}");
    }
}
