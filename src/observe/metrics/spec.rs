//! The table of every metric: the one source for what is registered and for `conf/METRICS.md`.
//!
//! Holds no values. A label never carries a user, tenant or session id.

use std::fmt::Write as _;

use prometheus::proto::MetricFamily;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, until the process ends.
    Counter,
    /// A value now.
    Gauge,
    /// Durations in seconds, counted into these upper bounds.
    Histogram,
}

/// One metric: a row of the table.
#[derive(Debug)]
pub struct Spec {
    /// The full name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The names of its labels, sorted.
    pub labels: &'static [&'static str],
    /// What it says, for operators.
    pub help: &'static str,
    /// Upper bounds in seconds; empty unless a histogram.
    pub buckets: &'static [f64],
}

type Labels = &'static [&'static str];

const fn counter(name: &'static str, labels: Labels, help: &'static str) -> Spec {
    Spec { name, kind: Kind::Counter, labels, help, buckets: &[] }
}

const fn gauge(name: &'static str, labels: Labels, help: &'static str) -> Spec {
    Spec { name, kind: Kind::Gauge, labels, help, buckets: &[] }
}

const fn histogram(
    name: &'static str,
    labels: Labels,
    help: &'static str,
    buckets: &'static [f64],
) -> Spec {
    Spec { name, kind: Kind::Histogram, labels, help, buckets }
}

/// From a look-up in memory to a request that waits for a model: 50 us to 5 min.
const REQUEST: &[f64] = &[
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
    2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];
/// 1 s to 1 h.
const TURN: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0];
/// 10 ms to 2 min.
const FIRST_EVENT: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0];
/// 1 ms to 10 min.
const WAIT: &[f64] =
    &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Declares each spec as a static and lists it in `METRICS`, so that neither can be without the other.
macro_rules! table {
    ($($id:ident = $spec:expr;)*) => {
        $(pub(super) static $id: Spec = $spec;)*
        /// Every metric of fairlead's own, in the order of `conf/METRICS.md`.
        pub static METRICS: &[&Spec] = &[$(&$id),*];
    };
}

