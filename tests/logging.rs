//! Logging of a whole process whose stderr nobody reads.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may panic, its helpers too"
)]

use std::process::Stdio;
use std::time::Duration;

use fairlead::observe::logging::{Format, LEVEL_VARIABLE, start};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(30);
const IS_CHILD: &str = "FAIRLEAD_TEST_LOGGING_CHILD";
const LINES: u64 = 50_000;

/// Logs far more than a pipe and the queue hold, panics in a thread, and says on stdout what was dropped.
fn child() {
    let log = start("info", Some(Format::Json)).unwrap();
    let dropped = log.dropped();
    for n in 0..LINES {
        tracing::info!(
            kind = "flood",
            n,
            "a line that fills the pipe, then the queue, then nothing"
        );
    }
    assert!(std::thread::spawn(|| panic!("and a panic is logged too")).join().is_err());
    drop(log);
    println!("\ndropped {}", dropped());
}

#[tokio::test]
async fn a_stderr_that_nobody_reads_stops_neither_the_work_nor_the_exit() {
    if std::env::var_os(IS_CHILD).is_some() {
        return child();
    }
    let name = "a_stderr_that_nobody_reads_stops_neither_the_work_nor_the_exit";
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(IS_CHILD, "1")
        .env_remove(LEVEL_VARIABLE)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
    let status = timeout(SOON, process.wait()).await.expect("stuck on stderr").unwrap();
    assert!(status.success(), "{status}");
    let mut dropped = None;
    while let Some(line) = said.next_line().await.unwrap() {
        dropped = dropped.or(line.strip_prefix("dropped ").map(|n| n.parse::<u64>().unwrap()));
    }
    let dropped = dropped.expect("the child said nothing");
    assert!(dropped > 0 && dropped < LINES, "{dropped} of {LINES} dropped");

    let first = BufReader::new(process.stderr.take().unwrap()).lines().next_line().await.unwrap();
    let first: serde_json::Value = serde_json::from_str(&first.unwrap()).unwrap();
    assert_eq!((&first["kind"], &first["n"]), (&"flood".into(), &0.into()));
}
