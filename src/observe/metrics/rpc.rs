//! Counting requests: one table of atomics per worker, so that a request costs an array index and an uncontended add.
//!
//! Knows methods by index only; the names come from whoever owns the method table. Summed at a scrape.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::Metric as _;
use prometheus::proto;
use prometheus::{Histogram, HistogramOpts};

use super::series::{Scrape, pairs, sound};
use super::spec::{RPC_DURATION, RPC_REQUESTS};

/// How a request ended, as seen by the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RpcResult {
    /// A result.
    Ok,
    /// An error that the CLI made.
    Error,
    /// An error that fairlead made: access, policy, limits, drain.
    Refused,
    /// Its upstream went away first.
    UpstreamLost,
    /// No answer within the bound.
    Timeout,
    /// The client went away first.
    ClientLost,
}

impl RpcResult {
    /// Every result, in the order of the table's columns.
    pub const ALL: [RpcResult; 6] = [
        RpcResult::Ok,
        RpcResult::Error,
        RpcResult::Refused,
        RpcResult::UpstreamLost,
        RpcResult::Timeout,
        RpcResult::ClientLost,
    ];

    /// The value of the label `result`.
    pub const fn slug(self) -> &'static str {
        match self {
            RpcResult::Ok => "ok",
            RpcResult::Error => "error",
            RpcResult::Refused => "refused",
            RpcResult::UpstreamLost => "upstream_lost",
            RpcResult::Timeout => "timeout",
            RpcResult::ClientLost => "client_lost",
        }
    }
}

/// A method as metrics know it: the labels `method` and `class`.
#[derive(Clone, Copy, Debug)]
pub struct MethodName {
    /// The JSON-RPC method.
    pub name: &'static str,
    /// Its class.
    pub class: &'static str,
}

/// Stands for every index beyond the table.
const OTHER: MethodName = MethodName { name: "other", class: "other" };
const RESULTS: usize = RpcResult::ALL.len();

/// The method names, and one shard for each worker that asked for one.
pub(super) struct Rpc {
    /// The table's methods, then `OTHER`.
    methods: Vec<MethodName>,
    /// Each class once; the last one is that of `OTHER`.
    classes: Vec<&'static str>,
    class_of: Arc<[u16]>,
    shards: Mutex<Vec<Arc<RpcMetrics>>>,
}

/// One worker's counts. May be shared, but is fast only if one thread writes it.
pub struct RpcMetrics {
    class_of: Arc<[u16]>,
    /// Row by row: `methods x RESULTS`.
    counts: Box<[AtomicU64]>,
    durations: Box<[Histogram]>,
}

impl RpcMetrics {
    /// Counts one answered request and how long it took. A `method` beyond the table counts as `other`.
    pub fn answered(&self, method: u16, result: RpcResult, took: Duration) {
        let row = usize::from(method).min(self.class_of.len().saturating_sub(1));
        if let Some(count) = self.counts.get(row * RESULTS + result as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let class = self.class_of.get(row).map(|class| usize::from(*class));
        if let Some(histogram) = class.and_then(|class| self.durations.get(class)) {
            histogram.observe(took.as_secs_f64());
        }
    }
}

impl Rpc {
    pub(super) fn new(mut methods: Vec<MethodName>) -> Self {
        methods.push(OTHER);
        let mut classes: Vec<&'static str> = methods.iter().map(|method| method.class).collect();
        classes.sort_unstable();
        classes.dedup();
        let index = |method: &MethodName| classes.binary_search(&method.class).unwrap_or_default();
        let class_of =
            methods.iter().map(|m| u16::try_from(index(m)).unwrap_or_default()).collect();
        Rpc { methods, classes, class_of, shards: Mutex::new(Vec::new()) }
    }

    pub(super) fn shard(&self) -> Arc<RpcMetrics> {
        let opts = || {
            HistogramOpts::new(RPC_DURATION.name, RPC_DURATION.help)
                .buckets(RPC_DURATION.buckets.to_vec())
        };
        let shard = Arc::new(RpcMetrics {
            class_of: Arc::clone(&self.class_of),
            counts: (0..self.methods.len() * RESULTS).map(|_| AtomicU64::new(0)).collect(),
            durations: self.classes.iter().map(|_| sound(Histogram::with_opts(opts()))).collect(),
        });
        self.shards.lock().push(Arc::clone(&shard));
        shard
    }

    /// Adds the sums to one scrape; what never happened does not appear.
    pub(super) fn collect(&self, scrape: &mut Scrape) {
        let shards = self.shards.lock();
        for (row, method) in self.methods.iter().enumerate() {
            for (column, result) in RpcResult::ALL.iter().enumerate() {
                let cell = row * RESULTS + column;
                let counts = shards.iter().filter_map(|shard| shard.counts.get(cell));
                let sum: u64 = counts.map(|count| count.load(Ordering::Relaxed)).sum();
                if sum > 0 {
                    let labels = vec![
                        ("class", method.class),
                        ("method", method.name),
                        ("result", result.slug()),
                    ];
                    scrape.number(&RPC_REQUESTS, labels, sum);
                }
            }
        }
        for (index, class) in self.classes.iter().enumerate() {
            let parts = shards.iter().filter_map(|shard| shard.durations.get(index));
            let sum = sum_of(parts.map(|part| part.metric().get_histogram().clone()));
            if sum.get_sample_count() > 0 {
                let mut metric = proto::Metric::from_label(pairs(vec![("class", class)]));
                metric.set_histogram(sum);
                scrape.push(&RPC_DURATION, metric);
            }
        }
    }
}

/// The sum of histograms with the same bounds.
fn sum_of(parts: impl Iterator<Item = proto::Histogram>) -> proto::Histogram {
    parts
        .reduce(|mut sum, part| {
            sum.set_sample_count(sum.get_sample_count() + part.get_sample_count());
            sum.set_sample_sum(sum.get_sample_sum() + part.get_sample_sum());
            let mut buckets = sum.get_bucket().to_vec();
            for (into, from) in buckets.iter_mut().zip(part.get_bucket()) {
                into.set_cumulative_count(into.cumulative_count() + from.cumulative_count());
            }
            sum.set_bucket(buckets);
            sum
        })
        .unwrap_or_default()
}