table! {
    BUILD_INFO = gauge("fairlead_build_info", &["revision", "version"], "Always 1; the labels name what is running.");
    CONFIG_RELOAD_SUCCESSFUL = gauge("fairlead_config_last_reload_successful", &[], "Whether the last load or reload of the config succeeded.");
    CONFIG_RELOAD_TIME = gauge("fairlead_config_last_reload_success_timestamp_seconds", &[], "Unix time of the last successful load or reload.");
    LOG_LINES_DROPPED = counter("fairlead_log_lines_dropped_total", &[], "Log lines dropped because whoever reads the log did not keep up.");
    TASKS_RUNNING = gauge("fairlead_tasks", &[], "Tasks running in the process.");
    TASK_PANICS = counter("fairlead_task_panics_total", &[], "Tasks that ended by a panic: a bug, and worth a report.");

    LISTENER_CONNECTIONS = gauge("fairlead_listener_connections", &["listener"], "Conns open now.");
    LISTENER_ACCEPTED = counter("fairlead_listener_accepted_total", &["listener"], "Conns accepted.");
    LISTENER_REJECTED = counter("fairlead_listener_rejected_total", &["listener", "reason"], "Conns refused before they could send a request.");
    TLS_NOT_AFTER = gauge("fairlead_tls_cert_not_after_timestamp_seconds", &["certificate", "listener"], "Unix time at which a certificate in force ends: default, or that of [[listener.tls.sni]] by its first host. Absent where no TLS is spoken.");
    BYTES = counter("fairlead_bytes_total", &["direction", "listener"], "Bytes exchanged with clients; direction is in (from clients) or out (to clients).");
    FRAME_ERRORS = counter("fairlead_frame_errors_total", &["listener", "reason"], "Frames that went nowhere. Of clients: what ended the conn (bad framing, no usable id), what was answered -32600 (invalid) or -32046 (frame_too_large), what a stranger sent (unauthenticated), what came too often (rate_limited), stray notifications and replies. Of CLIs: late replies, stray broadcasts, what is no message.");
    DENIED = counter("fairlead_denied_total", &["listener", "reason"], "Requests that fairlead itself answered with an error; reason as in error.data.reason, or authentication, unauthenticated, unknown_method.");
    CONNECT_RETRIES = counter("fairlead_listener_connect_retries_total", &["listener"], "Connections to upstreams that failed and were tried at another one (protocol tcp). What failed is in fairlead_upstream_lost_total, reason connect.");
    RPC_PENDING = gauge("fairlead_rpc_pending", &["listener"], "Requests taken and not yet answered.");

    RPC_REQUESTS = counter("fairlead_rpc_requests_total", &["class", "method", "result"], "Requests answered; a method that fairlead does not know, or did not read, is other. What was answered -32600 is in fairlead_frame_errors_total instead.");
    RPC_DURATION = histogram("fairlead_rpc_duration_seconds", &["class"], "Time from a request's last byte in to its answer.", REQUEST);

    HTTP_REQUESTS = counter("fairlead_http_requests_total", &["code", "listener"], "HTTP requests that ended, by the status that the client got; 499 where it went away before it got one.");
    HTTP_DURATION = histogram("fairlead_http_request_duration_seconds", &["listener"], "Time from the head of an HTTP request to the end of its answer.", REQUEST);
    HTTP_RETRIES = counter("fairlead_http_retries_total", &["listener", "reason"], "HTTP requests that were tried once more, because no connection could be made (connect) or a kept one had ended (reused).");
    HTTP_REFUSED = counter("fairlead_http_refused_total", &["listener", "reason"], "HTTP requests that went nowhere because they are malformed, or could be read in two ways, by what is wrong with them.");

    SESSIONS = gauge("fairlead_sessions", &["pool", "state"], "Sessions that the pool's table knows: of those that only lie on a disk, the last 100000.");
    PLACEMENTS = counter("fairlead_session_placements_total", &["pool", "reason"], "Placements, by the reason for the upstream chosen.");
    FAILOVERS = counter("fairlead_session_failovers_total", &["pool", "result"], "Resumes, on another CLI, of sessions whose own was lost (shared storage): ok or failed.");
    EVICTED = counter("fairlead_sessions_evicted_total", &["pool", "reason"], "Sessions that fairlead put out of an upstream's memory, or deleted: ephemeral.");
    FORGOTTEN = counter("fairlead_sessions_forgotten_total", &["pool"], "Sessions that the ledger forgot because they were unused for long and no upstream had them any more.");
    TURNS_ACTIVE = gauge("fairlead_turns_active", &["pool"], "Turns running now.");
    TURNS = counter("fairlead_turns_total", &["pool", "result"], "Turns ended.");
    TURN_DURATION = histogram("fairlead_turn_duration_seconds", &["pool"], "Time from what started a turn to its end.", TURN);
    TURN_FIRST_EVENT = histogram("fairlead_turn_time_to_first_event_seconds", &["pool"], "Time from what started a turn to its first event.", FIRST_EVENT);
    QUEUE_DEPTH = gauge("fairlead_queue_depth", &["pool"], "Creates, resumes and turns that wait for room.");
    QUEUE_WAIT = histogram("fairlead_queue_wait_seconds", &["pool"], "Time that creates, resumes and turns waited for room.", WAIT);
    BROADCASTS_DROPPED = counter("fairlead_broadcasts_dropped_total", &["pool"], "Broadcasts that a conn lost because too many waited for it.");
    DNS_LOOKUPS = counter("fairlead_dns_lookups_total", &["pool", "result"], "Names of upstreams asked for, by what came of it: found, partly (one of IPv4 and IPv6 was not answered), empty, no_such_name, failed.");
    SPAWNED = gauge("fairlead_spawned_processes", &["pool"], "CLI processes that fairlead started and that run now.");

    UPSTREAM_STATE = gauge("fairlead_upstream_state", &["pool", "state", "upstream"], "1 for the state that the upstream is in, 0 for the others.");
    UPSTREAM_INFO = gauge("fairlead_upstream_info", &["pool", "protocol", "upstream", "version"], "Always 1; the version and the protocol version that the upstream reports. Absent until it has.");
    UPSTREAM_CHECKS = counter("fairlead_upstream_health_checks_total", &["pool", "result", "upstream"], "Health checks done.");
    UPSTREAM_LINKS = gauge("fairlead_upstream_links", &["pool", "upstream"], "Links open now.");
    UPSTREAM_RETIRED = gauge("fairlead_upstream_retired", &["pool", "upstream"], "1 while nothing new goes to the upstream because its name does not name it any more; it goes once nothing lives on it. Else 0.");
    UPSTREAM_EJECTIONS = counter("fairlead_upstream_ejections_total", &["pool", "upstream"], "How often the upstream was put out because it failed too often ([pool.outlier]).");
    UPSTREAM_LOST = counter("fairlead_upstream_lost_total", &["pool", "reason", "upstream"], "Links that ended without our asking.");
    UPSTREAM_LEFT_OUT = counter("fairlead_upstream_left_out_total", &["pool", "reason", "upstream"], "Answers joined over all CLIs that went out without this one's part: it was down, gone, late, answered with an error, or unreadably.");
    UPSTREAM_SESSIONS = gauge("fairlead_upstream_sessions", &["pool", "upstream"], "What takes capacity on the upstream: sessions, or conns and requests of listeners that know none. How uneven it is: max over avg.");
    SESSION_CAPACITY = gauge("fairlead_session_capacity", &["pool", "upstream"], "Sessions that the upstream may have (max_sessions); 0 is no limit.");
    UPSTREAM_RESTARTS = counter("fairlead_upstream_restarts_total", &["pool", "reason", "upstream"], "Managed CLI processes started again, by what became of the one before: exited (it had been ready), exited_early, too_slow, not_started, port_taken, asked.");
    CRASH_LOOP = gauge("fairlead_upstream_crash_loop", &["pool", "upstream"], "Managed CLIs: 1 while it is not ready and has failed three times in a row or more, else 0. Absent for others.");

    LEDGER_UP = gauge("fairlead_ledger_up", &[], "Whether what the ledger is told becomes durable. Absent where there is no ledger.");
    LEDGER_RECORDS = gauge("fairlead_ledger_records", &[], "Sessions that the ledger knows. At 1000000 it takes no new ones.");
    LEDGER_ERRORS = counter("fairlead_ledger_errors_total", &["op"], "Ledger operations that failed.");
    DRAIN_REMAINING = gauge("fairlead_drain_remaining_turns", &[], "While draining: turns that are waited for. Else 0.");
}

