//! The log lines of what ended: a conn, a session on a conn, a turn. Their fields, each in one place.
//!
//! A record can hold no prompt, tool argument, token or key: there is no field for one. What is not known, or did not
//! happen, is absent: never a zero that says something else.

mod termination;

use std::net::SocketAddr;
use std::time::Duration;

pub use termination::{EndedBy, Phase, Termination};

use super::shown::Shown;

/// The target of these lines: `FAIRLEAD_LOG=info,fairlead::lines=off` silences them alone.
pub const TARGET: &str = "fairlead::lines";

/// Who calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Who<'a> {
    /// The conn, counted from the start of the process; absent where a CLI acted by itself.
    pub conn_id: Option<u64>,
    /// The user, as proven.
    pub identity: Option<&'a str>,
    /// The tenant, as proven.
    pub tenant: Option<&'a str>,
    /// How it was proven; absent where nothing was.
    pub proof: Option<&'a str>,
    /// W3C trace context, if the client sent one.
    pub traceparent: Option<&'a str>,
}

/// Who serves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Where<'a> {
    /// The pool, where it came as far as that.
    pub pool: Option<&'a str>,
    /// The upstream, where it is about one.
    pub upstream: Option<&'a str>,
    /// Why the session was placed there; absent where this conn found it placed.
    pub placement_reason: Option<&'a str>,
}

/// Bytes and frames, each way, as far as they are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes from the client.
    pub bytes_in: Option<u64>,
    /// Bytes to the client.
    pub bytes_out: Option<u64>,
    /// Frames from the client.
    pub frames_in: Option<u64>,
    /// Frames to the client.
    pub frames_out: Option<u64>,
}

/// How long each part took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Waiting for the session to be found or placed.
    pub queue: Option<Duration>,
    /// Opening the link, with its handshake.
    pub connect: Option<Duration>,
    /// From the start to the first event.
    pub first_event: Option<Duration>,
    /// From the start to the end.
    pub total: Option<Duration>,
}

/// What all ends have in common.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Who calls.
    pub who: Who<'a>,
    /// Who serves.
    pub at: Where<'a>,
    /// Bytes and frames.
    pub traffic: Traffic,
    /// Times.
    pub times: Times,
    /// `ok`, or the word for what it came to.
    pub result: &'a str,
    /// Who ended it, and in which phase.
    pub termination: Termination,
}

/// `kind = "conn"`: a client's connection ended.
#[derive(Clone, Debug)]
pub struct ConnEnd<'a> {
    /// Where the client is, as proven by the PROXY protocol where that is used.
    pub client_addr: SocketAddr,
    /// The listener that accepted it.
    pub listener: &'a str,
    /// TLS version and cipher, if any.
    pub tls: Option<&'a str>,
    /// Sessions that it was attached to, where there are any.
    pub sessions: Option<u32>,
    /// Turns that it started, likewise.
    pub turns: Option<u32>,
    /// Links that were opened for it.
    pub links: u32,
    /// The rest.
    pub end: End<'a>,
}

/// `kind = "session"`: a session left a conn, or its CLI's memory.
#[derive(Clone, Debug)]
pub struct SessionEnd<'a> {
    /// The session.
    pub session_id: &'a str,
    /// Turns that the conn started in it while attached; absent where it was not attached.
    pub turns: Option<u64>,
    /// The rest; the total is for how long the conn was attached.
    pub end: End<'a>,
}

/// `kind = "turn"`: a turn that a conn started has ended.
#[derive(Clone, Debug)]
pub struct TurnEnd<'a> {
    /// The session.
    pub session_id: &'a str,
    /// Counts the turns that the conn started in the session while attached.
    pub turn: u64,
    /// What started it.
    pub method: &'a str,
    /// The rest.
    pub end: End<'a>,
}

/// `kind = "http"`: an HTTP request ended.
#[derive(Clone, Debug)]
pub struct RequestEnd<'a> {
    /// Where the client is, as trusted proxies say where there are some.
    pub client_addr: &'a str,
    /// The listener that accepted it.
    pub listener: &'a str,
    /// TLS version and cipher, if any.
    pub tls: Option<&'a str>,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`; absent where the head was not understood.
    pub protocol: Option<&'a str>,
    /// Likewise.
    pub method: Option<&'a str>,
    /// The host that it was for.
    pub host: Option<&'a str>,
    /// Without its query: that may hold a token.
    pub path: Option<&'a str>,
    /// The status that the client got.
    pub status: Option<u16>,
    /// How often it was tried once more.
    pub retries: Option<u32>,
    /// What is wrong with it, where that is why it went nowhere.
    pub flaw: Option<&'a str>,
    /// The rest.
    pub end: End<'a>,
}

/// Seconds, to the microsecond.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

