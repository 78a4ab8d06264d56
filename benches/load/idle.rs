//! Memory that the proxy holds for conns that do nothing: when they are new, after each has moved a lot, when they
//! are gone.

use std::io;
use std::net::SocketAddr;

use clap::Args;
use fairlead::time::{self, Duration};
use serde_json::{Value, json};

use crate::fleet::{Fleet, OPENED, PATIENCE, answer_to, wrong};
use crate::process::{Watch, anonymous_bytes};
use crate::rpc::request;
use crate::seconds;

/// Requests of each conn at the peak, and the bytes that each is padded with.
const PEAK: (u64, usize) = (16, 16 * 1024);

#[derive(Args)]
pub(crate) struct Plan {
    /// How long things may settle before each look.
    #[arg(long, default_value = "2", value_parser = seconds)]
    settle: Duration,
}

/// Runs it; the result as JSON.
pub(crate) fn run(plan: &Plan, addr: SocketAddr, conns: usize, watch: &Watch) -> io::Result<Value> {
    let pid = watch.proxy().unwrap_or_else(std::process::id);
    // What a first conn brings to life is not a conn's.
    peak(&mut Fleet::open(addr, 20)?)?;
    let mut quiet: Vec<()> = Vec::new();
    let before = held(pid, plan, &mut quiet)?;
    let mut fleet = Fleet::open(addr, conns)?;
    let idle = held(pid, plan, &mut fleet.clients)?;
    peak(&mut fleet)?;
    let high = anonymous_bytes(pid);
    let calmed = held(pid, plan, &mut fleet.clients)?;
    drop(fleet);
    let after = held(pid, plan, &mut quiet)?;
    let each = |bytes: u64| (bytes as f64 - before as f64) / conns as f64;
    Ok(json!({
        "messages": conns as u64 * PEAK.0, "before": before, "idle": idle, "peak": high, "after_peak": calmed, "after_close": after,
        "idle_per_conn": each(idle), "after_peak_per_conn": each(calmed), "after_close_per_conn": each(after),
    }))
}

/// The memory held after a while in which nothing is asked. The slice keeps the conns open till then.
#[expect(clippy::disallowed_methods, reason = "a pause of a measurement, no test waits here")]
fn held<T>(pid: u32, plan: &Plan, _open: &mut [T]) -> io::Result<u64> {
    std::thread::sleep(plan.settle);
    Ok(anonymous_bytes(pid))
}

/// Every conn moves a lot at once; returns when all is answered.
fn peak(fleet: &mut Fleet) -> io::Result<()> {
    let pad = format!(r#","pad":"{}""#, "x".repeat(PEAK.1));
    let mut due: Vec<u64> = Vec::new();
    for client in &mut fleet.clients {
        for number in 1..=PEAK.0 {
            client.out.extend(request(OPENED + number, "session.mode.get", &client.session, &pad));
        }
        client.flush()?;
        due.push(PEAK.0);
    }
    let end = time::now() + PATIENCE;
    while due.iter().any(|left| *left > 0) {
        if time::now() > end {
            return Err(wrong("requests without an answer"));
        }
        fleet.turn(Duration::from_millis(100), |number, body, _| {
            if let (Some(left), Some(_)) = (due.get_mut(number), answer_to(body)) {
                *left = left.checked_sub(1).ok_or_else(|| wrong("an answer too many"))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}
