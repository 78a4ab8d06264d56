//! What a pool or a listener says that has no effect, or can never work, because of what is spoken.

use std::ops::Range;

use toml::Spanned;

use super::{listener, pool};
use crate::config::file::Problems;
use crate::config::model::{Identity, Listener, Pool, Probe, Protocol, Upstreams};
use crate::config::reader::Reader;

/// Keys of a pool for what only JSON-RPC knows of: sessions and turns.
const OF_SESSIONS: [&str; 8] = [
    "create_existing",
    "storage",
    "unknown_sessions",
    "grant",
    "max_turns",
    "max_turns_per_upstream",
    "max_turns_per_tenant",
    "max_turns_per_user",
];

/// What HTTP/1.1 is called in TLS (RFC 7301).
const HTTP: &str = "http/1.1";

/// Where a pool says what counts with some listeners alone.
pub(super) fn said(r: &Reader<'_>) -> Vec<(&'static str, Range<usize>)> {
    let own = ["create_existing", "storage", "unknown_sessions", "token", "outlier"];
    let own = own.into_iter().filter_map(|key| Some((key, r.raw(key)?.span())));
    let grants = r.raw("grant").and_then(|grants| grants.get_ref().as_array()?.iter().next());
    let grant = grants.map(|grant| ("grant", grant.span()));
    let [.., a, b, c, d] = OF_SESSIONS;
    let inner = [("caps", a), ("caps", b), ("caps", c), ("caps", d)];
    let inner = inner.into_iter().chain([("health", "dead_after"), ("tls", "alpn")]);
    let inner = inner.filter_map(|(table, key)| {
        let value = r.raw(table)?.get_ref().as_table()?.get(key)?;
        Some((key, Spanned::span(value)))
    });
    own.chain(grant).chain(inner).collect()
}

/// Pools, by who uses them.
pub(super) fn check(listeners: &[listener::Draft], pools: &[pool::Draft], problems: &Problems<'_>) {
    over_managed(listeners, pools, problems);
    // A listener that could not be read may be the one.
    if listeners.iter().any(|draft| draft.listener.is_none()) {
        return;
    }
    for draft in pools {
        let Some(pool) = &draft.pool else { continue };
        let users = listeners.iter().filter_map(|l| l.listener.as_ref());
        let users: Vec<&Listener> = users.filter(|l| l.uses(&pool.name)).collect();
        let speaks = |protocol| users.iter().find(|l| l.protocol == protocol);
        // That nobody uses it is said already.
        let Some(first) = users.first() else { continue };
        if speaks(Protocol::Jsonrpc).is_none() {
            sessions(draft, pool, problems);
        }
        if speaks(Protocol::Http).is_none() {
            warn(draft, "outlier", "no listener of the pool speaks http", problems);
        }
        if pool.health.probe != Probe::Ping {
            warn(draft, "dead_after", "only probe = \"ping\" has it", problems);
        }
        if let Some(listener) = speaks(Protocol::Http) {
            alpn(draft, pool, &listener.name, problems);
        }
        // Of those that fairlead starts it is said already that they are CLIs.
        let fixed = matches!(pool.upstreams, Upstreams::Fixed(_));
        let only_http = fixed && users.iter().all(|l| l.protocol == Protocol::Http);
        if let (Some(at), Probe::Ping, true) = (&draft.probe_at, &pool.health.probe, only_http) {
            let message = format!(
                "probe: {:?} is JSON-RPC, which an upstream of listener {:?} does not speak: \"tcp\" and \"http\" are for those",
                pool.health.probe.word(),
                first.name
            );
            problems.error(at, message);
        }
    }
}

/// Where no listener knows of sessions.
fn sessions(draft: &pool::Draft, pool: &Pool, problems: &Problems<'_>) {
    let managed = matches!(pool.upstreams, Upstreams::Managed(_));
    // Homes of CLIs that we start are as storage says.
    for key in OF_SESSIONS.into_iter().filter(|key| !(managed && *key == "storage")) {
        warn(draft, key, "no listener of the pool speaks jsonrpc", problems);
    }
    if !managed && pool.health.probe != Probe::Ping {
        let why = "nothing that speaks JSON-RPC with its upstreams is configured";
        warn(draft, "token", why, problems);
    }
}

fn warn(draft: &pool::Draft, key: &str, why: &str, problems: &Problems<'_>) {
    if let Some((_, at)) = draft.said.iter().find(|(said, _)| *said == key) {
        problems.warn(at, format!("{key} has no effect: {why}"));
    }
}

/// An upstream that agrees to anything but HTTP/1.1 is of no use to who speaks that alone.
fn alpn(draft: &pool::Draft, pool: &Pool, listener: &str, problems: &Problems<'_>) {
    let Some((_, at)) = draft.said.iter().find(|(said, _)| *said == "alpn") else { return };
    let Some(tls) = &pool.tls else { return };
    let strange = tls.alpn.iter().find(|name| *name != HTTP);
    let spoken = tls.alpn.iter().any(|name| name == HTTP);
    let Some(strange) = strange else { return };
    let message = format!(
        "alpn: listener {listener:?} speaks {HTTP:?} with this pool, and with an upstream that agrees to {strange:?} not at all"
    );
    if spoken { problems.warn(at, message) } else { problems.error(at, message) }
}

/// CLIs that fairlead starts speak no HTTP.
fn over_managed(listeners: &[listener::Draft], pools: &[pool::Draft], problems: &Problems<'_>) {
    let managed = |name: &str| {
        let pools = pools.iter().filter_map(|draft| draft.pool.as_ref());
        let mut named = pools.filter(|pool| pool.name == name);
        named.any(|pool| matches!(pool.upstreams, Upstreams::Managed(_)))
    };
    for draft in listeners {
        let speaks = draft.listener.as_ref().is_some_and(|l| l.protocol == Protocol::Http);
        for pool in draft.pool.iter().chain(&draft.route_pools).filter(|_| speaks) {
            if managed(pool.get_ref()) {
                let message = format!(
                    "fairlead starts CLIs for pool {:?}, and CLIs speak no HTTP: what comes here cannot be answered",
                    pool.get_ref()
                );
                problems.warn(&pool.span(), message);
            }
        }
    }
}

/// Whom a caller acts for counts where it is known who it is, and whom it says that it asks for.
pub(super) fn trust(
    r: &Reader<'_>,
    protocol: Protocol,
    identity: &[Identity],
    problems: &Problems<'_>,
) {
    let proves = identity.iter().any(Identity::proves);
    let sorts = identity.iter().any(|i| matches!(i, Identity::Request(rule) if !rule.proves()));
    if protocol != Protocol::Jsonrpc && r.raw("trust").is_some() && !(proves && sorts) {
        let message = format!(
            "trust has no effect with protocol = {:?}, unless one identity proves who calls and another one says for whom",
            protocol.word()
        );
        problems.warn(&r.place_of("trust"), message);
    }
}
