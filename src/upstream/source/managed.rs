//! Managed CLIs: processes that fairlead starts, watches, restarts and ends.
//!
//! Takes plain parameters and tells a [`Status`]; never knows sessions, links, pools or the
//! configuration. What holds for every CLI process started here:
//!
//! - it is the native binary, not the npm wrapper, which leaves the CLI alive when it is ended;
//! - it leads a session and group of its own (Ctrl-C does not reach it), and the kernel kills it
//!   when fairlead dies, however that happens;
//! - its environment is cleared: a short list is passed on, then comes what is configured;
//! - it is ready when it has announced its port on its own pipe and answers `ping` there, so a
//!   stranger that took the port in between is never mistaken for it;
//! - it is dead when nothing that it started lives any more and it is reaped. Only then does the
//!   status say so; once its main process has ended, no session of its moves before that;
//! - it is on a list in the state directory, by pid and start time, so that the next fairlead can
//!   end what a killed one left.
//!
//! Linux only: it reads `/proc` and holds pidfds.

mod backoff;
mod environment;
mod lines;
mod output;
mod ping;
mod process;
mod procfs;
mod resolve;
mod spawn;
mod state;
mod supervise;
mod thread;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::Signal;
use tokio::sync::{mpsc, watch};

pub use self::resolve::{ResolveError, resolve};
pub use self::state::StateError;

use self::backoff::Backoff;
use self::state::{Entry, State};
use self::supervise::{Order, Orders, Supervisor};
use self::thread::Thread;
use crate::observe::metrics::CounterBy;
use crate::time::{self, Duration, Instant};

/// What a process is given that may be another when the next one starts. Never logged.
pub struct Credentials {
    /// As [`Spec::env`].
    pub env: Vec<(String, String)>,
    /// As [`Spec::token`].
    pub token: Option<String>,
}

/// Says what the process that starts now is given.
pub type Renew = dyn Fn() -> Credentials + Send + Sync;

/// What to run, and how patiently.
#[derive(Clone)]
pub struct Spec {
    /// The pool that the CLI belongs to; for logs and the list in the state directory.
    pub pool: String,
    /// Its number within the pool.
    pub index: usize,
    /// Program and arguments; `{port}` in them is the port that the CLI must listen on.
    pub command: Vec<String>,
    /// Added to the environment. Values are never logged.
    pub env: Vec<(String, String)>,
    /// The pool's token, for `COPILOT_CONNECTION_TOKEN`. Never logged.
    pub token: Option<String>,
    /// Asked before each start for what stands in place of these two; `None`: they stay.
    pub renew: Option<Arc<Renew>>,
    /// `COPILOT_HOME`; made (0700) if it is not there. See [`Home`].
    pub home: PathBuf,
    /// From start to ready; then it is killed, which counts as a failure.
    pub ready_deadline: Duration,
    /// From TERM to KILL.
    pub stop_timeout: Duration,
    /// The wait after the first failure.
    pub backoff_min: Duration,
    /// The longest wait. A CLI that was ready for this long has recovered.
    pub backoff_max: Duration,
    /// Counts its starts but the first, by why there was another.
    pub restarts: Arc<CounterBy>,
}

impl Spec {
    /// A CLI with the default times: ready within 60 s, 15 s from TERM to KILL, restarted after
    /// 1 s doubling to 1 min; no token, nothing added to the environment.
    pub fn new(pool: impl Into<String>, index: usize, command: Vec<String>, home: PathBuf) -> Self {
        Spec {
            pool: pool.into(),
            index,
            command,
            env: Vec::new(),
            token: None,
            renew: None,
            home,
            ready_deadline: Duration::from_secs(60),
            stop_timeout: Duration::from_secs(15),
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            restarts: Arc::default(),
        }
    }

    fn refresh(&mut self) {
        if let Some(renew) = &self.renew {
            Credentials { env: self.env, token: self.token } = renew();
        }
    }

    /// The name of this CLI in logs: `cli-N`.
    pub fn upstream(&self) -> String {
        format!("cli-{}", self.index)
    }
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Spec")
            .field("pool", &self.pool)
            .field("index", &self.index)
            .field("command", &self.command)
            .field("env", &names)
            .field("token", &self.token.as_ref().map(|_| "***"))
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}

/// Which `COPILOT_HOME` a CLI gets: the key `home` of a managed pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// Its own: `STATE_DIR/POOL/cli-N`.
    Cli(usize),
    /// One for all CLIs of the pool: `STATE_DIR/POOL/home`.
    Pool,
}

impl Home {
    /// The directory below `state_dir`. `pool` must be a plain name (no `/`, no `..`).
    pub fn dir(self, state_dir: &Path, pool: &str) -> PathBuf {
        let pool = state_dir.join(pool);
        match self {
            Home::Cli(index) => pool.join(format!("cli-{index}")),
            Home::Pool => pool.join("home"),
        }
    }
}

/// What a managed CLI is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It has been, or is about to be, started and does not answer yet.
    Starting {
        /// 1 for a first start; counts up while it fails.
        attempt: u32,
    },
    /// It answers.
    Ready {
        /// Where.
        addr: SocketAddr,
        /// Its main process.
        pid: u32,
        /// Counts up with every process that got ready: another number is another process.
        generation: u64,
    },
    /// It was asked to end and still runs; its links live until it closes them.
    Stopping,
    /// Its main process has ended or is being killed: its links are lost. It, or something that
    /// it started, may still write to its home: no session may move yet.
    Exited {
        /// The main process that was.
        pid: u32,
    },
    /// It failed and is dead, with all that it started; it is started again later.
    Backoff {
        /// When.
        until: Instant,
        /// Failures in a row.
        failures: u32,
        /// Why it failed, with the last line that it printed.
        last: String,
    },
    /// It was stopped and is dead, with all that it started. The last status.
    Stopped,
}

