//! From a config to running parts.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Weak};

use tokio::net::TcpListener;

use super::listeners::{self, Listener};
use super::members::{Made, Members};
use super::workers::Workers;
use super::{Addresses, StartError, callers, managed, secrets};
use crate::balance::Policy;
use crate::config::{self, Balance, Config, Limits, Upstreams};
use crate::drain::{self, Tasks, Trigger, Watcher};
use crate::health::state::State;
use crate::ledger::Ledger;
use crate::listen::bind::bind;
use crate::observe::endpoints::{self, Endpoints};
use crate::observe::metrics::{MethodName, Metrics, Vocabulary};
use crate::observe::readiness::Readiness;
use crate::probe::watch;
use crate::proxy::budget::Budget;
use crate::rpc::frame::FrameLimits;
use crate::rpc::methods::{self, Route};
use crate::session::quota::Bounds;
use crate::session::table::{self, CreateExisting, Storage};
use crate::time::Duration;
use crate::upstream::member::{self, Member};
use crate::upstream::pool::{self, Patience, Pool};
use crate::upstream::source::managed::{Home, Managed, Spec, StateDir};

/// Everything that runs.
pub(super) struct Server {
    pub(super) config: Config,
    pub(super) pools: Vec<Arc<Pool>>,
    pub(super) managed: Vec<Managed>,
    pub(super) accepting: Vec<(TcpListener, Listener, Option<Duration>)>,
    pub(super) workers: Arc<Workers>,
    pub(super) tasks: Tasks,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Readiness,
    pub(super) trigger: Trigger,
    pub(super) watcher: Watcher,
    /// Holds the state directory for as long as the process runs.
    pub(super) _state: Option<StateDir>,
}

/// Builds and starts all parts; nothing is accepted yet.
pub(super) async fn build(
    config: &Config,
    dropped_lines: impl Fn() -> u64 + Send + Sync + 'static,
) -> Result<(Server, Addresses), StartError> {
    let (trigger, watcher) = drain::new();
    let tasks = Tasks::new();
    let readiness = Readiness::new();
    let metrics = metrics(&tasks, dropped_lines);
    let metrics_listener = match &config.metrics {
        Some(at) => Some(listen("metrics", at.bind)?),
        None => None,
    };
    let mut sockets = Vec::new();
    for listener in &config.listeners {
        sockets.push(listen(&format!("listener {}", listener.name), listener.bind)?);
    }
    let addresses = Addresses {
        listeners: sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect(),
        metrics: metrics_listener.as_ref().and_then(|socket| socket.local_addr().ok()),
    };
    let state = open_state(config).await?;
    let rpc = Arc::clone(&metrics);
    let workers = Workers::start(config.runtime.workers, &tasks, || rpc.rpc())
        .map_err(|error| StartError::System("start a worker", error))?;
    let mut maker = Maker {
        config,
        metrics: &metrics,
        tasks: &tasks,
        readiness: &readiness,
        state: state.as_ref(),
        ledger: callers::ledger(config, &metrics)?,
        watcher: &watcher,
        last: Arc::default(),
        managed: Vec::new(),
    };
    let pools: Vec<Arc<Pool>> =
        config.pools.iter().map(|pool| maker.pool(pool)).collect::<Result<_, _>>()?;
    let managed = maker.managed;
    // Not held by the metrics: what the pools hold reports to these, and would never end.
    let counted: Vec<Weak<Pool>> = pools.iter().map(Arc::downgrade).collect();
    metrics.at_scrape(move || {
        counted.iter().filter_map(Weak::upgrade).for_each(|pool| pool.publish());
    });
    let shared = listeners::Shared {
        config,
        metrics: &metrics,
        tasks: &tasks,
        pools: &pools,
        budget: Arc::new(Budget::new(config.limits.max_buffered_bytes)),
    };
    let mut accepting = Vec::new();
    for (socket, listener) in sockets.into_iter().zip(&config.listeners) {
        if let Some(made) = listeners::make(listener, &shared)? {
            accepting.push((socket, made, listener.tcp_keepalive));
        }
    }
    if let Some(listener) = metrics_listener {
        let shown =
            Endpoints::new(Arc::clone(&metrics), readiness.clone(), endpoints::Limits::default());
        let serve = endpoints::serve(listener, Arc::new(shown), tasks.clone(), watcher.clone());
        tasks.spawn_aside("endpoints", serve);
    }
    let config = config.clone();
    let server = Server {
        config,
        pools,
        managed,
        accepting,
        workers: Arc::new(workers),
        tasks,
        metrics,
        readiness,
        trigger,
        watcher,
        _state: state,
    };
    Ok((server, addresses))
}

