//! What a request tells operators: numbers, and one line when it ends.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderValue, Version};

use super::conn::Client;
use super::guard::Flaw;
use super::problem::Problem;
use super::relay::{Fault, Tally};
use crate::caller::Caller;
use crate::error::Reason;
use crate::observe::audit;
use crate::observe::lines::{
    self, EndedBy, Phase, RequestEnd, Termination, Times, Traffic, Where, Who,
};
use crate::placement::PlacementReason;
use crate::time::{self, Duration, Instant};
use crate::upstream::member::Member;
use crate::upstream::pool::Pool;

/// What a client gets that is gone before it got anything: it is in no answer, and only counted.
const GONE: u16 = 499;

/// What is known of a request, as it goes on.
pub(super) struct Report {
    began: Instant,
    pub(super) from: Option<IpAddr>,
    pub(super) caller: Option<Caller>,
    pub(super) pool: Option<Arc<Pool>>,
    pub(super) member: Option<Arc<Member>>,
    pub(super) placed: Option<PlacementReason>,
    pub(super) traced: Option<HeaderValue>,
    pub(super) queue: Option<Duration>,
    pub(super) connect: Option<Duration>,
    pub(super) retries: u32,
    pub(super) tally: Tally,
}

/// What a request was, for its line.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) version: Version,
    pub(super) method: &'a str,
    pub(super) host: Option<&'a str>,
    pub(super) path: &'a str,
}

/// How a request ended that fairlead did not let end by itself.
#[derive(Clone, Debug)]
pub(super) enum Ended {
    /// It was answered by us.
    Refused(Problem),
    /// It broke off.
    Broken(Fault),
}

impl Report {
    pub(super) fn new(now: Instant, from: Option<IpAddr>) -> Self {
        Report {
            began: now,
            from,
            caller: None,
            pool: None,
            member: None,
            placed: None,
            traced: None,
            queue: None,
            connect: None,
            retries: 0,
            tally: Tally::default(),
        }
    }

    /// Counts the request, and writes its line.
    pub(super) fn end(&self, client: &Client, asked: Option<Asked<'_>>, ended: Option<&Ended>) {
        let now = time::now();
        let total = now.saturating_duration_since(self.began);
        let status = self.status(ended);
        let metrics = &client.listener.metrics;
        metrics.requests.inc(status.unwrap_or(GONE));
        metrics.duration.observe(total.as_secs_f64());
        let flaw = ended.and_then(Ended::flaw);
        if let Some(flaw) = flaw {
            metrics.refused.inc(flaw.slug());
        }
        if let Some(Ended::Refused(problem)) = ended {
            client.listener.edge.metrics.denied.inc(problem.slug());
        }
        if !client.listener.with.log {
            return;
        }
        let caller = self.caller.as_ref();
        RequestEnd {
            client_addr: &client.named(self.from),
            listener: &client.listener.edge.name,
            tls: client.tls.as_deref(),
            protocol: asked.map(|asked| protocol(asked.version)),
            method: asked.map(|asked| asked.method),
            host: asked.and_then(|asked| asked.host),
            path: asked.map(|asked| asked.path),
            status,
            retries: (self.retries > 0).then_some(self.retries),
            flaw: flaw.map(Flaw::slug),
            end: lines::End {
                who: Who {
                    conn_id: Some(client.id.0),
                    identity: caller.and_then(|caller| caller.user.as_deref()),
                    tenant: caller.and_then(Caller::tenant),
                    proof: caller.and_then(audit::proof),
                    traceparent: self.traced.as_ref().and_then(|value| value.to_str().ok()),
                },
                at: Where {
                    pool: self.pool.as_ref().map(|pool| pool.name.as_str()),
                    upstream: self.member.as_ref().map(|member| member.name.as_str()),
                    placement_reason: self.placed.map(PlacementReason::slug),
                },
                traffic: Traffic {
                    bytes_in: Some(self.tally.bytes_in),
                    bytes_out: Some(self.tally.bytes_out),
                    ..Traffic::default()
                },
                times: Times {
                    queue: self.queue,
                    connect: self.connect,
                    first_event: self
                        .tally
                        .answered
                        .map(|at| at.saturating_duration_since(self.began)),
                    total: Some(total),
                },
                result: ended.map_or("ok", Ended::result),
                termination: self.termination(ended),
            },
        }
        .log();
    }

    fn status(&self, ended: Option<&Ended>) -> Option<u16> {
        match (self.tally.status, ended) {
            (Some(status), _) => Some(status.as_u16()),
            (None, Some(Ended::Refused(problem))) => Some(problem.status()),
            (None, Some(Ended::Broken(_)) | None) => None,
        }
    }

    fn termination(&self, ended: Option<&Ended>) -> Termination {
        let Some(ended) = ended else { return Termination::DONE };
        let phase = if self.tally.answered.is_some() {
            Phase::Turn
        } else if self.connect.is_some() {
            Phase::Request
        } else if self.member.is_some() {
            Phase::Link
        } else if self.pool.is_some() {
            Phase::Queue
        } else {
            Phase::Handshake
        };
        Termination(ended.by(), phase)
    }
}

impl Ended {
    fn flaw(&self) -> Option<Flaw> {
        match self {
            Ended::Refused(Problem::Flawed(flaw)) | Ended::Broken(Fault::Flawed(flaw)) => {
                Some(*flaw)
            }
            Ended::Refused(_) | Ended::Broken(_) => None,
        }
    }

    fn result(&self) -> &'static str {
        match self {
            Ended::Refused(problem) => problem.slug(),
            Ended::Broken(fault) => match fault {
                Fault::UpstreamLost => Reason::UpstreamLost.slug(),
                Fault::UpstreamTimeout => Reason::UpstreamTimeout.slug(),
                Fault::BadAnswer => "bad_answer",
                Fault::ClientLost => "client_lost",
                Fault::ClientTimeout => "client_timeout",
                Fault::Flawed(_) => "bad_request",
                Fault::BodyTooLarge => Reason::FrameTooLarge.slug(),
                Fault::Cut => Reason::Draining.slug(),
            },
        }
    }

    fn by(&self) -> EndedBy {
        match self {
            Ended::Broken(Fault::ClientLost) => EndedBy::Client,
            Ended::Broken(Fault::ClientTimeout) | Ended::Refused(Problem::TooSlow) => {
                EndedBy::Timeout
            }
            Ended::Broken(Fault::Cut) | Ended::Refused(Problem::Refused(Reason::Draining, _)) => {
                EndedBy::Drain
            }
            Ended::Broken(Fault::UpstreamLost | Fault::UpstreamTimeout | Fault::BadAnswer)
            | Ended::Refused(
                Problem::BadAnswer
                | Problem::Refused(Reason::UpstreamLost | Reason::UpstreamTimeout, _),
            ) => EndedBy::Upstream,
            Ended::Refused(_) | Ended::Broken(Fault::Flawed(_) | Fault::BodyTooLarge) => {
                EndedBy::Fairlead
            }
        }
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
