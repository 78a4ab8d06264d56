//! What processes cost, as Linux tells it (`proc(5)`): CPU time in nanoseconds, resident memory.

use std::fs;

use fairlead::time::{self, Instant};
use serde_json::{Map, Value};

/// The processes that are watched; the load generator is always one of them, as `load`.
pub(crate) struct Watch(Vec<(String, u32)>);

/// What they had used at a moment.
pub(crate) struct Mark {
    at: Instant,
    cpu: Vec<u64>,
}

impl Watch {
    pub(crate) fn new(mut watched: Vec<(String, u32)>) -> Self {
        watched.push(("load".to_owned(), std::process::id()));
        Watch(watched)
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { at: time::now(), cpu: self.0.iter().map(|(_, pid)| cpu_nanos(*pid)).collect() }
    }

    /// CPU seconds of each process from one mark to the other, and the seconds between them.
    pub(crate) fn between(&self, from: &Mark, to: &Mark) -> (Map<String, Value>, f64) {
        let used = from.cpu.iter().zip(&to.cpu).map(|(a, b)| b.saturating_sub(*a) as f64 / 1e9);
        let names = self.0.iter().map(|(name, _)| name.clone());
        (names.zip(used.map(Value::from)).collect(), (to.at - from.at).as_secs_f64())
    }

    /// The process under test, where there is one.
    pub(crate) fn proxy(&self) -> Option<u32> {
        self.0.iter().find(|(name, _)| name == "proxy").map(|(_, pid)| *pid)
    }
}

/// Of all its threads; those that ended are not in it.
fn cpu_nanos(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let texts = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
    texts.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum()
}

/// Resident anonymous memory, in bytes: what the process asked for and touched, without its files.
pub(crate) fn anonymous_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
