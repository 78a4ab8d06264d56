//! Requests of one size, each answered: as fast as answers come, or at a rate.

use std::collections::VecDeque;
use std::io;
use std::io::Write as _;
use std::net::SocketAddr;

use clap::Args;
use fairlead::testing::wire;
use fairlead::time::{self, Duration, Instant};
use serde_json::{Value, json};

use crate::fleet::{Fleet, OPENED, PATIENCE, answer_to, wrong};
use crate::histogram::Histogram;
use crate::process::{Mark, Watch};
use crate::seconds;

#[derive(Args)]
pub(crate) struct Plan {
    /// Requests that each conn has in flight.
    #[arg(long, default_value_t = 1)]
    in_flight: usize,
    /// Requests a second of all conns together, whatever is in flight; without it the loop is closed.
    #[arg(long)]
    rate: Option<u32>,
    /// Bytes of each request's body.
    #[arg(long, default_value_t = 360)]
    bytes: usize,
    /// For how long.
    #[arg(long, default_value = "3", value_parser = seconds)]
    seconds: Duration,
    /// What is not measured, before it.
    #[arg(long, default_value = "0.5", value_parser = seconds)]
    warm_up: Duration,
}

/// Where one conn is.
struct Asking {
    /// The body, up to the id and from the id on.
    frame: (Vec<u8>, Vec<u8>),
    next: u64,
    /// What was asked, in order: a session's answers come in order.
    due: VecDeque<(u64, Instant)>,
}

impl Asking {
    fn new(session: &str, bytes: usize) -> Self {
        let head = br#"{"jsonrpc":"2.0","id":"#.to_vec();
        let tail =
            format!(r#","method":"session.mode.get","params":{{"sessionId":"{session}","pad":""#);
        // Ids have ten digits, so that all frames are of one size.
        let padding = bytes.saturating_sub(head.len() + 10 + tail.len() + 3);
        let tail = format!("{tail}{}\"}}}}", "x".repeat(padding)).into_bytes();
        Asking { frame: (head, tail), next: 1_000_000_000 + OPENED, due: VecDeque::new() }
    }

    fn ask(&mut self, out: &mut Vec<u8>, now: Instant) {
        let length = self.frame.0.len() + 10 + self.frame.1.len();
        let _ = write!(out, "Content-Length: {length}\r\n\r\n");
        out.extend_from_slice(&self.frame.0);
        let _ = write!(out, "{}", self.next);
        out.extend_from_slice(&self.frame.1);
        self.due.push_back((self.next, now));
        self.next += 1;
    }

    fn answered(&mut self, body: &[u8]) -> io::Result<Option<Instant>> {
        let Some(id) = answer_to(body) else { return Ok(None) };
        match self.due.pop_front() {
            Some((due, asked)) if due == id => Ok(Some(asked)),
            other => Err(wrong(format!("an answer to {id} where {other:?} was due"))),
        }
    }
}

struct Run {
    asking: Vec<Asking>,
    latency: Histogram,
    answered: u64,
    measuring: bool,
}

/// Runs it; the result as JSON.
pub(crate) fn run(plan: &Plan, addr: SocketAddr, conns: usize, watch: &Watch) -> io::Result<Value> {
    let mut fleet = Fleet::open(addr, conns)?;
    let asking = fleet.clients.iter().map(|c| Asking::new(&c.session, plan.bytes)).collect();
    let mut run = Run { asking, latency: Histogram::new(), answered: 0, measuring: false };
    let (from, to) = match plan.rate {
        Some(rate) => run.paced(plan, rate, &mut fleet, watch)?,
        None => run.closed(plan, &mut fleet, watch)?,
    };
    let (cpu, took) = watch.between(&from, &to);
    let asked: u64 = run.asking.iter().map(|a| a.next - 1_000_000_000 - OPENED).sum();
    Ok(json!({
        "messages": run.answered, "seconds": took, "per_second": run.answered as f64 / took,
        "p50_us": run.latency.micros(0.5), "p99_us": run.latency.micros(0.99),
        "p999_us": run.latency.micros(0.999), "cpu_seconds": cpu, "asked_in_all": asked,
    }))
}

impl Run {
    fn closed(
        &mut self,
        plan: &Plan,
        fleet: &mut Fleet,
        watch: &Watch,
    ) -> io::Result<(Mark, Mark)> {
        let begin = time::now();
        for (client, asking) in fleet.clients.iter_mut().zip(&mut self.asking) {
            for _ in 0..plan.in_flight {
                asking.ask(&mut client.out, begin);
            }
            client.flush()?;
        }
        self.until(begin + plan.warm_up, fleet)?;
        let from = watch.mark();
        self.measuring = true;
        self.until(begin + plan.warm_up + plan.seconds, fleet)?;
        let to = watch.mark();
        self.measuring = false;
        self.finish(fleet)?;
        Ok((from, to))
    }

    /// Answers bring new requests, until then.
    fn until(&mut self, end: Instant, fleet: &mut Fleet) -> io::Result<()> {
        loop {
            let now = time::now();
            if now >= end {
                return Ok(());
            }
            fleet.turn(end - now, |number, body, out| self.take(number, body, Some(out)))?;
        }
    }

    fn take(&mut self, number: usize, body: &[u8], out: Option<&mut Vec<u8>>) -> io::Result<()> {
        let Some(asking) = self.asking.get_mut(number) else { return Ok(()) };
        let Some(asked) = asking.answered(body)? else { return Ok(()) };
        let now = time::now();
        if self.measuring {
            self.latency.add(now - asked);
            self.answered += 1;
        }
        if let Some(out) = out {
            asking.ask(out, now);
        }
        Ok(())
    }

    /// Waits for what is still due: every request gets its answer.
    fn finish(&mut self, fleet: &mut Fleet) -> io::Result<()> {
        let end = time::now() + PATIENCE;
        while self.asking.iter().any(|a| !a.due.is_empty()) {
            if time::now() >= end {
                return Err(wrong("requests without an answer"));
            }
            fleet.turn(Duration::from_millis(100), |number, body, _| {
                self.take(number, body, None)
            })?;
        }
        Ok(())
    }

    fn paced(
        &mut self,
        plan: &Plan,
        rate: u32,
        fleet: &mut Fleet,
        watch: &Watch,
    ) -> io::Result<(Mark, Mark)> {
        let begin = time::now();
        let warm = (plan.warm_up.as_secs_f64() * f64::from(rate)) as u64;
        let all = warm + (plan.seconds.as_secs_f64() * f64::from(rate)) as u64;
        let mut from = watch.mark();
        for number in 0..all {
            let due = begin + Duration::from_secs(1).mul_f64(number as f64 / f64::from(rate));
            loop {
                let wait = due.saturating_duration_since(time::now());
                if wait.is_zero() && number % 16 != 0 {
                    break;
                }
                fleet.turn(wait, |number, body, _| self.take(number, body, None))?;
                if time::now() >= due {
                    break;
                }
            }
            if number == warm {
                from = watch.mark();
                self.measuring = true;
            }
            let at = (number % fleet.clients.len() as u64) as usize;
            if let (Some(client), Some(asking)) =
                (fleet.clients.get_mut(at), self.asking.get_mut(at))
            {
                asking.ask(&mut client.out, time::now());
                client.flush()?;
            }
        }
        self.finish(fleet)?;
        Ok((from, watch.mark()))
    }
}

/// A request whose answer is not measured, as a frame.
pub(crate) fn request(id: u64, method: &str, session: &str, more: &str) -> Vec<u8> {
    wire::frame(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"sessionId":"{session}"{more}}}}}"#
    ))
}
