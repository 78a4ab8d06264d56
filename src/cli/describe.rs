//! A configuration in words: one line for each listener and pool, for a person who checks it.

use crate::config::{
    Address, Balance, CallerLimits, Config, CreateExisting, Home, Listener, Managed,
    OnUpstreamDown, Pool, Protocol, Route, Sessions, Storage, Upstream, Upstreams,
};
use crate::time::Duration;

/// Addresses that a line names before it only counts.
const NAMED: usize = 4;

/// What will happen, a line each.
pub(super) fn describe(config: &Config) -> Vec<String> {
    let listeners = config.listeners.iter().map(|l| listener(config, l));
    let metrics = config.metrics.as_ref().map(|m| format!("metrics: http://{}/metrics", m.bind));
    listeners.chain(config.pools.iter().map(|p| pool(config, p))).chain(metrics).collect()
}

/// What serves a pool, as far as can be known.
fn kind(config: &Config, pool: &Pool) -> &'static str {
    if config.has_clis(pool) { "CLI" } else { "upstream" }
}

fn listener(config: &Config, listener: &Listener) -> String {
    let pool = config.pool(&listener.pool);
    let pool_in_words = pool.map(|p| {
        let storage = match (listener.protocol, p.storage) {
            (Protocol::Jsonrpc, Storage::Own) => ", own storage",
            (Protocol::Jsonrpc, Storage::Shared) => ", shared storage",
            (Protocol::Http | Protocol::Tcp, _) => "",
        };
        format!(" ({}, {}{storage})", members(&p.upstreams, kind(config, p)), balance(p.balance))
    });
    let sources: Vec<String> =
        listener.identity.iter().map(|i| i.source().replace('_', " ")).collect();
    let callers = match (sources.is_empty(), listener.authenticates()) {
        (true, _) => "one anonymous caller".to_owned(),
        (false, true) => format!("callers by {}; authentication required", sources.join(", ")),
        (false, false) => format!("callers by {}", sources.join(", ")),
    };
    format!(
        "listener {}: {} on {}{} -> pool {}{}{}; {callers}{}{}{}",
        listener.name,
        listener.protocol.word(),
        listener.bind,
        edge(listener),
        listener.pool,
        pool_in_words.unwrap_or_default(),
        http(listener),
        if listener.insecure && !listener.authenticates() { ", NOT authenticated" } else { "" },
        ephemeral(listener, pool),
        bounds(&listener.callers) + &relayed(listener, pool),
    )
}

/// Where else requests go, and what keeps clients where they are.
fn http(listener: &Listener) -> String {
    let mut out = String::new();
    for Route { host, path, pool } in &listener.routes {
        out.push_str(&format!(", {host}{path} -> pool {pool}"));
    }
    if let Some(cookie) = &listener.http.cookie {
        let key = if cookie.secret.is_some() { "" } else { ", signed with a key of this process" };
        out.push_str(&format!(", cookie {} for {}{key}", cookie.name, time(cookie.ttl)));
    }
    out
}

/// What a listener that reads nothing does with conns.
fn relayed(listener: &Listener, pool: Option<&Pool>) -> String {
    if listener.protocol != Protocol::Tcp {
        return String::new();
    }
    let with = &listener.tcp;
    let mut out = "; bytes pass unread, each connection to one upstream".to_owned();
    if let Some(version) = pool.and_then(|pool| pool.send_proxy) {
        out.push_str(&format!(", which is sent a PROXY header {}", version.word()));
    }
    let limits = [("idle for", with.idle_timeout), ("older than", with.max_lifetime)];
    let limits =
        limits.iter().filter_map(|(what, limit)| Some(format!("{what} {}", time((*limit)?))));
    let mut cut: Vec<String> = limits.collect();
    if with.on_upstream_down == OnUpstreamDown::Cut {
        cut.push("whose upstream is down".to_owned());
    }
    if !cut.is_empty() {
        out.push_str(&format!("; cut are those {}", cut.join(", ")));
    }
    out
}

/// Which sessions are deleted, and when.
fn ephemeral(listener: &Listener, pool: Option<&Pool>) -> String {
    let Some(grace) = pool.map(|pool| time(pool.ephemeral_grace)) else { return String::new() };
    match (listener.sessions, &listener.ephemeral_pattern) {
        (Sessions::Persistent, None) => String::new(),
        (Sessions::Persistent, Some(pattern)) => format!(
            "; sessions that match {:?} are deleted {grace} after their last client has gone",
            pattern.as_str()
        ),
        (Sessions::Ephemeral, _) => {
            format!("; its sessions are deleted {grace} after their last client has gone")
        }
    }
}