impl Status {
    /// Whether every process that was ready earlier is dead, with all that it started, so that
    /// its sessions may move. (So is the one before a [`Status::Ready`] of a higher generation.)
    pub fn earlier_is_dead(&self) -> bool {
        match self {
            Status::Starting { .. } | Status::Backoff { .. } | Status::Stopped => true,
            Status::Ready { .. } | Status::Stopping | Status::Exited { .. } => false,
        }
    }

    /// Whether it fails again and again (three times in a row or more).
    pub fn is_crash_loop(&self) -> bool {
        match self {
            Status::Starting { attempt } => *attempt > 3,
            Status::Backoff { failures, .. } => *failures >= 3,
            Status::Ready { .. } | Status::Stopping | Status::Exited { .. } | Status::Stopped => {
                false
            }
        }
    }
}

/// The state directory, held by one fairlead at a time, and the thread that starts processes.
///
/// Keep it (or a [`managed`] future) as long as CLIs shall live: the last handle that is dropped
/// ends the thread, and the kernel kills with it what was still running.
#[derive(Clone)]
pub struct StateDir {
    thread: Thread,
    leftovers: Vec<Entry>,
}

impl StateDir {
    /// Makes (0700) and locks the directory. Blocks for some milliseconds; for use at start.
    pub fn open(dir: &Path) -> Result<StateDir, StateError> {
        let state = State::open(dir)?;
        let leftovers = state.entries();
        let io = |source| StateError::Io { path: dir.to_owned(), source };
        Ok(StateDir { thread: Thread::start(state).map_err(io)?, leftovers })
    }

    /// Ends what an earlier fairlead started and, being killed, could not end: TERM, `patience`,
    /// KILL. Returns how many processes that were. Call it before the first CLI starts.
    ///
    /// Whoever is no more the process that was written down (by start time) and does not carry its
    /// marker is left alone.
    pub async fn end_leftovers(&self, patience: Duration) -> std::io::Result<usize> {
        let mut ended = 0;
        for entry in &self.leftovers {
            ended += self.end_leftover(entry, time::now() + patience).await?;
        }
        Ok(ended)
    }

    async fn end_leftover(&self, entry: &Entry, until: Instant) -> std::io::Result<usize> {
        let found = self.signal(entry, Some(Signal::TERM)).await?;
        if found > 0 {
            tracing::warn!(
                pool = %entry.pool, upstream = entry.cli, pid = entry.pid, processes = found,
                "ending what an earlier fairlead left running"
            );
            while time::now() < until && self.signal(entry, None).await? > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        if process::kill_until_gone(&self.thread, entry).await? == 0 {
            let marker = entry.marker.clone();
            self.thread.run(move |state| state.remove(&marker)).await??;
        }
        Ok(found)
    }

    async fn signal(&self, entry: &Entry, signal: Option<Signal>) -> std::io::Result<usize> {
        let entry = entry.clone();
        let job = move |_: &mut State| match signal {
            Some(signal) => process::signal_all(entry.family(), signal),
            None => entry.family().living().len(),
        };
        self.thread.run(job).await
    }
}

/// The handle of a managed CLI. When the last one is dropped, the CLI is stopped.
#[derive(Clone)]
pub struct Managed {
    status: watch::Receiver<Status>,
    orders: mpsc::Sender<Order>,
}

impl Managed {
    /// Follows the status. It keeps only the newest: two of them may look alike though there was
    /// another between; `generation` tells.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Ends it (TERM, then KILL) and starts it again at once, without a wait. Does nothing where
    /// it is being started or ended already; cuts a wait short. `reason` goes to the log.
    pub fn restart(&self, reason: impl Into<String>) {
        // Full: there are orders enough that will have the same effect.
        let _ = self.orders.try_send(Order::Restart(reason.into()));
    }

    /// Ends it for good (TERM, then KILL); returns when nothing of it is left.
    pub async fn stop(&self) {
        self.finish(Order::Stop).await;
    }

    /// Ends it for good with KILL, also while [`Managed::stop`] waits; returns when nothing of it
    /// is left.
    pub async fn kill(&self) {
        self.finish(Order::Kill).await;
    }

    async fn finish(&self, order: Order) {
        // An error, here and below: the supervisor has ended, and with it the CLI.
        let _ = self.orders.send(order).await;
        let _ = self.status().wait_for(|status| *status == Status::Stopped).await;
    }
}

/// A managed CLI: its handle, and the future that is its supervisor. The caller spawns it; it ends
/// when the CLI was stopped. If it is dropped earlier, the CLI is killed.
pub fn managed(spec: Spec, dir: &StateDir) -> (Managed, impl Future<Output = ()> + Send + 'static) {
    let (sender, status) = watch::channel(Status::Starting { attempt: 1 });
    let (orders, queue) = mpsc::channel(4);
    let supervisor = Supervisor {
        backoff: Backoff::new(spec.backoff_min, spec.backoff_max),
        spec,
        thread: dir.thread.clone(),
        status: sender,
        orders: Orders { queue, closed: false },
        generation: 0,
    };
    (Managed { status, orders }, supervisor.run())
}
