//! What belongs to one listener, one pool, one upstream: their handles, held by whoever is that thing.
//!
//! Each lives as long as its owner; dropping the last `Arc` removes its series.

use std::sync::Arc;

use prometheus::{Histogram, IntCounter, IntGauge};

use super::Vocabulary;
use super::series::{CounterBy, CounterByStatus, GaugeBy, Info, OneHot, Series, Told};
use super::spec::*;

/// The handles of one listener.
pub struct ListenerMetrics {
    /// Conns open now; hold a `GaugeGuard`.
    pub connections: IntGauge,
    /// Conns accepted.
    pub accepted: IntCounter,
    /// Conns refused, by reason.
    pub rejected: Arc<CounterBy>,
    /// Bytes from clients. Add once per read, not per frame.
    pub bytes_in: IntCounter,
    /// Bytes to clients. Add once per write, not per frame.
    pub bytes_out: IntCounter,
    /// Frames that went nowhere, by reason.
    pub frame_errors: Arc<CounterBy>,
    /// Requests that we refused, by reason.
    pub denied: Arc<CounterBy>,
    /// Connects that were tried again at another upstream.
    pub connect_retries: IntCounter,
    /// Requests not yet answered; hold a `GaugeGuard`.
    pub rpc_pending: IntGauge,
    pub(super) series: Series,
}

impl ListenerMetrics {
    pub(super) fn new(listener: &str) -> Self {
        let series = Series::new(&[("listener", listener)]);
        ListenerMetrics {
            connections: series.gauge(&LISTENER_CONNECTIONS, &[]),
            accepted: series.counter(&LISTENER_ACCEPTED, &[]),
            rejected: series.counter_by(&LISTENER_REJECTED, "reason"),
            bytes_in: series.counter(&BYTES, &[("direction", "in")]),
            bytes_out: series.counter(&BYTES, &[("direction", "out")]),
            frame_errors: series.counter_by(&FRAME_ERRORS, "reason"),
            denied: series.counter_by(&DENIED, "reason"),
            connect_retries: series.counter(&CONNECT_RETRIES, &[]),
            rpc_pending: series.gauge(&RPC_PENDING, &[]),
            series,
        }
    }

    /// When a certificate in force ends, in seconds of Unix time. Shown from the first call on: call it once for each
    /// name, and only where TLS is spoken.
    pub fn tls_not_after(&self, certificate: &str) -> IntGauge {
        self.series.gauge(&TLS_NOT_AFTER, &[("certificate", certificate)])
    }

    /// What is counted of HTTP requests. Shown from the first call on: call it once, and only where HTTP is spoken.
    pub fn http(&self) -> HttpMetrics {
        HttpMetrics {
            requests: self.series.counter_by_status(&HTTP_REQUESTS, "code"),
            duration: self.series.histogram(&HTTP_DURATION, &[]),
            retries: self.series.counter_by(&HTTP_RETRIES, "reason"),
            refused: self.series.counter_by(&HTTP_REFUSED, "reason"),
        }
    }
}

/// The handles of what is HTTP on a listener.
pub struct HttpMetrics {
    /// Requests answered, by status.
    pub requests: Arc<CounterByStatus>,
    /// Seconds from the head of a request to the end of its answer.
    pub duration: Histogram,
    /// Requests that were tried once more, by reason.
    pub retries: Arc<CounterBy>,
    /// Requests that can be read in two ways, by what is wrong with them.
    pub refused: Arc<CounterBy>,
}

/// The handles of one pool.
pub struct PoolMetrics {
    /// Sessions by state; hold a `GaugeGuard`.
    pub sessions: GaugeBy,
    /// Placements by reason.
    pub placements: Arc<CounterBy>,
    /// Resumes of lost sessions elsewhere, by result.
    pub failovers: Arc<CounterBy>,
    /// Evictions by reason.
    pub evicted: Arc<CounterBy>,
    /// Sessions that the ledger forgot because no CLI had them any more.
    pub forgotten: IntCounter,
    /// Turns running; hold a `GaugeGuard`.
    pub turns_active: IntGauge,
    /// Turns ended, by result.
    pub turns: Arc<CounterBy>,
    /// Seconds per turn.
    pub turn_duration: Histogram,
    /// Seconds to a turn's first event.
    pub turn_first_event: Histogram,
    /// Who waits for room.
    pub queue_depth: IntGauge,
    /// Seconds waited for room.
    pub queue_wait: Histogram,
    /// Broadcasts that conns lost.
    pub broadcasts_dropped: IntCounter,
    /// Tries to resolve a name of its upstreams, by what came of them.
    pub lookups: Arc<CounterBy>,
    /// CLI processes of ours that run; hold a `GaugeGuard`.
    pub spawned: IntGauge,
    pub(super) series: Series,
}

