//! One schedule: a fleet, a table, some conns and their clients; and chance, which decides what happens next.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fairlead::id::{LinkId, SessionId, UpstreamId};
use fairlead::rpc::frame::FrameLimits;
use fairlead::rpc::mux::{LinkToken, Mux, Now, Settings, Ticket};
use fairlead::session::table::{CreateExisting, Storage, Table};
use fairlead::time::Instant;
use fairlead::want::Want;

use super::cli::Cli;
use super::client::Client;
use super::mutate::Mutation;
use super::pool::Task;
use super::rng::Rng;
use super::shell::{Event, LinkIo};
use super::truth::{Rule, Truth};

/// Room on a CLI, counted.
pub(crate) struct Lease(Rc<Cell<usize>>);

impl Lease {
    pub(crate) fn take(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Lease(Rc::clone(count))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Member {
    pub(crate) up: bool,
    pub(crate) was_down: bool,
    /// Since when it says nothing.
    pub(crate) silent: Option<Duration>,
}

pub(crate) struct Conn {
    pub(crate) mux: Mux,
    pub(crate) client: Client,
    pub(crate) links: BTreeMap<LinkId, LinkIo>,
    pub(crate) seeking: BTreeMap<Ticket, (SessionId, Want)>,
    pub(crate) inbox: VecDeque<Event>,
    pub(crate) alive: bool,
    pub(crate) broken: bool,
    /// Where its sessions are, as the mux said.
    pub(crate) on: BTreeMap<String, u32>,
    /// Which are busy, as the mux said.
    pub(crate) busy: BTreeSet<String>,
    /// How many bytes of its client the mux took.
    pub(crate) fed: u64,
    pub(crate) tick_at: Option<Duration>,
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) base: Instant,
    pub(crate) elapsed: Duration,
    pub(crate) storage: Storage,
    pub(crate) table: Table<Lease>,
    pub(crate) leases: Rc<Cell<usize>>,
    pub(crate) members: Vec<Member>,
    pub(crate) clis: Vec<Cli>,
    pub(crate) disks: Vec<BTreeSet<String>>,
    pub(crate) conns: Vec<Conn>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) sessions: Vec<String>,
    pub(crate) truth: Truth,
    pub(crate) settings: Arc<Settings>,
    pub(crate) mutation: Option<Mutation>,
    /// Nothing new happens: what is under way comes to its end.
    pub(crate) settling: bool,
    /// Little goes wrong.
    pub(crate) calm: bool,
}

const REQUEST: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);
/// After this long a silent CLI is dead.
const DEAD_AFTER: Duration = Duration::from_secs(15);

fn settings(rng: &mut Rng) -> Settings {
    let frame = FrameLimits { header: 1024, body: 64 * 1024 };
    Settings {
        client_frame: frame,
        upstream_frame: frame,
        link_queue: if rng.one_in(4) { 600 } else { 100_000 },
        client_queue: if rng.one_in(3) { 300 } else { 100_000 },
        pending: 4 + rng.below(30),
        slots: 2 + rng.below(10),
        request_timeout: REQUEST,
        client_request_timeout: Duration::from_secs(8),
        handshake_timeout: Duration::from_secs(5),
        seek_timeout: Duration::from_secs(6),
        discard_timeout: Duration::from_secs(5),
        finish_timeout: Duration::from_secs(5),
        token: rng.one_in(2).then(|| LinkToken("secret".into())),
    }
}

impl World {
    pub(crate) fn new(seed: u64, mutation: Option<Mutation>, traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let storage = if rng.one_in(2) { Storage::Own } else { Storage::Shared };
        let fleet = 1 + rng.below(3);
        let disks = if storage == Storage::Own { fleet } else { 1 };
        let uuid = |n: u64| format!("{:08x}-aaaa-4bbb-8ccc-{:012x}", n & 0xffff_ffff, n >> 16);
        let mut sessions: Vec<String> = (0..2 + rng.below(3)).map(|_| uuid(rng.next())).collect();
        sessions.push("user-a-chat".into());
        let calm = rng.one_in(2);
        let limit = if rng.one_in(4) { 1 } else { 1000 };
        let settings = Arc::new(settings(&mut rng));
        let mut world = World {
            base: fairlead::time::now(),
            elapsed: Duration::ZERO,
            storage,
            table: Table::new(storage, CreateExisting::Resume, limit),
            leases: Rc::default(),
            members: vec![Member { up: true, ..Member::default() }; fleet],
            clis: (0..fleet).map(|_| Cli { alive: true, ..Cli::default() }).collect(),
            disks: vec![BTreeSet::new(); disks],
            conns: Vec::new(),
            tasks: Vec::new(),
            sessions,
            truth: Truth { trace: traced.then(Vec::new), ..Truth::default() },
            settings,
            mutation,
            settling: false,
            calm,
            rng,
        };
        // One of them was there before us.
        if let Some(old) = world.sessions.last().cloned() {
            let at = world.rng.below(disks);
            world.disks[at].insert(old.clone());
            world.truth.ever.insert(old);
        }
        for _ in 0..2 + world.rng.below(3) {
            world.enter();
        }
        world
    }

