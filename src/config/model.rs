//! What fairlead was asked to do, as plain structs: every default filled in, every name known to exist.
//!
//! Made by [`super::load`] alone, so whoever holds a [`Config`] holds a right one. No TOML types here.

/// The words of an enum in the file, and the way back.
macro_rules! words {
    ($($type:ident { $($word:literal => $variant:ident),+ $(,)? })+) => {$(
        impl $type {
            /// Each value with its word in the file.
            pub const WORDS: &[(&str, $type)] = &[$(($word, $type::$variant)),+];

            /// Its word in the file.
            pub const fn word(self) -> &'static str {
                match self {
                    $($type::$variant => $word),+
                }
            }
        }
    )+};
}

mod access;
mod callers;
mod caps;
mod dns;
mod http;
mod identity;
mod limits;
mod pool;
mod tcp;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use access::{Authentication, Grant, Sessions, UnknownSessions};
pub use callers::{CallerLimits, CallerRate};
pub use caps::Caps;
pub use dns::{Dns, Family};
pub use http::{Cookie, Http, Route};
pub use identity::{Identity, Jwt, KeySource, Named, Pattern, TokenFile};
pub use limits::Limits;
pub use pool::{
    Address, Affinity, Balance, CreateExisting, EnvValue, Health, Home, HttpProbe, Managed, Pool,
    Probe, Statuses, Storage, Upstream, Upstreams,
};
pub use tcp::{OnUpstreamDown, SendProxy, Tcp};
pub use tls::{ClientAuth, ClientCa, MinVersion, PoolTls, ProxyProtocol, Sni, Tls};

use crate::caller::Trust;
use crate::identity::Identities;
use crate::identity::jwt::Algorithm;
use crate::identity::request::Yields;
use crate::rpc::methods::Method;
use crate::time::Duration;

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the list of managed processes and the homes of managed CLIs are kept. Absolute.
    pub state_dir: PathBuf,
    /// Threads.
    pub runtime: Runtime,
    /// Where clients connect; at least one, names and binds are unique.
    pub listeners: Vec<Listener>,
    /// The fleets; names are unique.
    pub pools: Vec<Pool>,
    /// How names of upstreams are resolved.
    pub dns: Dns,
    /// How long it is known whose sessions are.
    pub ledger: Ledger,
    /// Where metrics are served, if anywhere.
    pub metrics: Option<Metrics>,
    /// How fairlead leaves.
    pub drain: Drain,
    /// Every bound on what others can make fairlead hold or wait for.
    pub limits: Limits,
    /// How the log looks.
    pub log: Log,
}

impl Config {
    /// The pool of this name. Every `Listener::pool` has one.
    pub fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|p| p.name == name)
    }

    /// Whether sessions of this pool are known of: a listener speaks JSON-RPC with it.
    pub fn has_sessions(&self, pool: &str) -> bool {
        let speaks = |l: &Listener| l.protocol == Protocol::Jsonrpc && l.uses(pool);
        self.listeners.iter().any(speaks)
    }

    /// Whether CLIs serve this pool, as far as can be known.
    pub fn has_clis(&self, pool: &Pool) -> bool {
        matches!(pool.upstreams, Upstreams::Managed(_))
            || pool.health.probe == Probe::Ping
            || self.has_sessions(&pool.name)
    }

    /// Whether any listener of this pool tells its callers apart.
    pub fn tells_apart(&self, pool: &str) -> bool {
        self.listeners.iter().any(|listener| listener.pool == pool && listener.tells_apart())
    }
}

/// `[runtime]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Worker threads, at least 1.
    pub workers: usize,
}