/// What `conf/METRICS.md` must contain: the table, then `process`, the families of the process collector.
pub fn markdown(process: &[MetricFamily]) -> String {
    let mut out = String::from(HEAD);
    for spec in METRICS {
        let labels: Vec<String> = spec.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = format!("{:?}", spec.kind).to_lowercase();
        let _ =
            writeln!(out, "| `{}` | {kind} | {} | {} |", spec.name, labels.join(" "), spec.help);
    }
    for family in process {
        let kind = format!("{:?}", family.get_field_type()).to_lowercase();
        let _ = writeln!(out, "| `{}` | {kind} | | {} |", family.name(), family.help());
    }
    out.push_str("\n## Buckets\n\nUpper bounds in seconds.\n\n| metric | bounds |\n|---|---|\n");
    for spec in METRICS.iter().filter(|spec| !spec.buckets.is_empty()) {
        let bounds: Vec<String> = spec.buckets.iter().map(f64::to_string).collect();
        let _ = writeln!(out, "| `{}` | {} |", spec.name, bounds.join(" "));
    }
    out
}

const HEAD: &str = "\
# Metrics

`GET /metrics` on the metrics listener, Prometheus text format 0.0.4. This file is made from the table in the code;
a test compares the two. No label names a user, a tenant or a session. A counter with a `reason`, `result` or `op`
label appears with its first event; the series of an upstream, pool or listener go when it goes.

| metric | type | labels | says |
|---|---|---|---|
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_carry_prefix_and_unit() {
        let mut seen = std::collections::BTreeSet::new();
        for spec in METRICS {
            assert!(seen.insert(spec.name), "{} twice", spec.name);
            assert!(spec.name.starts_with("fairlead_"), "{}", spec.name);
            assert_eq!(spec.kind == Kind::Counter, spec.name.ends_with("_total"), "{}", spec.name);
            assert_eq!(spec.kind == Kind::Histogram, !spec.buckets.is_empty(), "{}", spec.name);
            assert!(spec.kind != Kind::Histogram || spec.name.ends_with("_seconds"));
        }
    }

    #[test]
    fn no_label_names_a_person_or_a_session() {
        for spec in METRICS {
            for label in spec.labels {
                let personal = ["user", "tenant", "session", "session_id", "caller", "client_addr"];
                assert!(!personal.contains(label), "{} has {label}", spec.name);
            }
            assert!(spec.labels.is_sorted(), "{}", spec.name);
        }
    }

    #[test]
    fn bounds_rise() {
        for spec in METRICS {
            assert!(spec.buckets.windows(2).all(|pair| pair[0] < pair[1]), "{}", spec.name);
        }
    }
}
