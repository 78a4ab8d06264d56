//! What a conn tells operators: numbers, and one line each when a conn, a session or a turn ends.

use std::sync::Arc;

use super::Conn;
use crate::error::Reason;
use crate::id::{SessionId, UpstreamId};
use crate::observe::audit;
use crate::observe::lines::{self, ConnEnd, EndedBy, Phase, SessionEnd, Termination, Times};
use crate::observe::lines::{Traffic, TurnEnd, Where, Who};
use crate::observe::metrics::{ListenerMetrics, RpcResult};
use crate::placement::PlacementReason;
use crate::rpc::mux::{self, End, Left, Now, Oddity, Outcome, Stage, Stay, TurnReport};
use crate::time::Instant;
use crate::upstream::member::Member;

/// What a conn did, counted.
pub(super) struct Tally {
    pub(super) since: Instant,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) links: u32,
    pub(super) sessions: u32,
    pub(super) turns: u32,
}

impl Tally {
    pub(super) fn new(since: Instant) -> Self {
        Tally { since, bytes_in: 0, bytes_out: 0, links: 0, sessions: 0, turns: 0 }
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
    /// The result's word, and who ended the conn.
    fn ended(&self) -> (&'static str, EndedBy) {
        match self.end.or(self.mux.ended().flatten()) {
            Some(End::Client) => ("ok", EndedBy::Client),
            Some(End::Protocol(what)) => (what, EndedBy::Fairlead),
            Some(End::Drained) => ("drained", EndedBy::Drain),
            Some(End::Stalled) => ("stalled", EndedBy::Timeout),
            None => ("panic", EndedBy::Internal),
        }
    }

    /// Who ended what the conn had a part in: the conn's own end, or the client within it.
    fn left_by(&self) -> EndedBy {
        if self.mux.ended().is_some() { self.ended().1 } else { EndedBy::Client }
    }

    fn who(&self) -> Who<'_> {
        let caller = &self.visitor.caller;
        Who {
            conn_id: Some(self.id.0),
            identity: caller.user.as_deref(),
            tenant: caller.tenant(),
            proof: audit::proof(caller),
            traceparent: None,
        }
    }

    fn at<'a>(
        &'a self,
        upstream: Option<&'a Arc<Member>>,
        reason: Option<PlacementReason>,
    ) -> Where<'a> {
        Where {
            pool: Some(&self.listener.pool.name),
            upstream: upstream.map(|m| m.name.as_str()),
            placement_reason: reason.map(PlacementReason::slug),
        }
    }

    pub(super) fn report_turn(&mut self, turn: &TurnReport) {
        self.tally.turns += 1;
        let cut = |by| Termination(by, Phase::Turn);
        let (result, termination) = match turn.end {
            mux::TurnEnd::Idle => ("ok", Termination::DONE),
            mux::TurnEnd::Refused => ("refused", Termination(EndedBy::Upstream, Phase::Request)),
            mux::TurnEnd::Aborted => ("aborted", cut(EndedBy::Client)),
            mux::TurnEnd::UpstreamLost => ("upstream_lost", cut(EndedBy::Upstream)),
            mux::TurnEnd::ClientLeft => ("client_left", cut(self.left_by())),
            mux::TurnEnd::Drained => ("drained", cut(EndedBy::Drain)),
        };
        let metrics = &self.listener.pool.metrics;
        metrics.turns.inc(result);
        metrics.turn_duration.observe(turn.took.as_secs_f64());
        if let Some(first) = turn.first_event {
            metrics.turn_first_event.observe(first.as_secs_f64());
        }
        let upstream = self.listener.pool.member(turn.upstream);
        TurnEnd {
            session_id: turn.session.as_str(),
            turn: turn.turn,
            method: turn.method,
            end: lines::End {
                who: self.who(),
                at: self.at(upstream.as_ref(), turn.reason),
                traffic: Traffic {
                    bytes_in: Some(turn.bytes_in),
                    frames_in: Some(turn.frames_in),
                    ..Traffic::default()
                },
                times: Times {
                    queue: turn.queue,
                    first_event: turn.first_event,
                    total: Some(turn.took),
                    ..Times::default()
                },
                result,
                termination,
            },
        }
        .log();
    }

    pub(super) fn report_session(
        &self,
        session: &SessionId,
        upstream: UpstreamId,
        how: Left,
        stay: Option<&Stay>,
        now: Now,
    ) {
        let phase = if stay.is_some_and(|s| s.cut) { Phase::Turn } else { Phase::Idle };
        let (result, termination) = match how {
            Left::Detached => ("detached", Termination(self.left_by(), phase)),
            Left::Closed | Left::Halted => ("closed", self.at_its_end(phase)),
            Left::Deleted => ("deleted", self.at_its_end(phase)),
            Left::LinkLost => ("upstream_lost", Termination(EndedBy::Upstream, phase)),
        };
        let upstream = self.listener.pool.member(upstream);
        SessionEnd {
            session_id: session.as_str(),
            turns: stay.map(|s| s.turns),
            end: lines::End {
                who: self.who(),
                at: self.at(upstream.as_ref(), stay.and_then(|s| s.reason)),
                traffic: Traffic::default(),
                times: Times {
                    queue: stay.and_then(|s| s.queue),
                    connect: stay.and_then(|s| s.connect),
                    total: stay.map(|s| now.at.saturating_duration_since(s.since)),
                    ..Times::default()
                },
                result,
                termination,
            },
        }
        .log();
    }

    /// A session that is over was ended in order, but where that cut a turn.
    fn at_its_end(&self, phase: Phase) -> Termination {
        if phase == Phase::Turn { Termination(self.left_by(), phase) } else { Termination::DONE }
    }

    pub(super) fn report_end(&self, now: Now) {
        let (result, by) = self.ended();
        if let Some(End::Protocol(what)) = self.end {
            self.listener.edge.metrics.frame_errors.inc(what);
        }
        let phase = match self.mux.stage() {
            Stage::Fresh => Phase::Handshake,
            Stage::Idle => Phase::Idle,
            Stage::Seeking => Phase::Queue,
            Stage::Linking => Phase::Link,
            Stage::Waiting => Phase::Request,
            Stage::Turn => Phase::Turn,
        };
        let (frames_in, frames_out) = self.mux.frames();
        let total = now.at.saturating_duration_since(self.tally.since);
        ConnEnd {
            client_addr: self.origin.peer(),
            listener: &self.listener.edge.name,
            tls: self.origin.tls(),
            sessions: Some(self.tally.sessions),
            turns: Some(self.tally.turns),
            links: self.tally.links,
            end: lines::End {
                who: self.who(),
                at: Where { pool: Some(&self.listener.pool.name), ..Where::default() },
                traffic: Traffic {
                    bytes_in: Some(self.tally.bytes_in),
                    bytes_out: Some(self.tally.bytes_out),
                    frames_in: Some(frames_in),
                    frames_out: Some(frames_out),
                },
                times: Times {
                    connect: self.mux.connected(),
                    total: Some(total),
                    ..Times::default()
                },
                result,
                termination: Termination(by, phase),
            },
        }
        .log();
    }
}
