//! Turns: each `session.send` makes the fake CLI stream its events, and all of them have to arrive, then one idle.

use std::io;
use std::net::SocketAddr;

use clap::Args;
use fairlead::time::{self, Duration};
use memchr::memmem;
use serde_json::{Value, json};

use crate::fleet::{Fleet, OPENED, PATIENCE, answer_to, wrong};
use crate::histogram::Histogram;
use crate::process::Watch;
use crate::rpc::request;

#[derive(Args)]
pub(crate) struct Plan {
    /// Turns of each conn, one after the other; the first one is not measured.
    #[arg(long, default_value_t = 2)]
    turns: u64,
    /// Events of each turn: as many as the fake CLI was told to stream.
    #[arg(long)]
    events: u64,
}

struct Turn {
    session: String,
    begun: u64,
    events: u64,
    answered: bool,
    idle: bool,
}

/// Runs it; the result as JSON.
pub(crate) fn run(plan: &Plan, addr: SocketAddr, conns: usize, watch: &Watch) -> io::Result<Value> {
    let mut fleet = Fleet::open(addr, conns)?;
    let mut latency = Histogram::new();
    let turn = |client: &crate::fleet::Client| Turn {
        session: client.session.clone(),
        begun: 0,
        events: 0,
        answered: false,
        idle: false,
    };
    let mut turns: Vec<Turn> = fleet.clients.iter().map(turn).collect();
    round(&mut fleet, &mut turns, plan, 1, &mut Histogram::new())?;
    let from = watch.mark();
    round(&mut fleet, &mut turns, plan, plan.turns - 1, &mut latency)?;
    let (cpu, took) = watch.between(&from, &watch.mark());
    let events = plan.events * (plan.turns - 1) * conns as u64;
    Ok(json!({
        "messages": events, "seconds": took, "per_second": events as f64 / took,
        "p50_us": latency.micros(0.5), "p99_us": latency.micros(0.99),
        "p999_us": latency.micros(0.999), "cpu_seconds": cpu,
    }))
}

/// Lets each conn have `more` turns; returns when all have ended.
fn round(
    fleet: &mut Fleet,
    turns: &mut [Turn],
    plan: &Plan,
    more: u64,
    latency: &mut Histogram,
) -> io::Result<()> {
    let goal: Vec<u64> = turns.iter().map(|t| t.begun + more).collect();
    let mut running = turns.len();
    for (client, turn) in fleet.clients.iter_mut().zip(turns.iter_mut()) {
        turn.begin(&mut client.out);
        client.flush()?;
    }
    let mut heard = time::now();
    while running > 0 {
        if time::now() > heard + PATIENCE {
            return Err(wrong("turns that do not end"));
        }
        fleet.turn(Duration::from_millis(100), |number, body, out| {
            let (Some(turn), Some(goal)) = (turns.get_mut(number), goal.get(number)) else {
                return Ok(());
            };
            let now = time::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            heard = time::now();
            if let Some(sent) = turn.take(body, plan.events)? {
                latency.add(now.saturating_sub(sent));
            } else if turn.ended(body, plan.events)? {
                if turn.begun < *goal {
                    turn.begin(out);
                } else {
                    running -= 1;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

impl Turn {
    fn begin(&mut self, out: &mut Vec<u8>) {
        self.begun += 1;
        (self.events, self.answered, self.idle) = (0, false, false);
        let id = OPENED + self.begun;
        out.extend(request(id, "session.send", &self.session, r#","prompt":"go""#));
    }

    /// Counts a streamed event; when it was sent, since the epoch.
    fn take(&mut self, body: &[u8], events: u64) -> io::Result<Option<Duration>> {
        let head = body.get(..256.min(body.len())).unwrap_or_default();
        let Some(at) = memmem::find(head, b"\"messageId\":\"") else { return Ok(None) };
        if memmem::find(head, b"\"assistant.message_delta\"").is_none() {
            return Ok(None);
        }
        if memmem::find(head, self.session.as_bytes()).is_none() {
            return Err(wrong("an event of another session"));
        }
        self.events += 1;
        if self.events > events {
            return Err(wrong("more events than were sent"));
        }
        let digits = head.get(at + 13..at + 33).and_then(|d| std::str::from_utf8(d).ok());
        let nanos = digits.and_then(|d| d.parse().ok());
        Ok(Some(Duration::from_nanos(nanos.ok_or_else(|| wrong("an event without its time"))?)))
    }

    /// Whether this frame is the last of the turn: the idle, or the answer to the send where that comes later.
    fn ended(&mut self, body: &[u8], events: u64) -> io::Result<bool> {
        if answer_to(body) == Some(OPENED + self.begun) {
            self.answered = true;
        } else if memmem::find(body, b"\"type\":\"session.idle\"").is_some() {
            self.idle = true;
        } else {
            return Ok(false);
        }
        if self.idle && self.events != events {
            return Err(wrong(format!("{} of {events} events came before the idle", self.events)));
        }
        Ok(self.idle && self.answered)
    }
}
