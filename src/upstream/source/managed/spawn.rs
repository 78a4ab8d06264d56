//! Starts one process in a session and group of its own that does not outlive us.
//!
//! Has `unsafe`: neither what happens between fork and exec nor waiting for a bare descriptor has a safe form.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal, setsid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Makes the process that `command` will start the leader of a new session and group (no Ctrl-C
/// and no hang-up of our terminal reaches it), killed by the kernel when the thread that starts it
/// ends (prctl(2), `PR_SET_PDEATHSIG`).
#[expect(unsafe_code, reason = "the parent-death signal can only be asked for by the child itself")]
pub(super) fn detach(command: &mut Command) {
    let parent = getpid();
    let in_child = move || -> io::Result<()> {
        setsid()?;
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // We may have died before the signal was asked for: then nobody would send it.
        if getppid() == Some(parent) { Ok(()) } else { Err(Errno::SRCH.into()) }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. The closure makes
    // three system calls and compares two integers; it takes no lock, allocates nothing (an
    // `io::Error` from an errno is a plain value) and captures one integer by value.
    unsafe {
        command.pre_exec(in_child);
    }
}

/// Makes the end of a process, by its pidfd, something that a task can wait for.
#[expect(unsafe_code, reason = "tokio's safe form is deprecated for what a bare `AsRawFd` may do")]
pub(super) fn register(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one open descriptor, always the same, until it is dropped; it is
    // moved into the `AsyncFd`, which nobody asks for it back mutably.
    Ok(unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?)
}
