//! From the config of an `http` listener to what serves it.

use std::sync::Arc;

use http::HeaderValue;
use ring::rand::SecureRandom as _;

use super::Shared;
use crate::config::{self, Affinity, Balance, Identity};
use crate::identity::request::Source;
use crate::proxy::admit::Keys;
use crate::proxy::edge::Edge;
use crate::proxy::http::cookie;
use crate::proxy::http::guard::Bounds;
use crate::proxy::http::relay::Patience;
use crate::proxy::http::routes::{Route, Routes};
use crate::proxy::http::{Listener, Place, Settings};
use crate::server::StartError;
use crate::time::Duration;
use crate::wire::target;

/// How long a client that has closed its side is answered still. Most have gone altogether, and what they asked for may cost.
const HALF: Duration = Duration::from_secs(5);

/// How long the key of a cookie is that nobody was given, in bytes.
const KEY: usize = 32;

/// Makes a listener. Errors: the system has no random numbers.
pub(super) fn make(
    from: &config::Listener,
    edge: Edge,
    shared: &Shared<'_>,
) -> Result<Listener, StartError> {
    let place = |pool: &str| {
        let found = shared.pools.iter().find(|known| known.name == pool)?;
        let keys = Keys { affinity: affinity(shared.config, pool), ..edge.keys.clone() };
        Some(Arc::new(Place { pool: Arc::clone(found), keys }))
    };
    let missing = || StartError::System("find a pool", std::io::ErrorKind::NotFound.into());
    let mut routes = Vec::with_capacity(from.routes.len());
    for config::Route { host, path, pool } in &from.routes {
        let (host, path) = (host.clone(), target::meaning(path).into());
        routes.push(Route { host, path, to: place(pool).ok_or_else(missing)? });
    }
    let routes = Routes::new(routes, place(&from.pool).ok_or_else(missing)?);
    let metrics = edge.metrics.http();
    let (with, buffered) = (settings(from, shared)?, Arc::clone(&shared.budget));
    Ok(Listener { routes, with, buffered, metrics, edge })
}

fn affinity(config: &config::Config, pool: &str) -> Option<Affinity> {
    match config.pool(pool)?.balance {
        Balance::Consistent { affinity, .. } => Some(affinity),
        Balance::RoundRobin | Balance::LeastLoaded => None,
    }
}

fn settings(from: &config::Listener, shared: &Shared<'_>) -> Result<Settings, StartError> {
    let http = &from.http;
    let rules = || {
        from.identity.iter().filter_map(|identity| match identity {
            Identity::Request(rule) => Some(rule),
            Identity::SessionId(_)
            | Identity::Token(_)
            | Identity::Jwt(_)
            | Identity::Mtls(_)
            | Identity::ProxyTlv(_)
            | Identity::SourceIp(_) => None,
        })
    };
    let spoofable = rules().filter_map(|rule| match (&rule.source, &rule.trusted) {
        (Source::Header(name), Some(trusted)) => Some((name.clone(), trusted.clone())),
        (_, _) => None,
    });
    let naming = rules().filter_map(|rule| match &rule.source {
        Source::Header(name) => Some(name.clone()),
        Source::Cookie(_)
        | Source::Query(_)
        | Source::Path(_)
        | Source::Basic
        | Source::Json(_)
        | Source::Address
        | Source::Sni => None,
    });
    let in_bodies = rules().any(|rule| matches!(rule.source, Source::Json(_)));
    let tokens = from.identities().take_tokens();
    Ok(Settings {
        bounds: Bounds { head: http.max_head, target: http.max_target, fields: http.max_fields },
        inspected: in_bodies.then_some(http.max_inspected_body),
        max_body: http.max_body.map(|most| most as u64),
        trusted: http.trusted.clone(),
        spoofable: spoofable.collect(),
        naming: naming.collect(),
        affinity: http.cookie.as_ref().map(|named| cookie(named, from)).transpose()?.map(Arc::new),
        patience: Patience {
            first_byte: http.first_byte_timeout,
            body: http.body_timeout,
            idle: http.idle_timeout,
            half: HALF,
        },
        connect_timeout: http.connect_timeout,
        head_timeout: http.head_timeout,
        keep_alive: http.keep_alive_timeout,
        max_requests: http.max_requests,
        retries: http.retries,
        challenge: tokens.then_some(HeaderValue::from_static("Bearer realm=\"fairlead\"")),
        log: shared.config.log.access,
    })
}

fn cookie(
    from: &config::Cookie,
    listener: &config::Listener,
) -> Result<cookie::Affinity, StartError> {
    let of_process = || {
        let mut key = [0; KEY];
        let random = ring::rand::SystemRandom::new().fill(&mut key);
        let none = |_| StartError::System("make a key", std::io::ErrorKind::Unsupported.into());
        random.map(|()| key.to_vec()).map_err(none)
    };
    let key = match &from.secret {
        Some(secret) => secret.expose().as_bytes().to_vec(),
        None => of_process()?,
    };
    let others: Vec<&str> = listener.routes.iter().map(|route| route.pool.as_str()).collect();
    Ok(cookie::Affinity::new(&from.name, &listener.pool, &others, from.ttl.as_secs(), &key))
}