/// What is bounded beyond the defaults.
fn bounds(limits: &CallerLimits) -> String {
    let conns = |most: Option<usize>, whose| Some(format!("{} connections{whose}", most?));
    let rate = limits.rate.map(|rate| {
        let per = time(rate.per);
        format!("{} requests in {per} of one caller, {} at once", rate.requests, rate.burst)
    });
    let all = [
        conns(limits.max_conns, ""),
        conns(limits.max_conns_per_address, " from one address"),
        conns(limits.max_conns_per_caller, " of one caller"),
        rate,
    ];
    let said: Vec<String> = all.into_iter().flatten().collect();
    if said.is_empty() { String::new() } else { format!("; at most {}", said.join(", ")) }
}

/// What a client passes first.
fn edge(listener: &Listener) -> String {
    let mut out = String::new();
    if let Some(tls) = &listener.tls {
        out.push_str(&format!(" over TLS {} or newer", tls.min_version.word()));
        if let Some(client_ca) = &tls.client_ca {
            out.push_str(&format!(", client certificates {}", client_ca.auth.word()));
        }
    }
    if let Some(proxies) = &listener.proxy_protocol {
        let trusted: Vec<_> = proxies.trusted.iter().map(ToString::to_string).collect();
        out.push_str(&format!(", behind proxies at {}", trusted.join(", ")));
    }
    out
}

fn members(upstreams: &Upstreams, kind: &str) -> String {
    match upstreams {
        Upstreams::Fixed(fixed) => {
            let names = fixed.iter().filter(|u| matches!(u.address, Address::Name { .. })).count();
            let known = fixed.len() - names;
            let plural = if names == 1 { "" } else { "s" };
            match (known, names) {
                (known, 0) => count(known, kind),
                (0, names) => format!("the {kind}s of {names} name{plural}"),
                (known, names) => {
                    format!("{}, and those of {names} name{plural}", count(known, kind))
                }
            }
        }
        Upstreams::Managed(managed) => count(managed.count as usize, "managed CLI"),
    }
}

fn count(n: usize, kind: &str) -> String {
    format!("{n} {kind}{}", if n == 1 { "" } else { "s" })
}

fn balance(balance: Balance) -> String {
    match balance {
        Balance::RoundRobin => "round robin".into(),
        Balance::LeastLoaded => "least loaded".into(),
        Balance::Consistent { affinity, .. } => format!("consistent by {}", affinity.word()),
    }
}

fn pool(config: &Config, pool: &Pool) -> String {
    let source = match &pool.upstreams {
        Upstreams::Fixed(fixed) => addresses(fixed, kind(config, pool)),
        Upstreams::Managed(managed) => started(managed),
    };
    let existing = match pool.create_existing {
        CreateExisting::Resume => "; a create of a known id resumes it",
        CreateExisting::Pass => "; a create of a known id starts it blank",
        CreateExisting::Refuse => "; a create of a known id is refused",
    };
    let existing = if config.has_sessions(&pool.name) { existing } else { "" };
    let health = &pool.health;
    format!(
        "pool {}: {source}; down after {} failed probes, one every {}{existing}",
        pool.name,
        health.fall,
        time(health.interval),
    )
}

fn addresses(fixed: &[Upstream], kind: &str) -> String {
    // What is elsewhere may be a Service or a balancer: nothing in an address tells.
    let far = fixed.iter().any(|upstream| upstream.address.is_far());
    let each = if far {
        format!(", each address taken for one {kind}, not for several behind it")
    } else {
        String::new()
    };
    let named: Vec<String> = fixed.iter().take(NAMED).map(|u| u.address.to_string()).collect();
    let rest = fixed.len().saturating_sub(NAMED);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{kind}s at {}{more}{each}", named.join(", "))
}

fn started(managed: &Managed) -> String {
    let home = match managed.home {
        Home::Cli => "each with a home of its own",
        Home::Pool => "all with one home",
    };
    let program = managed.command.first().map_or("", String::as_str);
    format!("starts {} of {program:?}, {home}", count(managed.count as usize, "CLI"))
}

