//! What must agree between the parts of a file: names, addresses, pools and who uses them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;

use toml::Spanned;

use super::{effect, listener, pool};
use crate::config::file::Problems;
use crate::config::model::{Address, Affinity, Balance, Listener, Metrics, Protocol};
use crate::config::values;

pub(super) fn check(
    listeners: &[listener::Draft],
    pools: &[pool::Draft],
    pools_read: bool,
    metrics: Option<&(Range<usize>, Metrics)>,
    problems: &Problems<'_>,
) {
    unique("listener", listeners.iter().filter_map(|l| l.name.as_ref()), problems);
    unique("pool", pools.iter().filter_map(|p| p.name.as_ref()), problems);
    binds(listeners, metrics, problems);
    if pools_read && pools.iter().all(|p| p.name.is_some()) {
        pool_names(listeners, pools, problems);
    }
    upstreams(listeners, pools, problems);
    affinity(listeners, pools, problems);
    grace(listeners, pools, problems);
    send_proxy(listeners, pools, problems);
    bypass(listeners, problems);
    effect::check(listeners, pools, problems);
}

fn unique<'n>(
    what: &str,
    names: impl Iterator<Item = &'n Spanned<String>>,
    problems: &Problems<'_>,
) {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !seen.insert(name.get_ref()) {
            let message = format!("there is already a {what} named {:?}", name.get_ref());
            problems.error(&name.span(), message);
        }
    }
}

fn binds(
    listeners: &[listener::Draft],
    metrics: Option<&(Range<usize>, Metrics)>,
    problems: &Problems<'_>,
) {
    let mut taken: Vec<(SocketAddr, String)> = Vec::new();
    let of_listeners = listeners.iter().filter_map(|l| {
        let bind = l.bind.as_ref()?;
        let name = l.name.as_ref().map_or("?", |n| n.get_ref().as_str());
        Some((*bind.get_ref(), bind.span(), format!("listener {name:?}")))
    });
    let of_metrics = metrics.map(|(at, m)| (m.bind, at.clone(), "[metrics]".to_owned()));
    for (bind, at, who) in of_listeners.chain(of_metrics) {
        if let Some((other, owner)) = taken.iter().find(|(other, _)| collide(*other, bind)) {
            problems.error(&at, format!("{bind} is taken: {owner} binds {other}"));
        }
        taken.push((bind, who));
    }
}

/// Whether two sockets cannot both listen: a wildcard takes the port on every address.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let (any_a, any_b) = (a.ip().is_unspecified(), b.ip().is_unspecified());
    // `[::]` listens on IPv4 too; `0.0.0.0` leaves IPv6 free.
    let covers = (any_a && (a.is_ipv6() || b.is_ipv4())) || (any_b && (b.is_ipv6() || a.is_ipv4()));
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || covers)
}

/// All names of pools are known: one that is not readable may be the one that is meant.
fn pool_names(listeners: &[listener::Draft], pools: &[pool::Draft], problems: &Problems<'_>) {
    let known: Vec<_> = pools.iter().filter_map(|p| p.name.as_ref()).collect();
    let mut used: Vec<Option<&str>> = Vec::new();
    for listener in listeners {
        if listener.pool.is_none() {
            used.push(None);
        }
        for wanted in listener.pool.iter().chain(&listener.route_pools) {
            let name = wanted.get_ref().as_str();
            let found = known.iter().any(|k| k.get_ref() == name);
            used.push(found.then_some(name));
            if !found {
                let near = values::nearest(name, known.iter().map(|k| k.get_ref().as_str()));
                problems.suggest(&wanted.span(), format!("there is no pool {name:?}"), near);
            }
        }
    }
    // A listener whose pool is not known may mean any of them.
    if used.is_empty() || used.contains(&None) {
        return;
    }
    for name in known.iter().filter(|k| !used.contains(&Some(k.get_ref().as_str()))) {
        let message = format!("no listener uses the pool {:?}", name.get_ref());
        problems.warn(&name.span(), message);
    }
}

fn upstreams(listeners: &[listener::Draft], pools: &[pool::Draft], problems: &Problems<'_>) {
    let mut elsewhere: BTreeMap<&Address, &str> = BTreeMap::new();
    for pool in pools {
        let mut addresses = std::collections::BTreeSet::new();
        let mut names = std::collections::BTreeSet::new();
        for upstream in &pool.upstreams {
            let (at, upstream) = (upstream.span(), upstream.get_ref());
            let address = &upstream.address;
            if !addresses.insert(address) {
                problems.error(&at, format!("{address} is already in this pool"));
            } else if !names.insert(&upstream.name) {
                let message =
                    format!("an upstream of this pool is already named {:?}", upstream.name);
                problems.error(&at, message);
            }
            if let Some(other) = elsewhere.get(address) {
                let message = format!(
                    "{address} is in pool {other:?} too: neither knows the sessions of the other"
                );
                problems.warn(&at, message);
            }
            let own = |l: &&listener::Draft| {
                l.bind.as_ref().is_some_and(|b| Address::Socket(*b.get_ref()) == *address)
            };
            if listeners.iter().any(|l| own(&l)) {
                problems.error(&at, format!("{address} is a listener of this fairlead: a loop"));
            }
        }
        let name = pool.name.as_ref().map_or("?", |n| n.get_ref().as_str());
        elsewhere.extend(addresses.into_iter().map(|address| (address, name)));
    }
}

