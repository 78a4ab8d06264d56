//! The tables that stand alone: `[runtime]`, `[dns]`, `[ledger]`, `[drain]`, `[limits]`, `[log]`, `[pool.caps]`.
//!
//! Bounds are wide: they catch slips, not taste.

use super::pool::MAX_SESSIONS;
use crate::config::file::Problems;
use crate::config::keys;
use crate::config::model::{
    Caps, Dns, Drain, Family, Ledger, Limits, Log, LogFormat, LogLevel, Runtime,
};
use crate::config::reader::Reader;
use crate::config::values::{self, MS, WEEK};
use crate::time::Duration;

/// The largest size that may be asked for, in bytes.
const MAX_SIZE: u64 = 1 << 40;
/// The longest queue: who waits is looked at one by one.
const MAX_QUEUE: u32 = 10_000;
/// The longest time that anybody may mean: ten years.
const YEARS: Duration = Duration::from_hours(10 * 365 * 24);
/// How long a session must be unused before it is asked whether it is there still.
const FORGET_AFTER: Duration = Duration::from_hours(90 * 24);
/// The largest count.
const MAX_COUNT: u32 = 10_000_000;

pub(super) fn runtime(root: &Reader<'_>) -> Runtime {
    let reader = root.table_or_empty("runtime", &keys::RUNTIME);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Runtime { workers: reader.or("workers", values::count(1..=1024), cores) }
}

pub(super) fn drain(root: &Reader<'_>) -> Drain {
    let reader = root.table_or_empty("drain", &keys::DRAIN);
    let default = Drain::default();
    let time = || values::duration(Duration::ZERO..=WEEK);
    Drain {
        drain_timeout: reader.or("drain_timeout", time(), default.drain_timeout),
        shutdown_delay: reader.or("shutdown_delay", time(), default.shutdown_delay),
    }
}

pub(super) fn ledger(root: &Reader<'_>) -> Ledger {
    let reader = root.table_or_empty("ledger", &keys::LEDGER);
    let time = values::duration(Duration::ZERO..=YEARS);
    let forget_after = reader.or("forget_after", time, FORGET_AFTER);
    Ledger { forget_after: (!forget_after.is_zero()).then_some(forget_after) }
}

pub(super) fn dns(root: &Reader<'_>, problems: &Problems<'_>) -> Dns {
    let reader = root.table_or_empty("dns", &keys::DNS);
    let default = Dns::default();
    let time = || values::duration(MS..=WEEK);
    let dns = Dns {
        servers: reader.or("servers", values::addresses, default.servers),
        timeout: reader.or("timeout", time(), default.timeout),
        min_ttl: reader.or("min_ttl", time(), default.min_ttl),
        max_ttl: reader.or("max_ttl", time(), default.max_ttl),
        family: reader.or("family", values::word(Family::WORDS), default.family),
    };
    if dns.max_ttl < dns.min_ttl {
        let given = ["max_ttl", "min_ttl"].into_iter().find(|key| reader.raw(key).is_some());
        let message = format!(
            "max_ttl ({}) is below min_ttl ({})",
            values::show_duration(dns.max_ttl),
            values::show_duration(dns.min_ttl),
        );
        problems.error(&reader.place_of(given.unwrap_or("max_ttl")), message);
    }
    dns
}

pub(super) fn log(root: &Reader<'_>) -> Log {
    let reader = root.table_or_empty("log", &keys::LOG);
    let default = Log::default();
    Log {
        format: reader.or("format", values::word(LogFormat::WORDS), default.format),
        level: reader.or("level", values::word(LogLevel::WORDS), default.level),
        access: reader.or("access", values::boolean, default.access),
    }
}

pub(super) fn caps(pool: &Reader<'_>, problems: &Problems<'_>) -> Caps {
    let reader = pool.table_or_empty("caps", &keys::CAPS);
    let default = Caps::default();
    let bound = |key| reader.read(key, values::integer(1..=MAX_SESSIONS));
    let caps = Caps {
        max_sessions: bound("max_sessions"),
        max_sessions_per_tenant: bound("max_sessions_per_tenant"),
        max_sessions_per_user: bound("max_sessions_per_user"),
        max_turns: bound("max_turns"),
        max_turns_per_upstream: bound("max_turns_per_upstream"),
        max_turns_per_tenant: bound("max_turns_per_tenant"),
        max_turns_per_user: bound("max_turns_per_user"),
        queue_length: reader.or("queue_length", values::count(0..=MAX_QUEUE), default.queue_length),
        queue_timeout: reader.or(
            "queue_timeout",
            values::duration(Duration::ZERO..=WEEK),
            default.queue_timeout,
        ),
    };
    let narrower = [
        ("max_sessions_per_tenant", caps.max_sessions_per_tenant, caps.max_sessions),
        ("max_sessions_per_user", caps.max_sessions_per_user, caps.max_sessions),
        ("max_turns_per_upstream", caps.max_turns_per_upstream, caps.max_turns),
        ("max_turns_per_tenant", caps.max_turns_per_tenant, caps.max_turns),
        ("max_turns_per_user", caps.max_turns_per_user, caps.max_turns),
    ];
    for (key, part, whole) in narrower {
        if let (Some(part), Some(whole)) = (part, whole)
            && part > whole
        {
            let message = format!("{key} ({part}) has no effect above that of the pool ({whole})");
            problems.warn(&reader.place_of(key), message);
        }
    }
    caps
}

pub(super) fn limits(root: &Reader<'_>, problems: &Problems<'_>) -> Limits {
    let r = root.table_or_empty("limits", &keys::LIMITS);
    let d = Limits::default();
    let size = || values::size(1024..=MAX_SIZE);
    let count = || values::count(1..=MAX_COUNT);
    let time = || values::duration(MS..=WEEK);
    let limits = Limits {
        max_header_bytes: r.or("max_header_bytes", values::size(64..=1 << 20), d.max_header_bytes),
        max_client_frame: r.or("max_client_frame", size(), d.max_client_frame),
        max_upstream_frame: r.or("max_upstream_frame", size(), d.max_upstream_frame),
        max_link_queue: r.or("max_link_queue", size(), d.max_link_queue),
        max_client_queue: r.or("max_client_queue", size(), d.max_client_queue),
        max_buffered_bytes: r.or("max_buffered_bytes", size(), d.max_buffered_bytes),
        max_conns: r.or("max_conns", count(), d.max_conns),
        max_pending: r.or("max_pending", count(), d.max_pending),
        stall_timeout: r.or("stall_timeout", time(), d.stall_timeout),
        request_timeout: r.or("request_timeout", time(), d.request_timeout),
        client_request_timeout: r.or("client_request_timeout", time(), d.client_request_timeout),
        handshake_timeout: r.or("handshake_timeout", time(), d.handshake_timeout),
        lookup_timeout: r.or("lookup_timeout", time(), d.lookup_timeout),
        fleet_timeout: r.or("fleet_timeout", time(), d.fleet_timeout),
        connect_wait: r.or("connect_wait", time(), d.connect_wait),
        discard_timeout: r.or("discard_timeout", time(), d.discard_timeout),
        finish_timeout: r.or("finish_timeout", time(), d.finish_timeout),
    };
    let frame = limits.max_client_frame.max(limits.max_upstream_frame);
    if limits.max_buffered_bytes < frame {
        problems.error(
            &r.place_of("max_buffered_bytes"),
            format!(
                "max_buffered_bytes ({}) cannot hold one frame: max_client_frame and max_upstream_frame allow {}",
                values::show_size(limits.max_buffered_bytes as u64),
                values::show_size(frame as u64),
            ),
        );
    }
    limits
}
