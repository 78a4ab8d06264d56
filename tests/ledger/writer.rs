//! A process that `tests/ledger.rs` starts and kills: claims sessions in a ledger until it dies, and says so of each one
//! that is acknowledged; or fills a ledger in memory, and says how much that took. Never ends by itself in the first case.

use std::collections::VecDeque;
use std::io::Write as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

use fairlead::caller::{Owner, Realm};
use fairlead::id::SessionId;
use fairlead::ledger::{Class, Ledger, Receipt, Record};
use fairlead::time::Duration;

/// Claims under way at once.
const AT_ONCE: usize = 8;
/// As in a fleet: CLIs, users, tenants.
const UPSTREAMS: u64 = 10;
const USERS: u64 = 20_000;
const TENANTS: u64 = 100;

/// What session `n` is in every run.
fn record(n: u64) -> Record {
    let time = UNIX_EPOCH + Duration::from_secs(1_700_000_000 + n);
    let owner = |user: u64| Owner {
        realm: Realm::Tenant(format!("tenant-{}", user % TENANTS).into()),
        user: Some(format!("user-{user}@example.org").into()),
    };
    Record {
        owner: owner(n % USERS),
        grants: if n.is_multiple_of(20) { vec![owner(n % 7)] } else { Vec::new() },
        upstream: Some(format!("cli-{}", n % UPSTREAMS).into()),
        created: time,
        used: time,
        class: Class::Persistent,
    }
}

fn session(n: u64) -> SessionId {
    SessionId::new(&format!("{n:08x}-5b1e-4a52-9c56-0d2f6c1b7a10"))
}

async fn acknowledged(n: u64, receipt: Receipt) -> std::io::Result<()> {
    receipt.await.map_err(std::io::Error::other)?;
    // One write, so that a reader sees the whole line or none of it.
    std::io::stdout().write_all(format!("{n}\n").as_bytes())
}

/// Claims from `n` on; every fifth is released at once, and said so by a minus.
async fn claim(dir: &Path, mut n: u64) -> std::io::Result<()> {
    let ledger = Ledger::open(dir).map_err(std::io::Error::other)?;
    let mut under_way = VecDeque::new();
    loop {
        if let Ok(receipt) = ledger.claim("main", &session(n), record(n)) {
            under_way.push_back((n, receipt));
        }
        n += 1;
        if under_way.len() < AT_ONCE {
            continue;
        }
        let Some((first, receipt)) = under_way.pop_front() else { continue };
        acknowledged(first, receipt).await?;
        if first.is_multiple_of(5) {
            let released = ledger.release("main", &session(first));
            released.await.map_err(std::io::Error::other)?;
            std::io::stdout().write_all(format!("-{first}\n").as_bytes())?;
        }
    }
}

fn resident() -> std::io::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    Ok(pages.unwrap_or_default() * rustix::param::page_size() as u64)
}

/// Prints the bytes that `count` records take.
fn fill(count: u64) -> std::io::Result<()> {
    let before = resident()?;
    let ledger = Ledger::memory();
    for n in 0..count {
        drop(ledger.claim("main", &session(n), record(n)));
    }
    let used = resident()?.saturating_sub(before);
    writeln!(std::io::stdout(), "{used} {}", ledger.len())
}

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["claim", dir, from] => {
            let from = from.parse().map_err(std::io::Error::other)?;
            runtime.block_on(claim(Path::new(dir), from))
        }
        ["fill", count] => fill(count.parse().map_err(std::io::Error::other)?),
        _ => Err(std::io::Error::other("claim DIR FROM, or fill COUNT")),
    }
}
