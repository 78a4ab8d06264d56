//! The load generator: opens conns with one session each, runs one scenario, prints one line of JSON.
//!
//! One thread and one epoll. It counts as strictly as it can: an answer with an id that is not due, an event too few
//! or too many, is an error, and the exit code says so. It starts no process: `run.py` does.

mod events;
mod fleet;
mod histogram;
mod http;
mod idle;
mod process;
mod rpc;

use std::net::SocketAddr;

use clap::{Parser, Subcommand};
use fairlead::time::Duration;

/// Puts load on a CLI server, or on what stands in front of one.
#[derive(Parser)]
struct Args {
    /// Where the server, or the proxy, listens.
    #[arg(long)]
    addr: SocketAddr,
    /// How many conns, each with a session of its own.
    #[arg(long, default_value_t = 50)]
    conns: usize,
    /// A process whose CPU time is told; may be given several times.
    #[arg(long = "watch", value_name = "NAME=PID", value_parser = watched)]
    watch: Vec<(String, u32)>,
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Requests and answers.
    Rpc(rpc::Plan),
    /// Turns in which the CLI streams events.
    Events(events::Plan),
    /// Conns that do nothing: what the process named `proxy` holds for each.
    Idle(idle::Plan),
    /// HTTP requests, or streams of events.
    Http(http::Plan),
}

fn watched(text: &str) -> Result<(String, u32), String> {
    let (name, pid) = text.split_once('=').ok_or("not NAME=PID")?;
    Ok((name.to_owned(), pid.parse().map_err(|_| "the PID is not a number".to_owned())?))
}

/// Seconds, with a fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[expect(clippy::print_stdout, reason = "the result is the program's output")]
fn main() -> std::io::Result<()> {
    let args = Args::parse();
    let watch = process::Watch::new(args.watch);
    let result = match &args.scenario {
        Scenario::Rpc(plan) => rpc::run(plan, args.addr, args.conns, &watch)?,
        Scenario::Events(plan) => events::run(plan, args.addr, args.conns, &watch)?,
        Scenario::Idle(plan) => idle::run(plan, args.addr, args.conns, &watch)?,
        Scenario::Http(plan) => http::run(plan, args.addr, args.conns, &watch)?,
    };
    println!("{result}");
    Ok(())
}
