//! What a conn tells operators when it ends: one line.

use super::place::Unplaced;
use super::{Conn, Ended, Stage};
use crate::error::Reason;
use crate::observe::audit;
use crate::observe::lines::{
    ConnEnd, End, EndedBy, Phase, Termination, Times, Traffic, Where, Who,
};
use crate::proxy::relay::{self, Late, Party};
use crate::time;
use crate::upstream::cut::Why;

/// The result's word, and who ended it.
fn words(ended: Option<Ended>) -> (&'static str, EndedBy) {
    match ended {
        None => ("panic", EndedBy::Internal),
        Some(Ended::Refused(why)) => (why, EndedBy::Fairlead),
        Some(Ended::Unplaced(Unplaced::Refused(Reason::NoUpstream))) => {
            (Reason::NoUpstream.slug(), EndedBy::Upstream)
        }
        Some(Ended::Unplaced(Unplaced::Refused(reason))) => (reason.slug(), EndedBy::Fairlead),
        Some(Ended::Unplaced(Unplaced::Unreachable(_))) => ("unreachable", EndedBy::Upstream),
        Some(Ended::Left) => ("reset", EndedBy::Client),
        Some(Ended::Cut(Why::UpstreamDown)) => ("upstream_down", EndedBy::Upstream),
        Some(Ended::Cut(Why::Leaving)) => ("drained", EndedBy::Drain),
        Some(Ended::Relayed(relay::End::Done)) => ("ok", EndedBy::Nobody),
        Some(Ended::Relayed(relay::End::Broken(Party::Client))) => ("reset", EndedBy::Client),
        Some(Ended::Relayed(relay::End::Broken(Party::Upstream))) => {
            (Reason::UpstreamLost.slug(), EndedBy::Upstream)
        }
        Some(Ended::Relayed(relay::End::Late(late))) => (of_time(late), EndedBy::Timeout),
    }
}

fn of_time(late: Late) -> &'static str {
    match late {
        Late::Idle => "idle",
        Late::HalfClosed => "half_closed",
        Late::Stalled(Party::Client) => "stalled",
        Late::Stalled(Party::Upstream) => "upstream_stalled",
        Late::Lifetime => "lifetime",
    }
}

impl Conn {
    fn phase(&self) -> Phase {
        match (&self.stage, self.ended) {
            (_, Some(Ended::Relayed(relay::End::Done))) => Phase::Done,
            (_, Some(Ended::Unplaced(Unplaced::Unreachable(_)))) => Phase::Link,
            (Stage::Accepted(_), _) => Phase::Handshake,
            (Stage::Placing(..), _) => Phase::Queue,
            (Stage::Relaying(..) | Stage::Over, _) => Phase::Bytes,
        }
    }

    /// Counts what the upstream lost, and writes the line.
    pub(super) fn report(&self) {
        if let (Stage::Relaying(_, linked, _), Some(ended)) = (&self.stage, self.ended) {
            match ended {
                Ended::Relayed(relay::End::Broken(Party::Upstream)) => {
                    linked.metrics.lost.inc("reset");
                }
                Ended::Relayed(relay::End::Late(Late::Stalled(Party::Upstream))) => {
                    linked.metrics.lost.inc("stalled");
                }
                Ended::Refused(_)
                | Ended::Unplaced(_)
                | Ended::Left
                | Ended::Cut(_)
                | Ended::Relayed(_) => {}
            }
        }
        let (caller, way) = (&self.visitor.caller, &self.way);
        let (result, by) = words(self.ended);
        let placed = match &self.stage {
            Stage::Relaying(_, linked, picked) => {
                Some((linked.name.as_str(), picked.reason.slug()))
            }
            Stage::Accepted(_) | Stage::Placing(..) | Stage::Over => None,
        };
        let links = match self.ended {
            Some(Ended::Unplaced(Unplaced::Unreachable(tried))) => tried,
            Some(_) | None => way.links,
        };
        ConnEnd {
            client_addr: self.origin.peer(),
            listener: &self.listener.edge.name,
            tls: self.origin.tls(),
            sessions: None,
            turns: None,
            links,
            end: End {
                who: Who {
                    conn_id: Some(self.id.0),
                    identity: caller.user.as_deref(),
                    tenant: caller.tenant(),
                    proof: audit::proof(caller),
                    traceparent: None,
                },
                at: Where {
                    pool: Some(&self.listener.pool.name),
                    upstream: placed.map(|(upstream, _)| upstream),
                    placement_reason: placed.map(|(_, reason)| reason),
                },
                traffic: Traffic {
                    bytes_in: Some(self.moved.0),
                    bytes_out: Some(self.moved.1),
                    ..Traffic::default()
                },
                times: Times {
                    queue: placed.map(|_| way.queue),
                    connect: placed.map(|_| way.connect),
                    total: Some(time::now().saturating_duration_since(self.since)),
                    ..Times::default()
                },
                result,
                termination: Termination(by, self.phase()),
            },
        }
        .log();
    }
}
