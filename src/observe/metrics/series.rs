//! Series: the values under one fixed set of labels, made from rows of the table and read at a scrape.
//!
//! A [`Series`] lives as long as its owner; when the owner is dropped, so are its lines in `/metrics`. There is no
//! removal by label values. (The library's own vectors also hash label values without a separator, so that
//! `("ab", "c")` and `("a", "bc")` share one counter.)

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use prometheus::core::Metric as _;
use prometheus::proto::{self, MetricFamily, MetricType};
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Opts};

use super::spec::{Kind, METRICS, Spec};

/// A gauge that is one higher while this lives.
#[derive(Debug)]
pub struct GaugeGuard(IntGauge);

impl GaugeGuard {
    /// Adds one; `Drop` takes it away.
    #[must_use = "the gauge is higher only while this is held"]
    pub fn enter(gauge: &IntGauge) -> Self {
        gauge.inc();
        GaugeGuard(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A counter split by one more label whose values are words of a closed list. For events, not for each message: it locks.
#[derive(Debug, Default)]
pub struct CounterBy {
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl CounterBy {
    /// Counts one.
    pub fn inc(&self, value: &'static str) {
        *self.counts.lock().entry(value).or_default() += 1;
    }
}

/// A counter split by HTTP status. Costs an index and an add.
#[derive(Debug)]
pub struct CounterByStatus {
    /// From 100 on.
    counts: Box<[AtomicU64]>,
}

impl CounterByStatus {
    const FIRST: u16 = 100;
    const LAST: u16 = 599;

    fn new() -> Self {
        CounterByStatus { counts: (Self::FIRST..=Self::LAST).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Counts one. What is no status counts as the last.
    pub fn inc(&self, status: u16) {
        let index = status.clamp(Self::FIRST, Self::LAST) - Self::FIRST;
        if let Some(count) = self.counts.get(usize::from(index)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read(&self) -> impl Iterator<Item = (String, u64)> {
        let counts = (Self::FIRST..).zip(&self.counts);
        let counts = counts.map(|(status, count)| (status, count.load(Ordering::Relaxed)));
        counts.filter(|(_, count)| *count > 0).map(|(status, count)| (status.to_string(), count))
    }
}

/// A gauge split by one more label, with a fixed list of values that are all shown.
#[derive(Debug)]
pub struct GaugeBy {
    gauges: Vec<(&'static str, IntGauge)>,
    /// Takes what has a value outside the list (our own mistake); never shown.
    stray: IntGauge,
}

impl GaugeBy {
    /// The gauge of one value of the list.
    pub fn of(&self, value: &str) -> &IntGauge {
        let found = self.gauges.iter().find(|(name, _)| *name == value);
        debug_assert!(found.is_some(), "{value} is not in the list");
        found.map_or(&self.stray, |(_, gauge)| gauge)
    }

    /// One higher while the guard lives.
    pub fn enter(&self, value: &str) -> GaugeGuard {
        GaugeGuard::enter(self.of(value))
    }
}

/// One-hot gauges: exactly one of the values is 1 at every scrape.
#[derive(Debug)]
pub struct OneHot {
    values: &'static [&'static str],
    current: AtomicUsize,
}

impl OneHot {
    /// Makes `value` the hot one. A value outside the list (our own mistake) makes all of them 0.
    pub fn set(&self, value: &str) {
        let index = self.values.iter().position(|known| *known == value);
        debug_assert!(index.is_some(), "{value} is not in the list");
        self.current.store(index.unwrap_or(usize::MAX), Ordering::Relaxed);
    }
}

/// An `_info` metric: one series with the value 1, whose two labels can change; none until they are set.
#[derive(Debug, Default)]
pub struct Info {
    values: Mutex<Option<[String; 2]>>,
}

impl Info {
    /// Replaces the labels' values.
    pub fn set(&self, values: [&str; 2]) {
        *self.values.lock() = Some(values.map(str::to_owned));
    }
}

/// Whether something is so: 1 or 0; no series until it is told.
#[derive(Debug, Default)]
pub struct Told {
    so: Mutex<Option<bool>>,
}

impl Told {
    /// It is so, or is not.
    pub fn set(&self, so: bool) {
        *self.so.lock() = Some(so);
    }
}

/// What stands under a row of the table; a string is the name of the label that the value itself brings.
enum Value {
    Counter(IntCounter),
    Gauge(IntGauge),
    Histogram(Histogram),
    CounterBy(&'static str, Arc<CounterBy>),
    CounterByStatus(&'static str, Arc<CounterByStatus>),
    OneHot(&'static str, Arc<OneHot>),
    Info([&'static str; 2], Arc<Info>),
    Told(Arc<Told>),
    Read(Box<dyn Fn() -> u64 + Send + Sync>),
}

/// Every value under one set of labels.
pub(super) struct Series {
    labels: Vec<(&'static str, String)>,
    made: Mutex<Vec<(&'static Spec, Value)>>,
}

impl Series {
    pub(super) fn new(labels: &[(&'static str, &str)]) -> Self {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Series { labels, made: Mutex::new(Vec::new()) }
    }

    pub(super) fn counter(&self, spec: &'static Spec, more: &[(&'static str, &str)]) -> IntCounter {
        let counter = sound(IntCounter::with_opts(self.opts(spec, more)));
        self.keep(spec, Value::Counter(counter.clone()));
        counter
    }

    pub(super) fn gauge(&self, spec: &'static Spec, more: &[(&'static str, &str)]) -> IntGauge {
        let gauge = sound(IntGauge::with_opts(self.opts(spec, more)));
        self.keep(spec, Value::Gauge(gauge.clone()));
        gauge
    }

    pub(super) fn histogram(
        &self,
        spec: &'static Spec,
        more: &[(&'static str, &str)],
    ) -> Histogram {
        let opts = HistogramOpts::from(self.opts(spec, more)).buckets(spec.buckets.to_vec());
        let histogram = sound(Histogram::with_opts(opts));
        self.keep(spec, Value::Histogram(histogram.clone()));
        histogram
    }

    pub(super) fn counter_by(&self, spec: &'static Spec, label: &'static str) -> Arc<CounterBy> {
        let counter = Arc::new(CounterBy::default());
        self.keep(spec, Value::CounterBy(label, Arc::clone(&counter)));
        counter
    }

    pub(super) fn counter_by_status(
        &self,
        spec: &'static Spec,
        label: &'static str,
    ) -> Arc<CounterByStatus> {
        let counter = Arc::new(CounterByStatus::new());
        self.keep(spec, Value::CounterByStatus(label, Arc::clone(&counter)));
        counter
    }

    pub(super) fn gauge_by(
        &self,
        spec: &'static Spec,
        label: &'static str,
        values: &[&'static str],
    ) -> GaugeBy {
        let gauges = values.iter().map(|value| (*value, self.gauge(spec, &[(label, value)])));
        GaugeBy { gauges: gauges.collect(), stray: sound(IntGauge::new("stray", "Never shown.")) }
    }

    pub(super) fn one_hot(
        &self,
        spec: &'static Spec,
        label: &'static str,
        values: &'static [&'static str],
    ) -> Arc<OneHot> {
        let hot = Arc::new(OneHot { values, current: AtomicUsize::new(0) });
        self.keep(spec, Value::OneHot(label, Arc::clone(&hot)));
        hot
    }

    pub(super) fn info(&self, spec: &'static Spec, labels: [&'static str; 2]) -> Arc<Info> {
        let info = Arc::new(Info::default());
        self.keep(spec, Value::Info(labels, Arc::clone(&info)));
        info
    }

    pub(super) fn told(&self, spec: &'static Spec) -> Arc<Told> {
        let told = Arc::new(Told::default());
        self.keep(spec, Value::Told(Arc::clone(&told)));
        told
    }

    pub(super) fn read(
        &self,
        spec: &'static Spec,
        value: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        self.keep(spec, Value::Read(Box::new(value)));
    }

    /// Adds all values to the families of one scrape.
    pub(super) fn collect(&self, scrape: &mut Scrape) {
        for (spec, value) in self.made.lock().iter() {
            match value {
                Value::Counter(counter) => scrape.push(spec, counter.metric()),
                Value::Gauge(gauge) => scrape.push(spec, gauge.metric()),
                Value::Histogram(histogram) => scrape.push(spec, histogram.metric()),
                Value::CounterBy(label, counter) => {
                    for (by, count) in counter.counts.lock().iter() {
                        scrape.number(spec, self.labels(&[(label, by)]), *count);
                    }
                }
                Value::CounterByStatus(label, counter) => {
                    for (status, count) in counter.read() {
                        scrape.number(spec, self.labels(&[(label, &status)]), count);
                    }
                }
                Value::OneHot(label, hot) => {
                    let current = hot.current.load(Ordering::Relaxed);
                    for (index, state) in hot.values.iter().enumerate() {
                        let number = u64::from(index == current);
                        scrape.number(spec, self.labels(&[(label, state)]), number);
                    }
                }
                Value::Info([one, two], info) => {
                    if let Some([a, b]) = &*info.values.lock() {
                        scrape.number(spec, self.labels(&[(one, a), (two, b)]), 1);
                    }
                }
                Value::Told(told) => {
                    if let Some(so) = *told.so.lock() {
                        scrape.number(spec, self.labels(&[]), u64::from(so));
                    }
                }
                Value::Read(read) => scrape.number(spec, self.labels(&[]), read()),
            }
        }
    }

    fn keep(&self, spec: &'static Spec, value: Value) {
        self.made.lock().push((spec, value));
    }

    fn labels<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let own = self.labels.iter().map(|(name, value)| (*name, value.as_str()));
        own.chain(more.iter().copied()).collect()
    }

    fn opts(&self, spec: &Spec, more: &[(&'static str, &str)]) -> Opts {
        let own = self.labels.iter().map(|(name, value)| (*name, value.as_str()));
        own.chain(more.iter().copied())
            .fold(Opts::new(spec.name, spec.help), |opts, (name, value)| {
                opts.const_label(name, value)
            })
    }
}

/// Unwraps what the library made of a row of the table.
#[expect(clippy::expect_used, reason = "rows of the table are constants; a test makes all of them")]
pub(super) fn sound<T>(made: prometheus::Result<T>) -> T {
    made.expect("a row of the metrics table is not valid")
}

/// The families of one scrape, by name.
pub(super) struct Scrape {
    families: BTreeMap<&'static str, MetricFamily>,
}

impl Scrape {
    /// One empty family for each row of the table.
    pub(super) fn new() -> Self {
        let families = METRICS.iter().map(|spec| {
            let mut family = MetricFamily::default();
            family.set_name(spec.name.to_owned());
            family.set_help(spec.help.to_owned());
            family.set_field_type(match spec.kind {
                Kind::Counter => MetricType::COUNTER,
                Kind::Gauge => MetricType::GAUGE,
                Kind::Histogram => MetricType::HISTOGRAM,
            });
            (spec.name, family)
        });
        Scrape { families: families.collect() }
    }

    pub(super) fn push(&mut self, spec: &Spec, metric: proto::Metric) {
        debug_assert!(
            metric.get_label().iter().map(proto::LabelPair::name).eq(spec.labels.iter().copied()),
            "{} has other labels than the table says",
            spec.name
        );
        if let Some(family) = self.families.get_mut(spec.name) {
            family.mut_metric().push(metric);
        }
    }

    pub(super) fn number(&mut self, spec: &Spec, labels: Vec<(&str, &str)>, value: u64) {
        let mut metric = proto::Metric::from_label(pairs(labels));
        let value = value as f64;
        match spec.kind {
            Kind::Counter => {
                let mut counter = proto::Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            Kind::Gauge | Kind::Histogram => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        self.push(spec, metric);
    }

    pub(super) fn into_families(self) -> Vec<MetricFamily> {
        self.families.into_values().collect()
    }
}

/// Label pairs, sorted by name.
pub(super) fn pairs(mut labels: Vec<(&str, &str)>) -> Vec<proto::LabelPair> {
    labels.sort_unstable();
    let pair = |(name, value): (&str, &str)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    labels.into_iter().map(pair).collect()
}