fn listen(what: &str, address: SocketAddr) -> Result<TcpListener, StartError> {
    bind(address).map_err(|error| StartError::Bind(what.to_owned(), address, error))
}

async fn open_state(config: &Config) -> Result<Option<StateDir>, StartError> {
    let managed = config.pools.iter().find_map(|p| match &p.upstreams {
        Upstreams::Managed(managed) => Some(managed.stop_timeout),
        Upstreams::Fixed(_) => None,
    });
    let Some(patience) = managed else { return Ok(None) };
    let state = StateDir::open(&config.state_dir)
        .map_err(|error| StartError::State(config.state_dir.clone(), error))?;
    let ended = state.end_leftovers(patience).await;
    ended.map_err(|error| StartError::System("end what an earlier fairlead left", error))?;
    Ok(Some(state))
}

fn metrics(tasks: &Tasks, dropped: impl Fn() -> u64 + Send + Sync + 'static) -> Arc<Metrics> {
    let methods = methods::methods().iter();
    let methods = methods.map(|m| MethodName { name: m.name, class: class(m.route()) }).collect();
    static STATES: [&str; 4] = [
        table::State::ALL[0].slug(),
        table::State::ALL[1].slug(),
        table::State::ALL[2].slug(),
        table::State::ALL[3].slug(),
    ];
    let words = Vocabulary { methods, upstream_states: &State::SLUGS, session_states: &STATES };
    let (version, revision) = (env!("CARGO_PKG_VERSION"), env!("FAIRLEAD_BUILD"));
    let metrics = Metrics::new(version, revision, words);
    metrics.read_dropped_log_lines(dropped);
    let (running, panicked) = (tasks.clone(), tasks.clone());
    metrics.read_tasks(move || running.running(), move || panicked.panicked());
    metrics.config_last_reload_successful.set(1);
    let loaded = crate::time::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    metrics.config_last_reload_success.set(loaded.as_secs().try_into().unwrap_or(i64::MAX));
    metrics
}

fn class(route: Route) -> &'static str {
    match route {
        Route::Connect | Route::Ping | Route::Local(_) => "local",
        Route::Create | Route::Resume => "place",
        Route::Session | Route::Fork => "session",
        Route::AnyOne(_) => "any",
        Route::EveryOne => "every",
        Route::Merge(_) | Route::Single(_) => "merge",
        Route::Scatter(_) => "scatter",
        Route::Deny(_) => "deny",
    }
}

/// Makes pools and what belongs to them.
struct Maker<'a> {
    config: &'a Config,
    metrics: &'a Arc<Metrics>,
    tasks: &'a Tasks,
    readiness: &'a Readiness,
    state: Option<&'a StateDir>,
    ledger: Option<Arc<Ledger>>,
    watcher: &'a Watcher,
    last: Arc<AtomicU32>,
    managed: Vec<Managed>,
}

