//! Pools: which CLIs, and how sessions find theirs.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use super::access::Grant;
use super::caps::Caps;
use super::tcp::SendProxy;
use super::tls::PoolTls;
use crate::config::secret::Secret;
use crate::health::outlier::Rule;
use crate::time::Duration;

/// One `[[pool]]`: CLIs that can serve the same sessions.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its name in logs, metrics and paths: letters, digits, `_`, `-` and `.`, no leading `.`.
    pub name: String,
    /// The CLIs, or how to start them.
    pub upstreams: Upstreams,
    /// How a new session finds its CLI.
    pub balance: Balance,
    /// Whether the CLIs see each other's sessions on disk.
    pub storage: Storage,
    /// What a `session.create` with a known id becomes.
    pub create_existing: CreateExisting,
    /// How long an ephemeral session lives without a client.
    pub ephemeral_grace: Duration,
    /// The CLIs' own connection token (`COPILOT_CONNECTION_TOKEN`). Managed CLIs are given it.
    pub token: Option<Secret>,
    /// How TLS is spoken with them; `None`: it is not.
    pub tls: Option<PoolTls>,
    /// The PROXY header that its upstreams are sent; `None`: none.
    pub send_proxy: Option<SendProxy>,
    /// When a CLI is up, down and dead.
    pub health: Health,
    /// Who takes no requests for a while; `None`: nobody.
    pub outlier: Option<Rule>,
    /// How much may be in use at once.
    pub caps: Caps,
    /// Whom else the owners of its sessions let in.
    pub grants: Vec<Grant>,
}

/// Where the CLIs of a pool come from.
#[derive(Clone, Debug)]
pub enum Upstreams {
    /// They run already, at these addresses or those that names have; at least one, addresses and names are unique.
    Fixed(Vec<Upstream>),
    /// fairlead starts and stops them.
    Managed(Managed),
}

/// Where upstreams listen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// One, here.
    Socket(SocketAddr),
    /// One at each address that this name has; lower case.
    Name {
        /// The name, as DNS or the file of hosts knows it.
        host: String,
        /// The port of each.
        port: u16,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Socket(address) => address.fmt(f),
            Address::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl Address {
    /// Whether somebody else's machine may be there.
    pub fn is_far(&self) -> bool {
        match self {
            Address::Socket(address) => !address.ip().is_loopback(),
            Address::Name { .. } => true,
        }
    }

    /// Whether it is what a Kubernetes Service is called in full (`cli.default.svc`, `cli.default.svc.cluster.local`): a name
    /// that has the address of each pod if the Service is headless, and one for all of them if it is not.
    pub fn is_service(&self) -> bool {
        let Address::Name { host, .. } = self else { return false };
        let mut labels = host.trim_end_matches('.').split('.').skip(2);
        labels.next() == Some("svc")
    }
}

/// One CLI that runs already, or those that a name names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its name in logs and metrics; by default its address. Those of a name are called by theirs.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// It is the name of a Service that the operator says is headless.
    pub headless: bool,
    /// Its share of new sessions, relative to the others; at least 1.
    pub weight: u32,
    /// The most sessions that it holds at a time; `None`: no bound.
    pub max_sessions: Option<u32>,
}

/// `[pool.managed]`: CLIs that fairlead starts.
#[derive(Clone, Debug)]
pub struct Managed {
    /// Program and arguments; at least one argument has `{port}`, which becomes the CLI's port.
    pub command: Vec<String>,
    /// How many CLIs, at least 1.
    pub count: u32,
    /// Variables to set for each CLI.
    pub env: BTreeMap<String, EnvValue>,
    /// Whose `COPILOT_HOME` a CLI gets.
    pub home: Home,
    /// From start to the first answer; then it is stopped and started again.
    pub ready_deadline: Duration,
    /// From TERM to KILL.
    pub stop_timeout: Duration,
    /// The first wait before a restart; doubles with each failure.
    pub restart_backoff_min: Duration,
    /// The longest wait before a restart; not below the first.
    pub restart_backoff_max: Duration,
    /// The most sessions that each CLI holds at a time; `None`: no bound.
    pub max_sessions: Option<u32>,
    /// The share of each CLI in new sessions; at least 1.
    pub weight: u32,
}

/// The value of a variable of a managed CLI.
#[derive(Clone, Debug)]
pub enum EnvValue {
    /// As it stands in the file.
    Plain(String),
    /// A secret.
    Secret(Secret),
}

impl EnvValue {
    /// The value itself, secret or not. For the child's environment, never for a log.
    pub fn expose(&self) -> &str {
        match self {
            EnvValue::Plain(text) => text,
            EnvValue::Secret(secret) => secret.expose(),
        }
    }
}

/// Whose `COPILOT_HOME` a managed CLI gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Home {
    /// One for each CLI.
    Cli,
    /// One for all CLIs of the pool.
    Pool,
}

/// How a new session finds its CLI.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Balance {
    /// One after the other, by weight.
    RoundRobin,
    /// The one with the fewest sessions for its weight.
    LeastLoaded,
    /// By the hash of a key, with bounded load.
    Consistent {
        /// What is hashed.
        affinity: Affinity,
        /// The most load of one CLI, as a multiple of the average; above 1, infinite for no bound.
        factor: f64,
    },
}

/// The key of [`Balance::Consistent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Affinity {
    /// The caller's user.
    User,
    /// The caller's tenant.
    Tenant,
    /// The session's id.
    Session,
}

/// Whether the CLIs of a pool see each other's sessions on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Storage {
    /// Each its own: a session stays with its CLI.
    Own,
    /// One for all: any CLI can resume any session.
    Shared,
}

/// What a `session.create` with a known id becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CreateExisting {
    /// A resume.
    Resume,
    /// Itself: the CLI starts the session blank.
    Pass,
    /// An error.
    Refuse,
}

/// `[pool.health]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// How it is found out whether one is well.
    pub probe: Probe,
    /// From one probe to the next.
    pub interval: Duration,
    /// How long a probe waits for its answer.
    pub timeout: Duration,
    /// Answers in a row that make a CLI up.
    pub rise: u32,
    /// Failures in a row that make it down: no new sessions.
    pub fall: u32,
    /// Total silence, with something outstanding, after which its links are lost.
    pub dead_after: Duration,
}

/// How it is found out whether an upstream is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It answers a JSON-RPC ping.
    Ping,
    /// It takes a connection.
    Tcp,
    /// It answers a request.
    Http(HttpProbe),
}

impl Probe {
    /// Its word in the file.
    pub const fn word(&self) -> &'static str {
        match self {
            Probe::Ping => "ping",
            Probe::Tcp => "tcp",
            Probe::Http(_) => "http",
        }
    }
}

/// What is asked over HTTP, and which answers are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// What is asked for: it begins with `/`.
    pub path: String,
    /// The host that is named; `None`: the upstream's address.
    pub host: Option<String>,
    /// The statuses that are good; at least one.
    pub expect: Vec<Statuses>,
}

/// HTTP statuses from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    /// The first.
    pub first: u16,
    /// The last; not below the first.
    pub last: u16,
}

impl Statuses {
    /// Whether this one is among them.
    pub fn has(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Statuses { first, last } = self;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

impl Default for Health {
    fn default() -> Self {
        Health {
            probe: Probe::Ping,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
            dead_after: Duration::from_secs(15),
        }
    }
}

words! {
    Home { "cli" => Cli, "pool" => Pool }
    Affinity { "user" => User, "tenant" => Tenant, "session" => Session }
    Storage { "own" => Own, "shared" => Shared }
    CreateExisting { "resume" => Resume, "pass" => Pass, "refuse" => Refuse }
}