    pub(crate) fn disk_of(&self, u: usize) -> usize {
        if self.storage == Storage::Own { u } else { 0 }
    }

    pub(crate) fn now(&self) -> Now {
        Now { at: self.base + self.elapsed, wall: SystemTime::UNIX_EPOCH + self.elapsed }
    }

    fn enter(&mut self) {
        let seed = self.rng.next();
        self.conns.push(Conn {
            mux: Mux::new(Arc::clone(&self.settings), seed),
            client: Client::default(),
            links: BTreeMap::new(),
            seeking: BTreeMap::new(),
            inbox: VecDeque::new(),
            alive: true,
            broken: false,
            on: BTreeMap::new(),
            busy: BTreeSet::new(),
            fed: 0,
            tick_at: None,
        });
    }

    /// Runs the whole schedule: `steps` of chance, then the end of all that is under way.
    pub(crate) fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
            if self.truth.violation.is_some() {
                return;
            }
        }
        self.settle();
    }

    fn step(&mut self) {
        let conn = self.rng.below(self.conns.len());
        let cli = self.rng.below(self.clis.len());
        match self.rng.below(100) {
            0..30 => self.poll(conn),
            30..60 => {
                self.cli_step(cli);
                self.ends_turn_early(cli);
            }
            60..70 if self.conns[conn].alive && !self.conns[conn].client.finished => {
                self.client_acts(conn);
            }
            60..80 => {
                let most = 1 + self.rng.below(600);
                self.client_reads(conn, most);
            }
            80..88 => self.task_step(),
            88..98 => {
                let far = if self.rng.one_in(12) { 4000 } else { 60 };
                let by = self.rng.below(far) as u64;
                self.pass(Duration::from_millis(by));
            }
            98 if !self.calm || self.rng.one_in(6) => self.fault(cli, conn),
            _ => self.probe(cli),
        }
        self.check_all(conn);
    }

    fn fault(&mut self, cli: usize, conn: usize) {
        match self.rng.below(10) {
            0 => self.cli_dies(cli),
            1..3 => self.clis[cli].wedged = self.clis[cli].alive,
            3..5 => self.clis[cli].wedged = false,
            5 => self.clis[cli].leaving = self.clis[cli].alive,
            6 => self.conns[conn].client.finished = true,
            7 => self.conns[conn].broken = true,
            8 if self.rng.one_in(3) => {
                let now = self.now();
                self.conns[conn].mux.drain();
                if self.rng.one_in(3) && self.conns[conn].alive {
                    self.conns[conn].mux.cut(now);
                }
            }
            _ => self.enter(),
        }
    }

    /// What the `watch` of a CLI finds.
    fn probe(&mut self, u: usize) {
        let cli = &mut self.clis[u];
        if cli.leaving && self.rng.one_in(2) {
            return self.cli_dies(u);
        }
        if !cli.alive && self.rng.one_in(2) {
            // What it left is told of before it comes back.
            if !self.members[u].up {
                cli.alive = true;
            }
        }
        self.notice_health(u);
    }

    fn notice_health(&mut self, u: usize) {
        let cli = &self.clis[u];
        let up = cli.alive && !cli.wedged && !cli.leaving;
        let member = &mut self.members[u];
        member.silent = if up { None } else { member.silent.or(Some(self.elapsed)) };
        if up != member.up {
            member.up = up;
            member.was_down |= !up;
            self.truth.note(|| format!("cli {u} is up: {up}"));
            if up {
                self.decide(|table| table.upstream_is(UpstreamId(u as u32), true));
            }
        }
    }

    fn pass(&mut self, by: Duration) {
        self.elapsed += by;
        for u in 0..self.members.len() {
            let silent = self.members[u].silent;
            if silent.is_some_and(|at| self.elapsed > at + DEAD_AFTER) {
                self.members[u].silent = Some(self.elapsed);
                self.decide(|table| table.upstream_is(UpstreamId(u as u32), false));
                self.conns.iter_mut().for_each(|c| c.inbox.push_back(Event::Dead(u)));
            }
        }
        for c in 0..self.conns.len() {
            if self.conns[c].tick_at.is_some_and(|at| at <= self.elapsed) {
                self.poll(c);
            }
        }
    }

    fn check_all(&mut self, c: usize) {
        self.table.check_invariants();
        if self.conns[c].alive {
            self.conns[c].mux.check_invariants();
        }
        self.check_turns(c);
        self.check_waits(c, REQUEST + SECOND * 8);
        let [placing, live, _, _] = self.table.counts();
        if self.leases.get() > placing + live {
            let what = format!("{} leases for {placing} + {live} sessions", self.leases.get());
            self.truth.fail(Rule::Lease, what);
        }
    }

    /// Whoever must see a turn sees it.
    fn check_turns(&mut self, c: usize) {
        let conn = &self.conns[c];
        if !conn.alive || conn.mux.done().is_some() {
            return;
        }
        let blind = conn.on.iter().find(|(session, u)| {
            let cli = &self.clis[**u as usize];
            let Some(live) = cli.live.get(*session).filter(|l| cli.alive && l.busy()) else {
                return false;
            };
            let here = live.attached.iter().any(|cc| {
                let cc = &cli.conns[*cc];
                cc.conn == c && cc.open && !cc.reset
            });
            let obliged = self.truth.obliged.get(&(c, (*session).clone()));
            let clear = !self.truth.muddled.contains(&(c, (*session).clone()));
            clear && here && obliged == Some(&live.batch) && !conn.busy.contains(*session)
        });
        if let Some((session, _)) = blind {
            let what = format!("conn {c} takes {session} for idle");
            self.truth.fail(Rule::Turn, what);
        }
    }

    /// Lets everything come to its end, and looks at what is left.
    fn settle(&mut self) {
        self.settling = true;
        self.truth.note(|| "everything settles".into());
        for u in 0..self.clis.len() {
            if self.clis[u].leaving || self.clis[u].wedged && self.rng.one_in(2) {
                self.cli_dies(u);
            }
            self.clis[u].wedged = false;
        }
        for round in 0..90 {
            self.round(if round < 12 { Duration::from_millis(20) } else { SECOND });
            if self.truth.violation.is_some() {
                return;
            }
        }
        (0..self.conns.len()).for_each(|c| self.check_end(c));
        for c in 0..self.conns.len() {
            self.conns[c].broken = true;
        }
        (0..20).for_each(|_| self.round(SECOND));
        let [placing, _, _, _] = self.table.counts();
        if self.leases.get() > 0 || placing > 0 {
            let what = format!("{} leases and {placing} placings for nobody", self.leases.get());
            self.truth.fail(Rule::Lease, what);
        }
    }

    fn round(&mut self, by: Duration) {
        for u in 0..self.clis.len() {
            self.notice_health(u);
            if !self.clis[u].alive {
                self.clis[u].alive = true;
            }
            for _ in 0..8 + 4 * self.conns.len() {
                self.cli_step(u);
            }
        }
        (0..4).for_each(|_| self.task_step());
        for c in 0..self.conns.len() {
            self.poll(c);
            self.client_reads(c, usize::MAX);
            self.check_all(c);
        }
        self.pass(by);
    }

    fn check_end(&mut self, c: usize) {
        let conn = &self.conns[c];
        if !conn.alive || conn.client.finished {
            return;
        }
        if let Some(left) = conn.client.waiting.first() {
            let what = format!("conn {c}: {} {} has no answer", left.method, left.token);
            return self.truth.fail(Rule::Unanswered, what);
        }
        let stuck = conn.busy.iter().find(|session| {
            let live = self.clis.iter().find_map(|cli| cli.live.get(*session));
            live.is_none_or(|live| !live.busy())
                && !self.truth.muddled.contains(&(c, (*session).clone()))
        });
        if let Some(session) = stuck.cloned() {
            return self
                .truth
                .fail(Rule::Turn, format!("conn {c} takes {session} for busy for ever"));
        }
        let unheard = self.truth.told.values().find(|told| {
            let cc = &self.clis[told.cli].conns[told.cc];
            told.conn == c && !told.got && cc.open && !cc.reset && told.kind != "session.lifecycle"
        });
        if let Some(told) = unheard {
            let what = format!("conn {c} never heard {}", told.body);
            self.truth.fail(Rule::Unanswered, what);
        }
    }
}
