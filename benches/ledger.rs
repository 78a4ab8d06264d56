//! How long it takes to open a ledger of N sessions: as it was closed, and after a crash. And how many claims a second
//! become durable, so many of them under way at once. Needs a directory on the disk in question; measures no network.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use clap::Parser;
use fairlead::caller::{Owner, Realm};
use fairlead::id::SessionId;
use fairlead::ledger::{Class, Ledger, Record};
use fairlead::time;

/// Fills a ledger and opens it again.
#[derive(Parser)]
struct Args {
    /// An empty directory, on the disk to be measured.
    dir: PathBuf,
    /// Sessions in the ledger.
    #[arg(long, default_value_t = 100_000)]
    sessions: u64,
    /// Claims under way at once.
    #[arg(long, default_value_t = 64)]
    at_once: usize,
}

fn record(n: u64) -> Record {
    let owner = Owner {
        realm: Realm::Tenant(format!("tenant-{}", n % 100).into()),
        user: Some(format!("user-{}@example.org", n % 20_000).into()),
    };
    Record {
        owner,
        grants: Vec::new(),
        upstream: Some(format!("cli-{}", n % 10).into()),
        created: UNIX_EPOCH,
        used: UNIX_EPOCH,
        class: Class::Persistent,
    }
}

/// The seconds that `work` takes, and what it gives.
fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let start = time::now();
    let done = work();
    (start.elapsed().as_secs_f64(), done)
}

async fn fill(ledger: &Ledger, args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let mut under_way = VecDeque::new();
    for n in 0..args.sessions {
        let session = SessionId::new(&format!("{n:08x}-5b1e-4a52-9c56-0d2f6c1b7a10"));
        under_way.extend(ledger.claim("main", &session, record(n)).ok());
        while under_way.len() >= args.at_once {
            if let Some(receipt) = under_way.pop_front() {
                receipt.await?;
            }
        }
    }
    for receipt in under_way {
        receipt.await?;
    }
    Ok(())
}

/// The directory as a crash in this moment would leave it.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    std::fs::copy(from.join("ledger.redb"), to.join("ledger.redb")).map(|_| ())
}

#[expect(clippy::print_stdout, reason = "the result is the program's output")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let ledger = Ledger::open(&args.dir)?;
    let (filling, filled) = timed(|| runtime.block_on(fill(&ledger, &args)));
    filled?;
    let crashed = args.dir.join("crashed");
    copy(&args.dir, &crashed)?;
    drop(ledger);
    let (open, ledger) = timed(|| Ledger::open(&args.dir));
    let (repair, repaired) = timed(|| Ledger::open(&crashed));
    let (sessions, bytes) = (ledger?.len(), std::fs::metadata(crashed.join("ledger.redb"))?.len());
    println!(
        "{{\"sessions\":{sessions},\"file_bytes\":{bytes},\"open_seconds\":{open:.3},\
         \"open_after_crash_seconds\":{repair:.3},\"after_crash\":{},\"claims_per_second\":{:.0}}}",
        repaired?.len(),
        args.sessions as f64 / filling,
    );
    Ok(())
}