fn affinity(listeners: &[listener::Draft], pools: &[pool::Draft], problems: &Problems<'_>) {
    for draft in pools {
        let Some(pool) = &draft.pool else { continue };
        let Balance::Consistent { affinity, .. } = pool.balance else { continue };
        for listener in listeners.iter().filter_map(|l| l.listener.as_ref()) {
            if listener.uses(&pool.name) && !listener.yields(affinity) {
                let what = affinity.word();
                problems.warn(
                    &draft.balance_at,
                    format!(
                        "pool {:?} is consistent by {what}, but no identity of listener {:?} yields a {what}: {}",
                        pool.name,
                        listener.name,
                        instead(listener)
                    ),
                );
            }
        }
    }
}

/// What is placed by what, where there is no key as asked for.
fn instead(listener: &Listener) -> String {
    let what = match listener.protocol {
        Protocol::Jsonrpc => return "each session is placed by its id".into(),
        Protocol::Http => "each request",
        Protocol::Tcp => "each connection",
    };
    let other = [Affinity::Session, Affinity::User].into_iter().find(|a| listener.yields(*a));
    match other {
        Some(other) => format!("{what} is placed by its {}", other.word()),
        None => format!("{what} goes where the load is least"),
    }
}

/// A time that nothing is measured by.
fn grace(listeners: &[listener::Draft], pools: &[pool::Draft], problems: &Problems<'_>) {
    // A listener that could not be read may be the one.
    if listeners.iter().any(|draft| draft.listener.is_none()) {
        return;
    }
    for draft in pools {
        let (Some(pool), Some(at)) = (&draft.pool, &draft.ephemeral_grace_at) else { continue };
        let mut listeners = listeners.iter().filter_map(|l| l.listener.as_ref());
        if !listeners.any(|l| l.pool == pool.name && l.makes_ephemeral()) {
            problems.warn(
                at,
                "ephemeral_grace has no effect: no listener of the pool makes ephemeral sessions",
            );
        }
    }
}

/// A way past what another listener keeps apart.
fn bypass(listeners: &[listener::Draft], problems: &Problems<'_>) {
    let all = || listeners.iter().filter_map(|l| Some((l.pool.as_ref()?, l.listener.as_ref()?)));
    for (at, open) in all().filter(|(_, l)| l.protocol == Protocol::Tcp) {
        if let Some((_, shut)) = all().find(|(_, l)| l.pool == open.pool && l.tells_apart()) {
            let message = format!(
                "callers of listener {:?} are kept apart, but not from those of listener {:?}: its bytes pass unread",
                shut.name, open.name
            );
            problems.warn(&at.span(), message);
        }
    }
}

/// A header that only one kind of listener sends.
fn send_proxy(listeners: &[listener::Draft], pools: &[pool::Draft], problems: &Problems<'_>) {
    for draft in pools {
        let Some(pool) = draft.pool.as_ref().filter(|pool| pool.send_proxy.is_some()) else {
            continue;
        };
        let mut listeners = listeners.iter().filter_map(|l| l.listener.as_ref());
        let other = |l: &&Listener| l.uses(&pool.name) && l.protocol != Protocol::Tcp;
        if let Some(listener) = listeners.find(other) {
            let message = format!(
                "send_proxy needs protocol = \"tcp\", and listener {:?} speaks {:?}",
                listener.name,
                listener.protocol.word()
            );
            problems.error(&draft.send_proxy_at, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_takes_the_port_on_every_address() {
        let collide = |a: &str, b: &str| collide(a.parse().unwrap(), b.parse().unwrap());
        for (a, b) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("127.0.0.1:1", "[::]:1"),
            ("[::]:1", "0.0.0.0:1"),
        ] {
            assert!(collide(a, b) && collide(b, a), "{a} {b}");
        }
        for (a, b) in [
            ("127.0.0.1:1", "127.0.0.1:2"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("127.0.0.1:1", "127.0.0.2:1"),
            ("0.0.0.0:1", "[::1]:1"),
        ] {
            assert!(!collide(a, b) && !collide(b, a), "{a} {b}");
        }
    }
}
