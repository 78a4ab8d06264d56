//! One schedule: a fleet, a table, some conns and their clients; and chance, which decides what happens next.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fairlead::id::{LinkId, SessionId};
use fairlead::rpc::frame::FrameLimits;
use fairlead::rpc::mux::{Authentication, LinkToken, Mux, Now, Settings, Ticket};
use fairlead::rpc::policy::Policy;
use fairlead::session::table::{CreateExisting, Storage, Table};
use fairlead::time::Instant;
use fairlead::want::Want;

use super::cli::Cli;
use super::client::Client;
use super::faults::LARGEST;
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
    /// In which a turn may start, as it was told.
    pub(crate) granted: BTreeSet<String>,
    /// How many bytes of its client the mux took.
    pub(crate) fed: u64,
    pub(crate) tick_at: Option<Duration>,
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) base: Instant,
    pub(crate) elapsed: Duration,
    pub(crate) storage: Storage,
    pub(crate) create_existing: CreateExisting,
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
    /// What all CLIs want to hear.
    pub(crate) token: Option<LinkToken>,
    pub(crate) mutation: Option<Mutation>,
    /// A client that came back for a session.
    pub(crate) insists: Option<(usize, String)>,
    /// Nothing new happens: what is under way comes to its end.
    pub(crate) settling: bool,
    /// Little goes wrong.
    pub(crate) calm: bool,
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);

fn settings(rng: &mut Rng) -> Settings {
    let frame = FrameLimits { header: 1024, body: LARGEST };
    Settings {
        client_frame: frame,
        upstream_frame: frame,
        link_queue: if rng.one_in(4) { 600 } else { 100_000 },
        client_queue: if rng.one_in(3) { 300 } else { 100_000 },
        pending: 4 + rng.below(30),
        slots: 2 + rng.below(10),
        request_timeout: if rng.one_in(4) { SECOND } else { SECOND * 30 },
        client_request_timeout: Duration::from_secs(8),
        handshake_timeout: Duration::from_secs(5),
        seek_timeout: Duration::from_secs(6),
        bounds_turns: rng.one_in(2),
        greet_timeout: Duration::from_secs(6),
        discard_timeout: Duration::from_secs(5),
        finish_timeout: Duration::from_secs(5),
        authentication: Authentication::NotConfigured,
        authentication_timeout: Duration::from_secs(10),
        policy: Policy::default(),
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
        let create_existing = match rng.below(6) {
            0 => CreateExisting::Pass,
            1 => CreateExisting::Refuse,
            _ => CreateExisting::Resume,
        };
        let limit = if rng.one_in(4) { 1 } else { 1000 };
        let settings = Arc::new(settings(&mut rng));
        let token = rng.one_in(2).then(|| LinkToken("secret".into()));
        let mut world = World {
            base: fairlead::time::now(),
            elapsed: Duration::ZERO,
            storage,
            create_existing,
            table: Table::new(storage, create_existing, limit),
            leases: Rc::default(),
            members: vec![Member { up: true, ..Member::default() }; fleet],
            clis: (0..fleet).map(|_| Cli { alive: true, ..Cli::default() }).collect(),
            disks: vec![BTreeSet::new(); disks],
            conns: Vec::new(),
            tasks: Vec::new(),
            sessions,
            truth: Truth { trace: traced.then(Vec::new), ..Truth::default() },
            settings,
            token,
            mutation,
            insists: None,
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

    pub(crate) fn enter(&mut self) {
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
            granted: BTreeSet::new(),
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
                if self.rng.one_in(4) {
                    self.watch_reads(cli);
                }
                self.cli_step(cli);
                self.ends_turn_early(cli);
            }
            60..70 if self.conns[conn].alive && !self.conns[conn].client.quiet() => {
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
        self.check_halted();
        self.check_broadcasts();
        for c in 0..self.conns.len() {
            self.conns[c].broken = true;
        }
        (0..20).for_each(|_| self.round(SECOND));
        let [placing, _, _, _] = self.table.counts();
        if self.table.busy() > 0 {
            self.truth.fail(Rule::Turn, "turns run for nobody".to_owned());
        }
        if self.leases.get() > 0 || placing > 0 {
            let what = format!("{} leases and {placing} placings for nobody", self.leases.get());
            self.truth.fail(Rule::Lease, what);
        }
    }

    pub(crate) fn round(&mut self, by: Duration) {
        for u in 0..self.clis.len() {
            self.notice_health(u);
            if !self.clis[u].alive {
                self.clis[u].alive = true;
            }
            while self.watch_reads(u) {}
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
}
