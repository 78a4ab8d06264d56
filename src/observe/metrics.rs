//! Metrics: one [`Metrics`] made at start, passed by `Arc`; its handles are fetched once and kept.
//!
//! Nothing here is global, nothing on the data path looks a label up, and no label names a user, tenant or session.

mod rpc;
mod scopes;
mod series;
mod spec;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, Registry, TextEncoder};

pub use rpc::{MethodName, RpcMetrics, RpcResult};
pub use scopes::{HttpMetrics, ListenerMetrics, PoolMetrics, UpstreamMetrics};
pub use series::{CounterBy, CounterByStatus, GaugeBy, GaugeGuard, Info, OneHot, Told};
pub use spec::{Kind, METRICS, Spec, markdown};

use rpc::Rpc;
use series::{Scrape, Series, sound};

/// The words that other modules own and metrics show as label values.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// The method table: a method's index is its place here.
    pub methods: Vec<MethodName>,
    /// Every state of an upstream; the first is the one that it starts in.
    pub upstream_states: &'static [&'static str],
    /// Every state of a session that is counted.
    pub session_states: &'static [&'static str],
}

/// Every metric of the process.
pub struct Metrics {
    /// 1 if the last load or reload of the config succeeded.
    pub config_last_reload_successful: IntGauge,
    /// Unix time of the last success, in seconds.
    pub config_last_reload_success: IntGauge,
    /// Whether what the ledger is told becomes durable; never told where there is none.
    pub ledger_up: Arc<Told>,
    /// Sessions in the ledger, counted at a scrape.
    pub ledger_records: IntGauge,
    /// Ledger operations that failed, by operation.
    pub ledger_errors: Arc<CounterBy>,
    /// Turns that a drain waits for.
    pub drain_remaining_turns: IntGauge,
    registry: Registry,
    all: Arc<All>,
    counted: Mutex<Vec<Refresh>>,
}

/// Sets gauges whose values are counted when somebody looks.
type Refresh = Box<dyn Fn() + Send + Sync>;

impl Metrics {
    /// The metrics of a process of this `version` and git `revision`.
    pub fn new(version: &str, revision: &str, words: Vocabulary) -> Arc<Self> {
        let process = Series::new(&[]);
        let build = Series::new(&[("version", version), ("revision", revision)]);
        build.gauge(&spec::BUILD_INFO, &[]).set(1);
        let config_last_reload_successful = process.gauge(&spec::CONFIG_RELOAD_SUCCESSFUL, &[]);
        let config_last_reload_success = process.gauge(&spec::CONFIG_RELOAD_TIME, &[]);
        let ledger_up = process.told(&spec::LEDGER_UP);
        let ledger_records = process.gauge(&spec::LEDGER_RECORDS, &[]);
        let ledger_errors = process.counter_by(&spec::LEDGER_ERRORS, "op");
        let drain_remaining_turns = process.gauge(&spec::DRAIN_REMAINING, &[]);
        let all = Arc::new(All::new(process, build, words));
        let registry = Registry::new();
        sound(registry.register(Box::new(Arc::clone(&all).collector())));
        sound(registry.register(Box::new(ProcessCollector::for_self())));
        Arc::new(Metrics {
            config_last_reload_successful,
            config_last_reload_success,
            ledger_up,
            ledger_records,
            ledger_errors,
            drain_remaining_turns,
            registry,
            all,
            counted: Mutex::default(),
        })
    }

    /// The handles of a listener: the same ones for the same name, for as long as somebody holds them.
    pub fn listener(&self, name: &str) -> Arc<ListenerMetrics> {
        let key = [name.to_owned()];
        self.all.listeners.lock().get(key, || ListenerMetrics::new(name))
    }

    /// The handles of a pool, likewise.
    pub fn pool(&self, name: &str) -> Arc<PoolMetrics> {
        let key = [name.to_owned()];
        self.all.pools.lock().get(key, || PoolMetrics::new(name, &self.all.words))
    }

    /// The handles of an upstream, likewise: dropping the last one removes its series.
    pub fn upstream(&self, pool: &str, upstream: &str) -> Arc<UpstreamMetrics> {
        let key = [pool.to_owned(), upstream.to_owned()];
        let new = || UpstreamMetrics::new(pool, upstream, &self.all.words);
        self.all.upstreams.lock().get(key, new)
    }

    /// A table of request counts for one worker, kept for good. Take one per worker thread, once.
    pub fn rpc(&self) -> Arc<RpcMetrics> {
        self.all.rpc.shard()
    }