/// One `[[listener]]`.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name in logs and metrics.
    pub name: String,
    /// Where it accepts; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// The pool that serves it: the name of one of `Config::pools`.
    pub pool: String,
    /// The operator accepts that anybody who reaches `bind` is served.
    pub insecure: bool,
    /// Idle time before TCP probes whether the client is still there; `None`: never.
    pub tcp_keepalive: Option<Duration>,
    /// How TLS is spoken; `None`: it is not.
    pub tls: Option<Tls>,
    /// How it relays, where it speaks `tcp`.
    pub tcp: Tcp,
    /// Whose PROXY headers count; `None`: nobody's, and they are not looked for.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Who is calling: asked in this order, the first that yields wins; none: one anonymous caller.
    pub identity: Vec<Identity>,
    /// Whether who proves nothing is served.
    pub authentication: Authentication,
    /// Whom a conn acts for where its proof does not say.
    pub trust: Trust,
    /// What the id of a session that is made here must match as a whole; `None`: anything.
    pub required_id: Option<Pattern>,
    /// How long the sessions live that are made here.
    pub sessions: Sessions,
    /// What the id of a session matches as a whole that is ephemeral in any case.
    pub ephemeral_pattern: Option<Pattern>,
    /// Whose a session is that exists and that nobody is known to own.
    pub unknown_sessions: UnknownSessions,
    /// What one caller and one address may take.
    pub callers: CallerLimits,
    /// Methods that are allowed here though they are not by default. None of them is in `deny`.
    pub allow: Vec<&'static Method>,
    /// Methods that are taken away.
    pub deny: Vec<&'static Method>,
    /// How HTTP is spoken, where it is.
    pub http: Http,
    /// Requests that go to other pools than `pool`.
    pub routes: Vec<Route>,
}

impl Listener {
    /// Whether anything that comes here can go to this pool.
    pub fn uses(&self, pool: &str) -> bool {
        self.pool == pool || self.routes.iter().any(|route| route.pool == pool)
    }

    /// Whether its callers can have the key of this affinity.
    pub fn yields(&self, affinity: Affinity) -> bool {
        // Each session of CLIs has its id.
        let always = affinity == Affinity::Session && self.protocol == Protocol::Jsonrpc;
        always || self.identity.iter().any(|i| i.yields(affinity))
    }

    /// Whether anything proves who calls.
    pub fn proves(&self) -> bool {
        self.identity.iter().any(Identity::proves)
    }

    /// Whether sessions can be made here that do not outlive their clients.
    pub fn makes_ephemeral(&self) -> bool {
        self.sessions == Sessions::Ephemeral || self.ephemeral_pattern.is_some()
    }

    /// Whether something has to be remembered of its sessions.
    pub fn keeps_books(&self) -> bool {
        self.tells_apart() || self.makes_ephemeral()
    }

    /// Whether sessions of one caller are kept from others: where sessions are known of, and callers.
    pub fn tells_apart(&self) -> bool {
        self.protocol == Protocol::Jsonrpc && self.proves()
    }

    /// Whether only callers that proved who they are get in.
    pub fn authenticates(&self) -> bool {
        self.authentication == Authentication::Required
    }

    /// What asks its callers who they are.
    pub fn identities(&self) -> Identities {
        Identities::new(self.identity.iter().filter_map(Identity::extractor).collect())
    }
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// JSON-RPC 2.0 with Content-Length framing, as the Copilot SDKs.
    Jsonrpc,
    /// Bytes.
    Tcp,
    /// HTTP/1.1 and HTTP/2.
    Http,
}

/// `[ledger]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// How long a session must be unused before it is asked whether it is there still; `None`: it never is.
    pub forget_after: Option<Duration>,
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Where `/metrics`, `/livez` and `/readyz` are served.
    pub bind: SocketAddr,
}

/// `[drain]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// How long turns may go on once fairlead is leaving.
    pub drain_timeout: Duration,
    /// How long it still accepts after readiness is gone.
    pub shutdown_delay: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Drain { drain_timeout: Duration::from_secs(30), shutdown_delay: Duration::ZERO }
    }
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// JSON lines or text.
    pub format: LogFormat,
    /// What is logged.
    pub level: LogLevel,
    /// Whether there is a line for each conn, session, turn and request that ended.
    pub access: bool,
}

impl Default for Log {
    fn default() -> Self {
        Log { format: LogFormat::Auto, level: LogLevel::Info, access: true }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// The least severe event that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogLevel {
    /// Failures.
    Error,
    /// And what may become one.
    Warn,
    /// And one line per conn, session and turn.
    Info,
    /// And what explains a decision.
    Debug,
    /// And everything.
    Trace,
}

words! {
    Protocol { "jsonrpc" => Jsonrpc, "tcp" => Tcp, "http" => Http }
    Yields { "user" => User, "session" => Session }
    Trust { "user" => User, "backend" => Backend }
    Algorithm { "HS256" => Hs256, "RS256" => Rs256, "ES256" => Es256, "EdDSA" => EdDsa }
    LogFormat { "auto" => Auto, "json" => Json, "text" => Text }
    LogLevel { "error" => Error, "warn" => Warn, "info" => Info, "debug" => Debug, "trace" => Trace }
}