/// Writes the line of an end, at level info: what is its kind's own, then what all have.
macro_rules! line {
    ($kind:literal, $end:expr, { $($own:tt)* }) => {{
        let End { who, at, traffic, times, result, termination } = &$end;
        tracing::info!(
            target: TARGET,
            kind = $kind,
            conn_id = who.conn_id,
            $($own)*
            identity = who.identity,
            tenant = who.tenant,
            proof = who.proof,
            pool = at.pool,
            upstream = at.upstream,
            placement_reason = at.placement_reason,
            bytes_in = traffic.bytes_in,
            bytes_out = traffic.bytes_out,
            frames_in = traffic.frames_in,
            frames_out = traffic.frames_out,
            t_queue = times.queue.map(seconds),
            t_connect = times.connect.map(seconds),
            t_first_event = times.first_event.map(seconds),
            t_total = times.total.map(seconds),
            result,
            %termination,
            traceparent = who.traceparent,
        );
    }};
}

impl ConnEnd<'_> {
    /// Writes the line.
    pub fn log(&self) {
        line!("conn", self.end, {
            client_addr = %self.client_addr,
            listener = self.listener,
            tls = self.tls,
            sessions = self.sessions,
            turns = self.turns,
            links = self.links,
        });
    }
}

impl RequestEnd<'_> {
    /// Writes the line.
    pub fn log(&self) {
        line!("http", self.end, {
            client_addr = self.client_addr,
            listener = self.listener,
            tls = self.tls,
            protocol = self.protocol,
            method = self.method,
            host = self.host,
            path = self.path.map(|path| tracing::field::display(Shown(path))),
            status = self.status,
            retries = self.retries,
            flaw = self.flaw,
        });
    }
}

impl SessionEnd<'_> {
    /// Writes the line.
    pub fn log(&self) {
        line!("session", self.end, { session_id = %Shown(self.session_id), turns = self.turns, });
    }
}

impl TurnEnd<'_> {
    /// Writes the line.
    pub fn log(&self) {
        line!("turn", self.end, {
            session_id = %Shown(self.session_id),
            turn = self.turn,
            method = self.method,
        });
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

    fn end(by: EndedBy, phase: Phase) -> End<'static> {
        End {
            who: Who {
                conn_id: Some(7),
                identity: Some("alice"),
                proof: Some("token"),
                ..Who::default()
            },
            at: Where {
                pool: Some("p"),
                upstream: Some("cli-1"),
                placement_reason: Some("sticky"),
            },
            traffic: Traffic { bytes_in: Some(1), frames_out: Some(4), ..Traffic::default() },
            times: Times {
                connect: Some(Duration::from_nanos(1_234_567)),
                total: Some(Duration::from_secs(61)),
                ..Times::default()
            },
            result: "ok",
            termination: Termination(by, phase),
        }
    }

    fn conn() -> ConnEnd<'static> {
        ConnEnd {
            client_addr: "127.0.0.1:4000".parse().unwrap(),
            listener: "main",
            tls: None,
            sessions: Some(2),
            turns: Some(1),
            links: 1,
            end: end(EndedBy::Client, Phase::Idle),
        }
    }

    #[test]
    fn a_conn_ends_with_one_line_of_numbers_and_words() {
        let line = line(|| conn().log());
        assert_eq!((&line["kind"], &line["conn_id"]), (&"conn".into(), &7.into()));
        assert_eq!(line["client_addr"], "127.0.0.1:4000");
        assert_eq!(line["termination"], "CI");
        assert_eq!(line["t_connect"], 0.001_235);
        assert_eq!(line["t_total"], 61.0);
        assert_eq!((&line["bytes_in"], &line["frames_out"]), (&1.into(), &4.into()));
        assert_eq!((&line["identity"], &line["result"]), (&"alice".into(), &"ok".into()));
    }

    #[test]
    fn what_is_not_known_is_absent() {
        let line = line(|| conn().log());
        for name in ["t_queue", "t_first_event", "tls", "tenant", "bytes_out", "traceparent"] {
            assert!(line.get(name).is_none(), "{name} of {line}");
        }
    }

    #[test]
    fn a_turn_and_a_session_end_with_a_line_each() {
        let end = end(EndedBy::Upstream, Phase::Turn);
        let turn = TurnEnd { session_id: "s-1", turn: 3, method: "session.send", end };
        let written = line(|| turn.log());
        assert_eq!((&written["kind"], &written["turn"]), (&"turn".into(), &3.into()));
        assert_eq!(written["termination"], "UT");
        let end = End { result: "closed", termination: Termination::DONE, ..end };
        let session = SessionEnd { session_id: "s-1", turns: Some(3), end };
        let written = line(|| session.log());
        assert_eq!((&written["kind"], &written["result"]), (&"session".into(), &"closed".into()));
        assert_eq!(written["termination"], "--");
        assert_eq!(written["placement_reason"], "sticky");
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
