//! One running CLI process and whatever it starts: signals to all of it, reaped in the end.
//!
//! The main process is reaped last: until then its pid, which is also the number of its group and
//! session, cannot be given to anybody else, so that no signal can reach a stranger.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, kill_process_group, pidfd_open, pidfd_send_signal,
    waitpgid,
};
use tokio::io::unix::AsyncFd;
use tokio::process::{ChildStderr, ChildStdout};

use super::procfs::{self, Family};
use super::state::{Entry, State};
use super::thread::Thread;
use super::{Spec, environment, resolve, spawn, state};
use crate::time::{self, Duration};

/// How long killed processes may take to vanish (one may hang in the kernel) before we go on.
const PATIENCE: Duration = Duration::from_secs(10);

/// A CLI process that is not yet reaped.
pub(super) struct Process {
    leader: Leader,
    exit: AsyncFd<OwnedFd>,
}

impl Process {
    /// Starts the CLI of `spec` on `port` and writes it down, both on `thread`.
    pub(super) async fn start(
        spec: &Spec,
        port: u16,
        thread: &Thread,
    ) -> io::Result<(Process, ChildStdout, ChildStderr)> {
        let marker = uuid::Uuid::new_v4().to_string();
        let command = command(spec, port, &marker)?;
        state::make_private_dir(&spec.home)?;
        let (pool, cli) = (spec.pool.clone(), spec.index);
        let started = thread.run(move |state| Leader::start(command, pool, cli, marker, state));
        let mut leader = started.await??;
        let pipes = (leader.child.stdout.take(), leader.child.stderr.take());
        let (Some(stdout), Some(stderr)) = pipes else { return Err(io::Error::other("no pipes")) };
        let exit = spawn::register(leader.pidfd.try_clone()?)?;
        let pipes = (ChildStdout::from_std(stdout)?, ChildStderr::from_std(stderr)?);
        Ok((Process { leader, exit }, pipes.0, pipes.1))
    }

    /// The pid of the main process.
    pub(super) fn pid(&self) -> u32 {
        self.leader.child.id()
    }

    /// Waits until the main process has ended; does not reap it.
    pub(super) async fn exited(&self) {
        // Readiness is never cleared: a process ends once. An error means no reactor: never ends.
        if self.exit.readable().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Asks all of the group to end.
    pub(super) fn terminate(&self) {
        let _ = kill_process_group(self.leader.pid, Signal::TERM);
    }

    /// Kills what is left of the CLI and what it started until nothing is, reaps it, and takes it
    /// off the list. Returns how the main process ended.
    pub(super) async fn end(mut self, thread: &Thread) -> io::Result<ExitStatus> {
        let _ = kill_process_group(self.leader.pid, Signal::KILL);
        self.exited().await;
        let entry = self.leader.entry.clone();
        let left = kill_until_gone(thread, &entry).await?;
        let status = self.leader.reap();
        if left == 0 {
            let forgotten = thread.run(move |state| state.remove(&entry.marker)).await.flatten();
            if let Err(error) = forgotten {
                tracing::warn!(%error, "the list of started CLIs cannot be written");
            }
        }
        status
    }
}

/// What is started: the native binary, with the operator's arguments.
fn command(spec: &Spec, port: u16, marker: &str) -> io::Result<Command> {
    let (program, arguments) = match spec.command.split_first() {
        Some((program, arguments)) => (program.as_str(), arguments),
        None => ("", &[][..]),
    };
    let environment = environment::environment(std::env::vars_os(), spec, marker);
    let path = environment.iter().rev().find(|(name, _)| name == "PATH").map(|(_, path)| path);
    let program = resolve::resolve(program, path.map(AsRef::as_ref));
    let mut command = Command::new(program.map_err(io::Error::other)?);
    command
        .args(arguments.iter().map(|argument| argument.replace("{port}", &port.to_string())))
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    spawn::detach(&mut command);
    Ok(command)
}

/// Kills a family again and again (it may fork meanwhile) until none of it lives, at most
/// [`PATIENCE`]. Returns how many are left.
pub(super) async fn kill_until_gone(thread: &Thread, entry: &Entry) -> io::Result<usize> {
    let until = time::now() + PATIENCE;
    let mut pause = Duration::from_millis(2);
    loop {
        let family = entry.clone();
        let left = thread.run(move |_| signal_all(family.family(), Signal::KILL)).await?;
        if left == 0 || time::now() >= until {
            if left > 0 {
                tracing::error!(pid = entry.pid, left, "processes of a CLI survive SIGKILL");
            }
            return Ok(left);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Sends `signal` to every living process of the family; returns how many there were.
pub(super) fn signal_all(family: Family<'_>, signal: Signal) -> usize {
    let living = family.living();
    for process in &living {
        let _ = signal_one(process, signal);
    }
    living.len()
}

/// Through a descriptor of the process, with its start time read again after that was opened: a
/// pid that changed hands in between gets nothing.
fn signal_one(process: &procfs::Process, signal: Signal) -> io::Result<()> {
    let Some(pid) = Pid::from_raw(process.pid) else { return Ok(()) };
    let descriptor = pidfd_open(pid, PidfdFlags::empty())?;
    if procfs::process(process.pid).is_some_and(|now| now.start == process.start) {
        pidfd_send_signal(&descriptor, signal)?;
    }
    Ok(())
}

/// The main process. Dropped before it is reaped (the supervisor itself was dropped), it is killed
/// with its group; the next start ends whatever else is left, from the list.
struct Leader {
    child: Child,
    pid: Pid,
    pidfd: OwnedFd,
    entry: Entry,
    reaped: bool,
}

impl Leader {
    fn start(
        mut command: Command,
        pool: String,
        cli: usize,
        marker: String,
        state: &mut State,
    ) -> io::Result<Leader> {
        let mut child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let raw = pid.as_raw_nonzero().get();
        // A child that is not reaped has an entry in /proc, also when it has ended.
        let known = procfs::process(raw).ok_or_else(|| io::Error::other("no /proc"));
        let known = known.and_then(|p| Ok((p, pidfd_open(pid, PidfdFlags::NONBLOCK)?)));
        let (process, pidfd) = match known {
            Ok(known) => known,
            Err(error) => {
                let _ = kill_process_group(pid, Signal::KILL);
                let _ = child.wait();
                return Err(error);
            }
        };
        let entry = Entry { pool, cli, pid: raw, start: process.start, marker };
        let leader = Leader { child, pid, pidfd, entry, reaped: false };
        state.add(leader.entry.clone())?;
        Ok(leader)
    }

    fn reap(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait();
        self.reaped = true;
        // Where we are pid 1 (a container without an init), its orphans became our children.
        while let Ok(Some(_)) = waitpgid(self.pid, WaitOptions::NOHANG) {}
        status
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        let _ = kill_process_group(self.pid, Signal::KILL);
        let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let _ = poll(&mut ended, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }));
        let _ = self.child.try_wait();
    }
}
