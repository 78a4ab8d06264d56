//! What a conn tells operators: numbers, and one line each when a conn, a session or a turn ends.

use super::Conn;
use crate::error::Reason;
use crate::id::{SessionId, UpstreamId};
use crate::observe::lines::{ConnEnd, EndedBy, Phase, Termination, Times, Traffic, TurnEnd};
use crate::observe::metrics::{ListenerMetrics, RpcResult};
use crate::rpc::mux::{self, End, Left, Now, Oddity, Outcome, TurnReport};
use crate::time::Instant;

/// What a conn did, counted.
pub(super) struct Tally {
    pub(super) since: Instant,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) requests: u64,
    pub(super) links: u64,
    pub(super) sessions: u64,
    pub(super) turns: u64,
}

impl Tally {
    pub(super) fn new(since: Instant) -> Self {
        Tally { since, bytes_in: 0, bytes_out: 0, requests: 0, links: 0, sessions: 0, turns: 0 }
    }

    fn traffic(&self) -> Traffic {
        Traffic { bytes_in: self.bytes_in, bytes_out: self.bytes_out, frames_in: 0, frames_out: 0 }
    }
}

pub(super) fn result_of(outcome: Outcome) -> RpcResult {
    match outcome {
        Outcome::Ok => RpcResult::Ok,
        Outcome::Failed => RpcResult::Error,
        Outcome::Refused(Reason::UpstreamLost) => RpcResult::UpstreamLost,
        Outcome::Refused(Reason::UpstreamTimeout) => RpcResult::Timeout,
        Outcome::Refused(_) | Outcome::Invalid => RpcResult::Refused,
    }
}

pub(super) fn count_refusal(metrics: &ListenerMetrics, outcome: Outcome) {
    if let Outcome::Refused(reason) = outcome {
        metrics.denied.inc(reason.slug());
    }
}

pub(super) fn oddity_word(oddity: Oddity) -> &'static str {
    oddity.slug()
}

impl Conn {
    fn upstream_name(&self, upstream: UpstreamId) -> &str {
        self.listener.pool.member(upstream).map_or("", |m| &m.name)
    }

    pub(super) fn report_turn(&mut self, turn: &TurnReport) {
        self.tally.turns += 1;
        let (result, by) = match turn.end {
            mux::TurnEnd::Idle => ("ok", EndedBy::Nobody),
            mux::TurnEnd::Aborted => ("aborted", EndedBy::Client),
            mux::TurnEnd::UpstreamLost => ("upstream_lost", EndedBy::Upstream),
            mux::TurnEnd::ClientLeft => ("client_left", EndedBy::Client),
            mux::TurnEnd::Drained => ("drained", EndedBy::Drain),
        };
        let pool = &self.listener.pool;
        pool.metrics.turns.inc(result);
        pool.metrics.turn_duration.observe(turn.took.as_secs_f64());
        if let Some(first) = turn.first_event {
            pool.metrics.turn_first_event.observe(first.as_secs_f64());
        }
        TurnEnd {
            conn_id: Some(self.id.0),
            session_id: turn.session.as_str(),
            turn: self.tally.turns,
            method: turn.method,
            identity: None,
            tenant: None,
            pool: &pool.name,
            upstream: self.upstream_name(turn.upstream),
            placement_reason: "",
            traffic: Traffic::default(),
            times: Times { first_event: turn.first_event, total: turn.took, ..Times::default() },
            result,
            termination: Termination(by, Phase::Turn),
            traceparent: None,
        }
        .log();
    }

    pub(super) fn report_session(&self, session: &SessionId, upstream: UpstreamId, how: Left) {
        let result = match how {
            Left::Detached => "detached",
            Left::Closed | Left::Halted => "closed",
            Left::Deleted => "deleted",
            Left::LinkLost => "upstream_lost",
        };
        tracing::info!(
            kind = "session", session_id = %session, pool = self.listener.pool.name,
            upstream = self.upstream_name(upstream), conn_id = self.id.0, result, "session left"
        );
    }

    pub(super) fn report_end(&self, now: Now) {
        let (result, by) = match self.end {
            Some(End::Client) => ("ok", EndedBy::Client),
            Some(End::Protocol(what)) => (what, EndedBy::Client),
            Some(End::Drained) => ("drained", EndedBy::Drain),
            Some(End::Stalled) => ("stalled", EndedBy::Timeout),
            None => ("panic", EndedBy::Internal),
        };
        if let Some(End::Protocol(what)) = self.end {
            self.listener.metrics.frame_errors.inc(what);
        }
        ConnEnd {
            conn_id: self.id.0,
            client_addr: self.peer,
            listener: &self.listener.name,
            tls: None,
            identity: None,
            tenant: None,
            pool: Some(&self.listener.pool.name),
            sessions: self.tally.sessions,
            turns: self.tally.turns,
            links: self.tally.links,
            traffic: self.tally.traffic(),
            times: Times {
                total: now.at.saturating_duration_since(self.tally.since),
                ..Times::default()
            },
            result,
            termination: Termination(by, Phase::Idle),
            traceparent: None,
        }
        .log();
    }
}
