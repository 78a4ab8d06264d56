//! A state directory, supervised stand-ins, and facts about processes to wait for.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fairlead::time::{self, Duration};
use fairlead::upstream::source::managed::{Managed, Spec, StateDir, Status, managed};
use tokio::task::JoinSet;

/// What every CLI is started with.
pub(crate) const CLI_ARGUMENTS: [&str; 4] = ["--headless", "--no-auto-update", "--port", "{port}"];

/// How long a test waits for a fact.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// The program of `stand_in.rs`.
pub(crate) const STAND_IN: &str = env!("CARGO_BIN_EXE_managed-stand-in");

/// A directory that goes away with the test.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("fairlead-managed-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o700)).unwrap();
        Dir(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One state directory with its supervised CLIs.
pub(crate) struct Rig {
    pub(crate) state: StateDir,
    tasks: JoinSet<()>,
    pub(crate) dir: Dir,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let dir = Dir::new();
        Rig { state: StateDir::open(&dir.0).unwrap(), tasks: JoinSet::new(), dir }
    }

    /// A spec with short waits; `command` gets a CLI's arguments appended.
    pub(crate) fn spec(&self, command: &[&str]) -> Spec {
        let command = command.iter().chain(&CLI_ARGUMENTS).map(|&word| word.to_owned()).collect();
        let mut spec = Spec::new("p", 0, command, self.dir.0.join("p/cli-0"));
        spec.backoff_min = Duration::from_millis(50);
        spec.stop_timeout = Duration::from_secs(15);
        spec
    }

    pub(crate) fn start(&mut self, spec: Spec) -> Managed {
        let (cli, supervisor) = managed(spec, &self.state);
        self.tasks.spawn(supervisor);
        cli
    }

    /// Waits until every supervisor has ended.
    pub(crate) async fn finished(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }

    /// The pids that a stand-in's shell wrote down.
    pub(crate) fn kids(&self) -> Vec<i32> {
        kids(&self.dir.0.join("p/cli-0"))
    }
}

pub(crate) fn kids(home: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(home.join("kids")).unwrap();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// The first status that `fits`; fails after [`DEADLINE`].
pub(crate) async fn until(cli: &Managed, fits: impl FnMut(&Status) -> bool) -> Status {
    let mut status = cli.status();
    let found = tokio::time::timeout(DEADLINE, status.wait_for(fits)).await;
    match found {
        Ok(found) => found.unwrap().clone(),
        Err(_) => panic!("still {:?}", *cli.status().borrow()),
    }
}

/// Waits until it is ready; returns its port, pid and generation.
pub(crate) async fn ready(cli: &Managed) -> (u16, i32, u64) {
    let status = until(cli, |status| matches!(status, Status::Ready { .. })).await;
    let Status::Ready { addr, pid, generation } = status else { panic!("{status:?}") };
    (addr.port(), i32::try_from(pid).unwrap(), generation)
}

/// Whether the process lives; one that has ended and is not reaped does not.
pub(crate) fn lives(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !stat.rsplit_once(')').unwrap().1.trim_start().starts_with(['Z', 'X'])
}

/// Waits until `fact` holds; fails with `what` after [`DEADLINE`].
pub(crate) async fn eventually(what: &str, mut fact: impl FnMut() -> bool) {
    let until = time::now() + DEADLINE;
    while !fact() {
        assert!(time::now() < until, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Opens a state directory again, as soon as its lock is free: a process that another test forks
/// in this moment holds a copy of the lock until it executes its program.
pub(crate) async fn reopen(dir: &Dir) -> StateDir {
    let mut state = None;
    eventually("the lock is free", || {
        state = StateDir::open(&dir.0).ok();
        state.is_some()
    })
    .await;
    state.unwrap()
}

/// Sends KILL to one process.
pub(crate) fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Another process that supervises `script`; returns it and the pid of its CLI.
pub(crate) fn supervise(dir: &Dir, script: &str) -> (Child, i32) {
    let mut command = Command::new(STAND_IN);
    command
        .arg("supervise")
        .arg(&dir.0)
        .args(["/bin/sh", "-c", script, STAND_IN])
        .args(CLI_ARGUMENTS);
    let mut supervisor = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(supervisor.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pid = line.trim().strip_prefix("ready ").unwrap().parse().unwrap();
    (supervisor, pid)
}