    /// Where the number of dropped log lines is read at a scrape. Call it once.
    pub fn read_dropped_log_lines(&self, read: impl Fn() -> u64 + Send + Sync + 'static) {
        self.all.process.read(&spec::LOG_LINES_DROPPED, read);
    }

    /// Where the numbers of tasks running and panicked are read at a scrape. Call it once.
    pub fn read_tasks(
        &self,
        running: impl Fn() -> u64 + Send + Sync + 'static,
        panicked: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        self.all.process.read(&spec::TASKS_RUNNING, running);
        self.all.process.read(&spec::TASK_PANICS, panicked);
    }

    /// Has `refresh` set its gauges before each scrape.
    pub fn at_scrape(&self, refresh: impl Fn() + Send + Sync + 'static) {
        self.counted.lock().push(Box::new(refresh));
    }

    /// Everything that has a value now, sorted by name. Reads `/proc`: not for a thread that serves clients.
    pub fn gather(&self) -> Vec<MetricFamily> {
        for refresh in self.counted.lock().iter() {
            refresh();
        }
        self.registry.gather()
    }

    /// The same in the text format 0.0.4. Fails only by a mistake of ours in the table.
    pub fn render(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.gather())
    }
}

/// What a scrape walks over.
struct All {
    process: Series,
    build: Series,
    words: Vocabulary,
    rpc: Rpc,
    listeners: Mutex<Living<1, ListenerMetrics>>,
    pools: Mutex<Living<1, PoolMetrics>>,
    upstreams: Mutex<Living<2, UpstreamMetrics>>,
}

impl All {
    fn new(process: Series, build: Series, words: Vocabulary) -> Self {
        All {
            process,
            build,
            rpc: Rpc::new(words.methods.clone()),
            words,
            listeners: Mutex::default(),
            pools: Mutex::default(),
            upstreams: Mutex::default(),
        }
    }

    fn collector(self: Arc<Self>) -> Collecting {
        let desc = |spec: &&Spec| {
            let labels = spec.labels.iter().map(|label| (*label).to_owned()).collect();
            let (name, help) = (spec.name.to_owned(), spec.help.to_owned());
            sound(Desc::new(name, help, labels, std::collections::HashMap::new()))
        };
        Collecting { descs: METRICS.iter().map(desc).collect(), all: self }
    }

    fn scrape(&self) -> Scrape {
        let mut scrape = Scrape::new();
        self.process.collect(&mut scrape);
        self.build.collect(&mut scrape);
        self.rpc.collect(&mut scrape);
        for listener in self.listeners.lock().living() {
            listener.series.collect(&mut scrape);
        }
        for pool in self.pools.lock().living() {
            pool.series.collect(&mut scrape);
        }
        for upstream in self.upstreams.lock().living() {
            upstream.series.collect(&mut scrape);
        }
        scrape
    }
}

/// Things by name, for as long as somebody else holds them.
struct Living<const N: usize, T> {
    all: BTreeMap<[String; N], Weak<T>>,
    /// How many there may be before those that are gone are looked for.
    sweep_at: usize,
}

/// As few as these are not worth a look.
const FEW: usize = 16;

impl<const N: usize, T> Default for Living<N, T> {
    fn default() -> Self {
        Living { all: BTreeMap::new(), sweep_at: FEW }
    }
}

impl<const N: usize, T> Living<N, T> {
    fn get(&mut self, key: [String; N], new: impl FnOnce() -> T) -> Arc<T> {
        if let Some(living) = self.all.get(&key).and_then(Weak::upgrade) {
            return living;
        }
        let made = Arc::new(new());
        if self.all.len() >= self.sweep_at {
            // Nobody may ever scrape.
            self.all.retain(|_, weak| weak.strong_count() > 0);
            self.sweep_at = FEW.max(2 * self.all.len());
        }
        self.all.insert(key, Arc::downgrade(&made));
        made
    }

    /// Those still held; forgets the others.
    fn living(&mut self) -> Vec<Arc<T>> {
        let mut living = Vec::new();
        self.all.retain(|_, weak| {
            let held = weak.upgrade();
            let keep = held.is_some();
            living.extend(held);
            keep
        });
        living
    }
}

/// All of it, as the library wants to see it.
struct Collecting {
    descs: Vec<Desc>,
    all: Arc<All>,
}

impl Collector for Collecting {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.all.scrape().into_families()
    }
}

#[cfg(test)]
mod tests;
