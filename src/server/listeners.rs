//! From the config of a listener to what serves it.

mod web;

use std::sync::Arc;

use super::build::{longest_wait, upstream_frame};
use super::{StartError, callers};
use crate::config::{self, Balance, Config};
use crate::drain::Tasks;
use crate::listen::door::{self, Door};
use crate::listen::tls::Terminator;
use crate::observe::metrics::{ListenerMetrics, Metrics};
use crate::proxy::admit::Keys;
use crate::proxy::budget::Budget;
use crate::proxy::callers::Callers;
use crate::proxy::edge::Edge;
use crate::proxy::http;
use crate::proxy::jsonrpc;
use crate::proxy::{relay, tcp};
use crate::rpc::frame::FrameLimits;
use crate::rpc::mux::Settings;
use crate::time::{self, Duration};
use crate::upstream::connect::Watchfulness;
use crate::upstream::pool::Pool;

/// A listener's conns are served by this.
#[derive(Clone)]
pub(super) enum Listener {
    /// JSON-RPC, message by message.
    Jsonrpc(Arc<jsonrpc::Listener>),
    /// HTTP, request by request.
    Http(Arc<http::Listener>),
    /// Anything, unread.
    Tcp(Arc<tcp::Listener>),
}

impl Listener {
    /// What it has whatever is spoken.
    pub(super) fn edge(&self) -> &Edge {
        match self {
            Listener::Jsonrpc(listener) => &listener.edge,
            Listener::Http(listener) => &listener.edge,
            Listener::Tcp(listener) => &listener.edge,
        }
    }
}

/// What all listeners share.
pub(super) struct Shared<'a> {
    pub(super) config: &'a Config,
    pub(super) metrics: &'a Metrics,
    pub(super) tasks: &'a Tasks,
    pub(super) pools: &'a [Arc<Pool>],
    pub(super) budget: Arc<Budget>,
}

/// Makes a listener, and starts what follows its certificate and its proofs. `None`: its pool is not there, which no
/// config that was checked has.
pub(super) fn make(
    from: &config::Listener,
    shared: &Shared<'_>,
) -> Result<Option<Listener>, StartError> {
    let Some(pool) = shared.pools.iter().find(|pool| pool.name == from.pool) else {
        return Ok(None);
    };
    let edge = edge(from, shared)?;
    Ok(Some(match from.protocol {
        config::Protocol::Jsonrpc => Listener::Jsonrpc(Arc::new(jsonrpc(from, pool, edge, shared))),
        config::Protocol::Tcp => Listener::Tcp(Arc::new(tcp(from, pool, edge, shared.config))),
        config::Protocol::Http => Listener::Http(Arc::new(web::make(from, edge, shared)?)),
    }))
}

fn edge(from: &config::Listener, shared: &Shared<'_>) -> Result<Edge, StartError> {
    let Shared { config, metrics, tasks, .. } = shared;
    let metrics = metrics.listener(&from.name);
    let affinity = match config.pool(&from.pool).map(|pool| pool.balance) {
        Some(Balance::Consistent { affinity, .. }) => Some(affinity),
        Some(Balance::RoundRobin | Balance::LeastLoaded) | None => None,
    };
    Ok(Edge {
        name: from.name.clone(),
        door: door(config, from, &metrics, tasks)?,
        claims: callers::claims(from, tasks),
        authenticates: from.authenticates(),
        trust: from.trust,
        anonymous: Arc::new(callers::anonymous(from)),
        callers: Callers::new(&from.callers, from.identities().take_tokens(), time::now()),
        keys: Keys { identity: from.identity.clone(), affinity },
        metrics,
    })
}

/// What clients of a listener pass before their first frame. Starts what follows its certificate.
fn door(
    config: &Config,
    from: &config::Listener,
    metrics: &ListenerMetrics,
    tasks: &Tasks,
) -> Result<Option<Door>, StartError> {
    let failed = |error| StartError::Tls(from.name.clone(), error);
    let tls = match &from.tls {
        Some(tls) => {
            let made = Terminator::new(tls, |name| metrics.tls_not_after(name)).map_err(failed)?;
            let made = Arc::new(made);
            tasks.spawn_aside("certificate", Arc::clone(&made).follow(from.name.clone()));
            Some(made)
        }
        None => None,
    };
    let trusted = from.proxy_protocol.as_ref().map(|proxies| proxies.trusted.clone());
    let deadline = config.limits.handshake_timeout;
    let has = tls.is_some() || trusted.is_some();
    Ok(has.then(|| Door::new(tls, trusted, deadline, door::UNDER_WAY)))
}

fn tcp(from: &config::Listener, pool: &Arc<Pool>, edge: Edge, config: &Config) -> tcp::Listener {
    let with = &from.tcp;
    let send_proxy = config.pool(&from.pool).and_then(|pool| pool.send_proxy);
    let with = tcp::Settings {
        connect_timeout: with.connect_timeout,
        connect_retries: with.connect_retries,
        limits: relay::Limits {
            idle: with.idle_timeout,
            half_closed: with.half_close_timeout,
            stall: Some(config.limits.stall_timeout),
        },
        max_lifetime: with.max_lifetime,
        watchfulness: Watchfulness {
            keepalive: with.upstream_keepalive,
            user_timeout: with.upstream_user_timeout,
        },
        on_upstream_down: match with.on_upstream_down {
            config::OnUpstreamDown::Keep => tcp::OnUpstreamDown::Keep,
            config::OnUpstreamDown::Cut => tcp::OnUpstreamDown::Cut,
        },
        send_proxy: send_proxy.map(|version| match version {
            config::SendProxy::V1 => tcp::SendProxy::V1,
            config::SendProxy::V2 => tcp::SendProxy::V2,
        }),
    };
    tcp::Listener { edge, pool: Arc::clone(pool), with }
}

/// How much longer a conn waits for the end of `connect_wait` than that is.
const GREETED: Duration = Duration::from_secs(1);

/// Sessions that one conn may use at a time before it forgets those that it left.
const SLOTS: usize = 4096;

fn jsonrpc(
    from: &config::Listener,
    pool: &Arc<Pool>,
    edge: Edge,
    shared: &Shared<'_>,
) -> jsonrpc::Listener {
    let config = shared.config;
    let limits = &config.limits;
    let caps = config.pool(&from.pool).map(|pool| pool.caps.clone()).unwrap_or_default();
    let settings = Settings {
        client_frame: FrameLimits {
            header: limits.max_header_bytes,
            body: limits.max_client_frame,
        },
        upstream_frame: upstream_frame(config),
        link_queue: limits.max_link_queue,
        client_queue: limits.max_client_queue,
        pending: limits.max_pending,
        slots: SLOTS,
        request_timeout: limits.request_timeout,
        client_request_timeout: limits.client_request_timeout,
        handshake_timeout: limits.handshake_timeout,
        seek_timeout: limits.lookup_timeout + longest_wait(limits) + caps.queue_timeout,
        bounds_turns: caps.bounds_turns(),
        greet_timeout: limits.connect_wait + GREETED,
        discard_timeout: limits.discard_timeout,
        finish_timeout: limits.finish_timeout,
        authentication: callers::authentication(from),
        authentication_timeout: limits.handshake_timeout,
        policy: callers::policy(config, from),
    };
    jsonrpc::Listener {
        edge,
        settings: Arc::new(settings),
        required_id: from.required_id.clone(),
        classes: callers::classes(from),
        pool: Arc::clone(pool),
        connect_wait: limits.connect_wait,
        stall_timeout: limits.stall_timeout,
        buffered: Arc::clone(&shared.budget),
    }
}
