//! `[pool.health]`: how it is found out whether upstreams are well, and whether that fits what is spoken with them.

use std::ops::Range;

use toml::de::DeValue;

use super::{listener, pool};
use crate::config::file::Problems;
use crate::config::keys;
use crate::config::model::{Balance, Health, HttpProbe, Probe, Protocol, Statuses, Upstreams};
use crate::config::reader::Reader;
use crate::config::values::{self, MS, Read, WEEK};

/// The keys of one way to probe.
const HTTP: [&str; 3] = ["path", "host", "expect"];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Ping,
    Tcp,
    Http,
}

const KINDS: &[(&str, Kind)] = &[("ping", Kind::Ping), ("tcp", Kind::Tcp), ("http", Kind::Http)];

/// With the place of `probe`, if it is said.
pub(super) fn read(pool: &Reader<'_>, problems: &Problems<'_>) -> (Health, Option<Range<usize>>) {
    let r = pool.table_or_empty("health", &keys::HEALTH);
    let default = Health::default();
    let time = || values::duration(MS..=WEEK);
    let kind = r.or("probe", values::word(KINDS), Kind::Ping);
    let path = r.or("path", path, "/".to_owned());
    let host = r.read("host", host);
    let expect = r.or("expect", statuses, vec![Statuses { first: 200, last: 399 }]);
    let given = HTTP.into_iter().filter(|key| kind != Kind::Http && r.raw(key).is_some());
    for key in given {
        let message = format!("{key} has no effect without probe = \"http\"");
        problems.warn(&r.place_of(key), message);
    }
    let probe = match kind {
        Kind::Ping => Probe::Ping,
        Kind::Tcp => Probe::Tcp,
        Kind::Http => Probe::Http(HttpProbe { path, host, expect }),
    };
    let health = Health {
        probe,
        interval: r.or("interval", time(), default.interval),
        timeout: r.or("timeout", time(), default.timeout),
        rise: r.or("rise", values::integer(1..=100), default.rise),
        fall: r.or("fall", values::integer(1..=100), default.fall),
        dead_after: r.or("dead_after", time(), default.dead_after),
    };
    if health.dead_after < health.interval {
        problems.warn(
            &r.place_of("dead_after"),
            format!(
                "dead_after ({}) is shorter than interval ({}): links are given up before a probe can fail",
                values::show_duration(health.dead_after),
                values::show_duration(health.interval),
            ),
        );
    }
    let at = r.raw("probe").is_some().then(|| r.place_of("probe"));
    (health, at)
}

/// Gives each pool the probe and the bound of load that fit who uses it, and refuses a probe that does not.
pub(super) fn settle(
    listeners: &[listener::Draft],
    pools: &mut [pool::Draft],
    problems: &Problems<'_>,
) {
    for draft in pools {
        let Some(pool) = &mut draft.pool else { continue };
        let mut users = listeners.iter().filter_map(|l| l.listener.as_ref());
        let speaks =
            users.find(|l| l.pool == pool.name && l.protocol == Protocol::Jsonrpc).map(|l| &l.name);
        let started = matches!(pool.upstreams, Upstreams::Managed(_));
        if let (Some(at), Some(listener)) = (&draft.tls_at, speaks) {
            problems.error(
                at,
                format!(
                    "listener {listener:?} speaks jsonrpc with this pool, and CLIs speak no TLS: [pool.tls] is for pools of other \
                     listeners"
                ),
            );
        } else if let (Some(at), true) = (&draft.tls_at, started) {
            problems.error(at, "CLIs that fairlead starts speak no TLS");
        }
        // A table knows where sessions are; of conns and requests only the hash does: who has two at once must not be split.
        if let (Balance::Consistent { factor, .. }, None, false) =
            (&mut pool.balance, speaks, draft.has_factor)
        {
            *factor = f64::INFINITY;
        }
        match (&draft.probe_at, speaks) {
            (None, None) if !started => pool.health.probe = Probe::Tcp,
            (Some(at), Some(listener)) if pool.health.probe != Probe::Ping => problems.error(
                at,
                format!(
                    "listener {listener:?} speaks jsonrpc with this pool: its CLIs need probe = \"ping\", which is also how \
                     sessions are looked for"
                ),
            ),
            (_, _) => {}
        }
    }
}

/// What can stand in the first line of a request.
fn path(value: &DeValue<'_>) -> Read<String> {
    let path = values::string(value)?;
    let plain = path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if path.starts_with('/') && plain {
        return Ok(path);
    }
    Err(format!("{path:?} is not a path such as \"/healthz\"").into())
}

/// What can stand in a Host header.
fn host(value: &DeValue<'_>) -> Read<String> {
    let host = values::string(value)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    if !host.is_empty() && host.bytes().all(plain) {
        return Ok(host);
    }
    Err(format!("{host:?} is not a host such as \"app.example.com\"").into())
}

fn statuses(value: &DeValue<'_>) -> Read<Vec<Statuses>> {
    let what = "a list of statuses such as [\"200-399\", \"404\"]";
    let wrong = || format!("must be {what}");
    let list = value.as_array().ok_or_else(wrong)?;
    let one = |item: &DeValue<'_>| {
        let text = item.as_str()?;
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let status = |text: &str| {
            let digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|n| digits && (100..=599).contains(n))
        };
        let found = Statuses { first: status(first)?, last: status(last)? };
        (found.first <= found.last).then_some(found)
    };
    let found: Option<Vec<_>> = list.iter().map(|item| one(item.get_ref())).collect();
    Ok(found.filter(|all| !all.is_empty()).ok_or_else(wrong)?)
}
