//! The ledger as processes see it: killed at any moment, and how much memory it takes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use fairlead::id::SessionId;
use fairlead::ledger::{Ledger, LedgerError};
use fairlead::time::{self, Duration};

const WRITER: &str = env!("CARGO_BIN_EXE_ledger-writer");
const ROUNDS: u64 = 25;
const DEADLINE: Duration = Duration::from_secs(60);

/// A directory that goes away with the test.
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn spawn(dir: &Dir, from: u64) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(WRITER)
        .arg("claim")
        .arg(&dir.0)
        .arg(from.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

/// Another test that starts a process holds a copy of the lock until its exec.
fn open(dir: &Dir) -> Ledger {
    let deadline = time::now() + DEADLINE;
    loop {
        match Ledger::open(&dir.0) {
            Err(LedgerError::InUse(_)) if time::now() < deadline => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

fn session(n: u64) -> SessionId {
    SessionId::new(&format!("{n:08x}-5b1e-4a52-9c56-0d2f6c1b7a10"))
}

/// What was acknowledged, round after round.
#[derive(Default)]
struct Acknowledged {
    claimed: BTreeSet<u64>,
    released: BTreeSet<u64>,
    next: u64,
}

impl Acknowledged {
    fn hear(&mut self, line: &str) {
        let Some(line) = line.strip_suffix('\n') else { return };
        match line.strip_prefix('-') {
            Some(n) => assert!(self.released.insert(n.parse().unwrap())),
            None => {
                let n = line.parse().unwrap();
                assert!(self.claimed.insert(n));
                self.next = n + 1;
            }
        }
    }

    /// Every claim is known with its owner, and whatever else is known is whole.
    fn check(&self, ledger: &Ledger, round: u64) {
        for n in self.claimed.difference(&self.released) {
            // Its release may have been under way.
            let may_be_gone = n.is_multiple_of(5);
            let record = ledger.get("main", &session(*n));
            assert!(record.is_some() || may_be_gone, "round {round}: {n} is lost");
        }
        for n in &self.released {
            assert_eq!(ledger.get("main", &session(*n)), None, "round {round}: {n} is back");
        }
        for id in ledger.sessions_of("main", |_| true) {
            let n = u64::from_str_radix(id.as_str().split('-').next().unwrap(), 16).unwrap();
            let record = ledger.get("main", &id).unwrap();
            let user = format!("user-{}@example.org", n % 20_000);
            assert_eq!(record.owner.user.as_deref(), Some(user.as_str()), "round {round}");
            assert_eq!(record.grants.len(), usize::from(n.is_multiple_of(20)), "round {round}");
            assert_eq!(record.upstream.as_deref(), Some(format!("cli-{}", n % 10).as_str()));
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let dir = Dir(std::env::temp_dir().join(format!("fairlead-ledger-{}", uuid::Uuid::new_v4())));
    let mut acknowledged = Acknowledged::default();
    for round in 0..ROUNDS {
        // Killed after this many acknowledgements: another number each round, the same in each run.
        let lines_until_kill = 1 + round * 37 % 101;
        let (mut child, mut lines) = spawn(&dir, acknowledged.next + 1000);
        for _ in 0..lines_until_kill {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it ended by itself");
            acknowledged.hear(&line);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        rest.split_inclusive('\n').for_each(|line| acknowledged.hear(line));
        acknowledged.check(&open(&dir), round);
    }
    assert!(acknowledged.claimed.len() as u64 > ROUNDS * 30);
    assert!(!acknowledged.released.is_empty());
}

#[test]
fn a_hundred_thousand_sessions_fit_in_64_mib() {
    let output = Command::new(WRITER).args(["fill", "100000"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (bytes, sessions) = text.trim().split_once(' ').unwrap();
    assert_eq!(sessions, "100000");
    let bytes: u64 = bytes.parse().unwrap();
    assert!(bytes > 10 << 20, "{bytes} bytes: that is not what they take");
    assert!(bytes <= 64 << 20, "{bytes} bytes");
    println!("{} bytes a session", bytes / 100_000);
}