impl Maker<'_> {
    fn pool(&mut self, from: &config::Pool) -> Result<Arc<Pool>, StartError> {
        let makes = Members::new(self.config, from, self.metrics, self.tasks, &self.last)?;
        let (members, follow) = match &from.upstreams {
            Upstreams::Fixed(_) => (makes.fixed(), Vec::new()),
            Upstreams::Managed(managed) => self.started(from, managed, &makes),
        };
        let caps = &from.caps;
        let with = pool::Parameters {
            policy: match from.balance {
                Balance::RoundRobin => Policy::RoundRobin,
                Balance::LeastLoaded => Policy::LeastLoaded,
                Balance::Consistent { factor, .. } => Policy::Consistent { factor },
            },
            storage: match from.storage {
                config::Storage::Own => Storage::Own,
                config::Storage::Shared => Storage::Shared,
            },
            create_existing: match from.create_existing {
                config::CreateExisting::Resume => CreateExisting::Resume,
                config::CreateExisting::Pass => CreateExisting::Pass,
                config::CreateExisting::Refuse => CreateExisting::Refuse,
            },
            lookup_timeout: self.config.limits.lookup_timeout,
            lookup_wait: longest_wait(&self.config.limits),
            fleet_timeout: self.config.limits.fleet_timeout,
            sessions: Bounds {
                pool: caps.max_sessions,
                tenant: caps.max_sessions_per_tenant,
                user: caps.max_sessions_per_user,
            },
            turns: Bounds {
                pool: caps.max_turns,
                tenant: caps.max_turns_per_tenant,
                user: caps.max_turns_per_user,
            },
            patience: Patience { length: caps.queue_length, timeout: caps.queue_timeout },
            ephemeral_grace: from.ephemeral_grace,
        };
        let owners = callers::owners(self.config, from, self.ledger.as_ref());
        let metrics = self.metrics.pool(&from.name);
        let all = members.iter().map(|(member, _)| Arc::clone(member)).collect();
        let pool = Pool::new(from.name.clone(), all, with, owners, metrics, self.tasks.clone());
        if let Some(rule) = from.outlier {
            pool.put_out(rule);
        }
        for made in members {
            makes.attend(&pool, made);
        }
        for (member, managed) in follow {
            let task = managed::follow(Arc::clone(&pool), member, managed.status());
            self.tasks.spawn_aside("follow", task);
            self.managed.push(managed);
        }
        if let Upstreams::Fixed(_) = from.upstreams {
            makes.follow_token(&pool);
            makes.follow_names(&pool, &self.config.dns);
        }
        let delete = Arc::clone(&pool).delete_ephemeral(self.watcher.clone());
        self.tasks.spawn_aside("delete_ephemeral", delete);
        if let Some(after) = self.config.ledger.forget_after {
            self.tasks.spawn_aside("forget_unused", Arc::clone(&pool).forget_unused(after));
        }
        let why = |why: &str| self.readiness.block(format!("pool {}: {why}", from.name));
        let unnamed = why("a name of its upstreams is not resolved");
        let unknown = why("not known whether its CLIs are up");
        let waited = Arc::clone(&pool);
        self.tasks.spawn_aside("readiness", async move {
            waited.named().await;
            drop(unnamed);
            waited.settled().await;
            drop(unknown);
        });
        Ok(pool)
    }

    fn started(
        &mut self,
        pool: &config::Pool,
        from: &config::Managed,
        makes: &Members,
    ) -> (Vec<Made>, Vec<(Arc<Member>, Managed)>) {
        let (mut members, mut follow) = (Vec::new(), Vec::new());
        let Some(state) = self.state else { return (members, follow) };
        for index in 0..from.count as usize {
            let mut spec = spec(self.config, pool, from, index);
            let with = member::Parameters {
                name: spec.upstream(),
                address: None,
                weight: from.weight,
                max_sessions: from.max_sessions,
                max_turns: pool.caps.max_turns_per_upstream,
                rise: pool.health.rise,
                fall: pool.health.fall,
                token: None,
            };
            let (member, ears) = makes.make(with);
            spec.restarts = Arc::clone(&member.metrics.restarts);
            let of = Arc::clone(&member);
            let put = move |token| of.set_token(token);
            spec.renew = Some(secrets::renew(&pool.name, from, pool.token.as_ref(), put));
            let (managed, supervise) = crate::upstream::source::managed::managed(spec, state);
            self.tasks.spawn_aside("supervise", supervise);
            follow.push((Arc::clone(&member), managed));
            members.push((member, ears));
        }
        (members, follow)
    }
}

fn spec(config: &Config, pool: &config::Pool, from: &config::Managed, index: usize) -> Spec {
    let home = match from.home {
        config::Home::Cli => Home::Cli(index),
        config::Home::Pool => Home::Pool,
    };
    let dir = home.dir(&config.state_dir, &pool.name);
    Spec {
        ready_deadline: from.ready_deadline,
        stop_timeout: from.stop_timeout,
        backoff_min: from.restart_backoff_min,
        backoff_max: from.restart_backoff_max,
        ..Spec::new(pool.name.clone(), index, from.command.clone(), dir)
    }
}

/// What a client's request may wait for beside one look-up and room: for the look-up's turn, a link, or an answer of the
/// fleet.
pub(super) fn longest_wait(limits: &Limits) -> Duration {
    limits.handshake_timeout.max(limits.fleet_timeout)
}

pub(super) fn upstream_frame(config: &Config) -> FrameLimits {
    let limits = &config.limits;
    FrameLimits { header: limits.max_header_bytes, body: limits.max_upstream_frame }
}

pub(super) fn watch_parameters(config: &Config, pool: &config::Pool) -> watch::Parameters {
    watch::Parameters {
        interval: pool.health.interval,
        timeout: pool.health.timeout,
        dead_after: pool.health.dead_after,
        frame: upstream_frame(config),
    }
}