fn time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{World, parse};

    fn words(text: &str) -> Vec<String> {
        let world = World { env: &|_| None, folder: Path::new("/") };
        describe(&parse("x", text, &world).unwrap().0)
    }

    const LISTENER: &str =
        "[[listener]]\nname = \"sdk\"\nbind = \"127.0.0.1:4320\"\npool = \"cli\"\n";

    #[test]
    fn a_managed_pool_is_said_in_words() {
        let pool = "[[listener.identity]]\nsource = \"session_id\"\npattern = '(?<user>.+)'\n[[pool]]\nname = \"cli\"\nbalance = \"consistent\"\n[pool.managed]\ncommand = [\"copilot\", \"{port}\"]\ncount = 3\n[metrics]\n";
        assert_eq!(
            words(&format!("{LISTENER}{pool}")),
            [
                "listener sdk: jsonrpc on 127.0.0.1:4320 -> pool cli (3 managed CLIs, consistent by user, own storage); callers by session id",
                "pool cli: starts 3 CLIs of \"copilot\", each with a home of its own; down after 3 failed probes, one every 2s; a create of a known id resumes it",
                "metrics: http://127.0.0.1:9464/metrics",
            ]
        );
    }

    #[test]
    fn sessions_that_are_deleted_are_said_in_words() {
        let pool = "[[pool]]\nname = \"cli\"\nupstreams = [\"127.0.0.1:4321\"]\nephemeral_grace = \"1m\"\n";
        let all = words(&format!("{LISTENER}sessions = \"ephemeral\"\n{pool}"));
        let end = "; its sessions are deleted 1m after their last client has gone";
        assert!(all[0].ends_with(end), "{}", all[0]);
        let some = words(&format!("{LISTENER}ephemeral_pattern = \"tmp-.*\"\n{pool}"));
        let end =
            "; sessions that match \"tmp-.*\" are deleted 1m after their last client has gone";
        assert!(some[0].ends_with(end), "{}", some[0]);
    }

    #[test]
    fn many_addresses_are_counted() {
        let addresses: Vec<String> = (1..=9).map(|n| format!("\"127.0.0.1:{n}\"")).collect();
        let pool = format!("[[pool]]\nname = \"cli\"\nupstreams = [{}]\n", addresses.join(","));
        let words = words(&format!("{LISTENER}{pool}"));
        assert!(words[0].contains("(9 CLIs, least loaded, own storage); one anonymous caller"));
        assert!(words[1].contains("127.0.0.1:4 and 5 more;"), "{}", words[1]);
    }

    #[test]
    fn an_address_elsewhere_may_hide_several_clis() {
        let pool = "[[pool]]\nname = \"cli\"\nupstreams = [\"127.0.0.1:1\", \"10.0.0.1:1\"]\n";
        let words = words(&format!("{LISTENER}{pool}"));
        assert!(words[1].contains("10.0.0.1:1, each address taken for one CLI"), "{}", words[1]);
    }

    #[test]
    fn a_relay_is_said_in_words() {
        let pool =
            "[[pool]]\nname = \"cli\"\nupstreams = [\"127.0.0.1:4321\"]\nsend_proxy = \"v2\"\n";
        let tcp = "protocol = \"tcp\"\n[listener.tcp]\nmax_lifetime = \"1day\"\non_upstream_down = \"cut\"\n";
        assert_eq!(
            words(&format!("{LISTENER}{tcp}{pool}"))[0],
            "listener sdk: tcp on 127.0.0.1:4320 -> pool cli (1 upstream, least loaded); one anonymous caller; \
             bytes pass unread, each connection to one upstream, which is sent a PROXY header v2; \
             cut are those idle for 1h, older than 1day, whose upstream is down"
        );
    }

    #[test]
    fn nothing_of_sessions_is_said_where_none_are_known() {
        let pool = "[[pool]]\nname = \"cli\"\nupstreams = [\"10.0.0.1:1\"]\n";
        assert_eq!(
            words(&format!("{LISTENER}protocol = \"http\"\n{pool}")),
            [
                "listener sdk: http on 127.0.0.1:4320 -> pool cli (1 upstream, least loaded); one anonymous caller",
                "pool cli: upstreams at 10.0.0.1:1, each address taken for one upstream, not for several behind it; \
                 down after 3 failed probes, one every 2s",
            ]
        );
    }

    #[test]
    fn names_are_said_with_what_they_are_taken_for() {
        let pool =
            "[[pool]]\nname = \"cli\"\nupstreams = [\"127.0.0.1:1\", \"cli.example.com:2\"]\n";
        let words = words(&format!("{LISTENER}{pool}"));
        assert!(words[0].contains("(1 CLI, and those of 1 name, least loaded"), "{}", words[0]);
        let said = "CLIs at 127.0.0.1:1, cli.example.com:2, each address taken for one CLI";
        assert!(words[1].contains(said), "{}", words[1]);
    }

    #[test]
    fn what_callers_may_take_is_said() {
        let bounds = "max_conns = 9\nmax_conns_per_address = 8\nmax_conns_per_caller = 7\nrate = { requests = 6, per = \"1m\", burst = 5 }\n";
        let pool = "[[pool]]\nname = \"cli\"\nupstreams = [\"127.0.0.1:1\"]\n";
        let words = words(&format!("{LISTENER}{bounds}{pool}"));
        let said = "; one anonymous caller; at most 9 connections, 8 connections from one address, \
                    7 connections of one caller, 6 requests in 1m of one caller, 5 at once";
        assert!(words[0].ends_with(said), "{}", words[0]);
    }
}