impl PoolMetrics {
    pub(super) fn new(pool: &str, words: &Vocabulary) -> Self {
        let series = Series::new(&[("pool", pool)]);
        PoolMetrics {
            sessions: series.gauge_by(&SESSIONS, "state", words.session_states),
            placements: series.counter_by(&PLACEMENTS, "reason"),
            failovers: series.counter_by(&FAILOVERS, "result"),
            evicted: series.counter_by(&EVICTED, "reason"),
            forgotten: series.counter(&FORGOTTEN, &[]),
            turns_active: series.gauge(&TURNS_ACTIVE, &[]),
            turns: series.counter_by(&TURNS, "result"),
            turn_duration: series.histogram(&TURN_DURATION, &[]),
            turn_first_event: series.histogram(&TURN_FIRST_EVENT, &[]),
            queue_depth: series.gauge(&QUEUE_DEPTH, &[]),
            queue_wait: series.histogram(&QUEUE_WAIT, &[]),
            broadcasts_dropped: series.counter(&BROADCASTS_DROPPED, &[]),
            lookups: series.counter_by(&DNS_LOOKUPS, "result"),
            spawned: series.gauge(&SPAWNED, &[]),
            series,
        }
    }
}

/// The handles of one upstream.
pub struct UpstreamMetrics {
    /// The state that it is in: one-hot, the first of the list until set.
    pub state: Arc<OneHot>,
    /// The protocol version and the version that it reports.
    pub info: Arc<Info>,
    /// Health checks by result.
    pub health_checks: Arc<CounterBy>,
    /// Links open.
    pub links: IntGauge,
    /// Whether it takes nothing new, and goes once nothing lives on it.
    pub retired: IntGauge,
    /// How often it was put out.
    pub ejections: IntCounter,
    /// Links that ended without our asking, by reason.
    pub lost: Arc<CounterBy>,
    /// Answers of the fleet without its part, by reason.
    pub left_out: Arc<CounterBy>,
    /// Sessions that take capacity; hold a `GaugeGuard`.
    pub sessions: IntGauge,
    /// `max_sessions`; 0 is no limit.
    pub session_capacity: IntGauge,
    /// Restarts of its process by reason.
    pub restarts: Arc<CounterBy>,
    /// Whether its process fails again and again.
    pub crash_loop: Arc<Told>,
    pub(super) series: Series,
}

impl UpstreamMetrics {
    pub(super) fn new(pool: &str, upstream: &str, words: &Vocabulary) -> Self {
        let series = Series::new(&[("pool", pool), ("upstream", upstream)]);
        UpstreamMetrics {
            state: series.one_hot(&UPSTREAM_STATE, "state", words.upstream_states),
            info: series.info(&UPSTREAM_INFO, ["protocol", "version"]),
            health_checks: series.counter_by(&UPSTREAM_CHECKS, "result"),
            links: series.gauge(&UPSTREAM_LINKS, &[]),
            retired: series.gauge(&UPSTREAM_RETIRED, &[]),
            ejections: series.counter(&UPSTREAM_EJECTIONS, &[]),
            lost: series.counter_by(&UPSTREAM_LOST, "reason"),
            left_out: series.counter_by(&UPSTREAM_LEFT_OUT, "reason"),
            sessions: series.gauge(&UPSTREAM_SESSIONS, &[]),
            session_capacity: series.gauge(&SESSION_CAPACITY, &[]),
            restarts: series.counter_by(&UPSTREAM_RESTARTS, "reason"),
            crash_loop: series.told(&CRASH_LOOP),
            series,
        }
    }
}
