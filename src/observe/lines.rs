//! The log lines of what ended: a conn, a session on an upstream, a turn. Their fields, and how an end is coded.
//!
//! A record can hold no prompt, tool argument, token or key: there is no field for one.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// The target of these lines: `FAIRLEAD_LOG=info,fairlead::lines=off` silences them alone.
pub const TARGET: &str = "fairlead::lines";

/// Who ended it: the first letter of `termination`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// `-`: nobody; it came to its own end.
    Nobody,
    /// `C`: the client closed or went away.
    Client,
    /// `U`: the upstream closed, died or fell silent.
    Upstream,
    /// `F`: fairlead refused or closed it: access, protocol, a limit, stalled writing.
    Fairlead,
    /// `T`: a deadline of ours passed.
    Timeout,
    /// `D`: we are draining.
    Drain,
    /// `O`: an operator asked for it.
    Operator,
    /// `I`: a mistake of ours; there is an error line about it.
    Internal,
}

/// In which phase it was: the second letter of `termination`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// `-`: all was done.
    Done,
    /// `H`: handshake: TLS, PROXY protocol, `connect`.
    Handshake,
    /// `Q`: queued for capacity or for a session's lock.
    Queue,
    /// `L`: opening a link to the upstream.
    Link,
    /// `R`: a request was pending, no turn ran.
    Request,
    /// `T`: a turn ran.
    Turn,
    /// `I`: idle: no request pending, no turn.
    Idle,
}

/// Two letters: who, and in which phase. `CI` is a client that left while idle, `UT` an upstream lost in mid-turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termination(pub EndedBy, pub Phase);

impl fmt::Display for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.0 {
            EndedBy::Nobody => '-',
            EndedBy::Client => 'C',
            EndedBy::Upstream => 'U',
            EndedBy::Fairlead => 'F',
            EndedBy::Timeout => 'T',
            EndedBy::Drain => 'D',
            EndedBy::Operator => 'O',
            EndedBy::Internal => 'I',
        };
        let phase = match self.1 {
            Phase::Done => '-',
            Phase::Handshake => 'H',
            Phase::Queue => 'Q',
            Phase::Link => 'L',
            Phase::Request => 'R',
            Phase::Turn => 'T',
            Phase::Idle => 'I',
        };
        write!(f, "{by}{phase}")
    }
}

/// Bytes and frames, each way, as the client sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
    /// Frames from the client.
    pub frames_in: u64,
    /// Frames to the client.
    pub frames_out: u64,
}

/// How long each part took; what did not happen is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Waiting for capacity or a lock.
    pub queue: Option<Duration>,
    /// Opening the link, with its handshake.
    pub connect: Option<Duration>,
    /// From the start to the first event.
    pub first_event: Option<Duration>,
    /// From the start to the end.
    pub total: Duration,
}

/// `kind = "conn"`: a client's connection ended.
#[derive(Clone, Debug)]
pub struct ConnEnd<'a> {
    /// Counts up from the start of the process.
    pub conn_id: u64,
    /// Where the client is, as proven by the PROXY protocol where that is used.
    pub client_addr: SocketAddr,
    /// The listener that accepted it.
    pub listener: &'a str,
    /// TLS version and cipher, if any.
    pub tls: Option<&'a str>,
    /// The caller, as proven, and how.
    pub identity: Option<&'a str>,
    /// The caller's tenant.
    pub tenant: Option<&'a str>,
    /// The pool that served it.
    pub pool: Option<&'a str>,
    /// Sessions that it was attached to.
    pub sessions: u64,
    /// Turns that it started.
    pub turns: u64,
    /// Links that were opened for it.
    pub links: u64,
    /// Bytes and frames.
    pub traffic: Traffic,
    /// Times.
    pub times: Times,
    /// `ok`, or the reason's word.
    pub result: &'a str,
    /// Who ended it, and when.
    pub termination: Termination,
    /// W3C trace context, if the client sent one.
    pub traceparent: Option<&'a str>,
}

/// `kind = "session"`: a session left an upstream, or its state changed for good.
#[derive(Clone, Debug)]
pub struct SessionEnd<'a> {
    /// The session.
    pub session_id: &'a str,
    /// The owner, as proven, and how.
    pub identity: Option<&'a str>,
    /// The owner's tenant.
    pub tenant: Option<&'a str>,
    /// The pool.
    pub pool: &'a str,
    /// The upstream that had it.
    pub upstream: &'a str,
    /// Why it was there.
    pub placement_reason: &'a str,
    /// Turns it had there.
    pub turns: u64,
    /// How long it was live there.
    pub total: Duration,
    /// The state that it went to: stored, lost or gone.
    pub result: &'a str,
    /// Who ended it, and when.
    pub termination: Termination,
}

/// `kind = "turn"`: a turn ended.
#[derive(Clone, Debug)]
pub struct TurnEnd<'a> {
    /// The conn that started it; absent when a CLI did by itself.
    pub conn_id: Option<u64>,
    /// The session.
    pub session_id: &'a str,
    /// Counts the session's turns on this upstream.
    pub turn: u64,
    /// What started it: a method, or an event's type.
    pub method: &'a str,
    /// The caller, as proven, and how.
    pub identity: Option<&'a str>,
    /// The caller's tenant.
    pub tenant: Option<&'a str>,
    /// The pool.
    pub pool: &'a str,
    /// The upstream.
    pub upstream: &'a str,
    /// Why the session was there.
    pub placement_reason: &'a str,
    /// Bytes and frames of the session during the turn.
    pub traffic: Traffic,
    /// Times.
    pub times: Times,
    /// `ok`, `aborted`, or the reason's word.
    pub result: &'a str,
    /// Who ended it, and when.
    pub termination: Termination,
    /// W3C trace context, if the client sent one.
    pub traceparent: Option<&'a str>,
}

/// Seconds, to the microsecond.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

impl ConnEnd<'_> {
    /// Writes the line, at level info.
    pub fn log(&self) {
        tracing::info!(
            target: TARGET,
            kind = "conn",
            conn_id = self.conn_id,
            client_addr = %self.client_addr,
            listener = self.listener,
            tls = self.tls,
            identity = self.identity,
            tenant = self.tenant,
            pool = self.pool,
            sessions = self.sessions,
            turns = self.turns,
            links = self.links,
            bytes_in = self.traffic.bytes_in,
            bytes_out = self.traffic.bytes_out,
            frames_in = self.traffic.frames_in,
            frames_out = self.traffic.frames_out,
            t_queue = self.times.queue.map(seconds),
            t_connect = self.times.connect.map(seconds),
            t_first_event = self.times.first_event.map(seconds),
            t_total = seconds(self.times.total),
            result = self.result,
            termination = %self.termination,
            traceparent = self.traceparent,
        );
    }
}

impl SessionEnd<'_> {
    /// Writes the line, at level info.
    pub fn log(&self) {
        tracing::info!(
            target: TARGET,
            kind = "session",
            session_id = self.session_id,
            identity = self.identity,
            tenant = self.tenant,
            pool = self.pool,
            upstream = self.upstream,
            placement_reason = self.placement_reason,
            turns = self.turns,
            t_total = seconds(self.total),
            result = self.result,
            termination = %self.termination,
        );
    }
}

impl TurnEnd<'_> {
    /// Writes the line, at level info.
    pub fn log(&self) {
        tracing::info!(
            target: TARGET,
            kind = "turn",
            conn_id = self.conn_id,
            session_id = self.session_id,
            turn = self.turn,
            method = self.method,
            identity = self.identity,
            tenant = self.tenant,
            pool = self.pool,
            upstream = self.upstream,
            placement_reason = self.placement_reason,
            bytes_in = self.traffic.bytes_in,
            bytes_out = self.traffic.bytes_out,
            frames_in = self.traffic.frames_in,
            frames_out = self.traffic.frames_out,
            t_queue = self.times.queue.map(seconds),
            t_connect = self.times.connect.map(seconds),
            t_first_event = self.times.first_event.map(seconds),
            t_total = seconds(self.times.total),
            result = self.result,
            termination = %self.termination,
            traceparent = self.traceparent,
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::observe::logging::Format;
    use crate::observe::logging::tests::logged;

    fn line(log: impl FnOnce()) -> Value {
        serde_json::from_str(&logged("info", Format::Json, log)).unwrap()
    }

    fn conn() -> ConnEnd<'static> {
        ConnEnd {
            conn_id: 7,
            client_addr: "127.0.0.1:4000".parse().unwrap(),
            listener: "main",
            tls: None,
            identity: Some("alice (token)"),
            tenant: None,
            pool: Some("p"),
            sessions: 2,
            turns: 1,
            links: 1,
            traffic: Traffic { bytes_in: 1, bytes_out: 2, frames_in: 3, frames_out: 4 },
            times: Times {
                connect: Some(Duration::from_nanos(1_234_567)),
                total: Duration::from_secs(61),
                ..Times::default()
            },
            result: "ok",
            termination: Termination(EndedBy::Client, Phase::Idle),
            traceparent: None,
        }
    }

    #[test]
    fn a_conn_ends_with_one_line_of_numbers_and_words() {
        let line = line(|| conn().log());
        assert_eq!(line["kind"], "conn");
        assert_eq!(line["client_addr"], "127.0.0.1:4000");
        assert_eq!(line["termination"], "CI");
        assert_eq!(line["t_connect"], 0.001_235);
        assert_eq!(line["t_total"], 61.0);
        assert_eq!((&line["bytes_in"], &line["frames_out"]), (&1.into(), &4.into()));
        assert!(line.get("t_queue").is_none() && line.get("tls").is_none());
    }

    #[test]
    fn a_turn_and_a_session_end_with_a_line_each() {
        let turn = TurnEnd {
            conn_id: Some(7),
            session_id: "s-1",
            turn: 3,
            method: "session.send",
            identity: None,
            tenant: None,
            pool: "p",
            upstream: "cli-1",
            placement_reason: "hash",
            traffic: Traffic::default(),
            times: Times::default(),
            result: "upstream_lost",
            termination: Termination(EndedBy::Upstream, Phase::Turn),
            traceparent: None,
        };
        let written = line(|| turn.log());
        assert_eq!((&written["kind"], &written["turn"]), (&"turn".into(), &3.into()));
        assert_eq!(written["termination"], "UT");
        let session = SessionEnd {
            session_id: "s-1",
            identity: None,
            tenant: None,
            pool: "p",
            upstream: "cli-1",
            placement_reason: "hash",
            turns: 3,
            total: Duration::ZERO,
            result: "stored",
            termination: Termination(EndedBy::Nobody, Phase::Done),
        };
        let written = line(|| session.log());
        assert_eq!((&written["kind"], &written["result"]), (&"session".into(), &"stored".into()));
        assert_eq!(written["termination"], "--");
    }

    #[test]
    fn the_lines_can_be_silenced_alone() {
        let text = logged("info,fairlead::lines=off", Format::Text, || {
            conn().log();
            tracing::info!("else");
        });
        assert!(text.contains("else") && !text.contains("conn"), "{text}");
    }
}
