//! Whether we want traffic: a set of named blockers, each held as a drop guard. Ready when none is left.
//!
//! Says nothing of whether the process is alive, and nothing of single upstreams.

use std::collections::BTreeMap;

use tokio::sync::watch;

/// The blocker's name once the drain has begun; it never goes away.
pub const DRAINING: &str = "draining";

/// The set of blockers. Clones share it.
#[derive(Clone, Debug)]
pub struct Readiness {
    blockers: watch::Sender<BTreeMap<String, usize>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Readiness::new()
    }
}

impl Readiness {
    /// No blocker: ready. Take the blockers before anything can ask.
    pub fn new() -> Self {
        Readiness { blockers: watch::Sender::new(BTreeMap::new()) }
    }

    /// Not ready until the returned guard is dropped. A name may be held more than once.
    #[must_use = "readiness is blocked only while this is held"]
    pub fn block(&self, name: impl Into<String>) -> Blocker {
        let name = name.into();
        self.blockers.send_modify(|all| {
            let held = all.entry(name.clone()).or_default();
            *held = held.saturating_add(1);
        });
        Blocker { readiness: self.clone(), name }
    }

    /// We are leaving: not ready, for good.
    pub fn drain(&self) {
        self.blockers.send_modify(|all| {
            all.insert(DRAINING.to_owned(), usize::MAX);
        });
    }

    /// Whether no blocker is left.
    pub fn is_ready(&self) -> bool {
        self.blockers.borrow().is_empty()
    }

    /// The names of what blocks, sorted, each once.
    pub fn blockers(&self) -> Vec<String> {
        self.blockers.borrow().keys().cloned().collect()
    }

    /// Returns once no blocker is left; at once if none is.
    pub async fn ready(&self) {
        // Cannot fail: `self` holds a sender.
        let _ = self.blockers.subscribe().wait_for(BTreeMap::is_empty).await;
    }
}

/// One thing that must happen before we are ready. Drop it when it has.
#[derive(Debug)]
pub struct Blocker {
    readiness: Readiness,
    name: String,
}

impl Drop for Blocker {
    fn drop(&mut self) {
        self.readiness.blockers.send_modify(|all| {
            if let Some(held) = all.get_mut(&self.name) {
                *held -= 1;
                if *held == 0 {
                    all.remove(&self.name);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn ready_is_when_the_last_blocker_is_dropped() {
        let readiness = Readiness::new();
        let config = readiness.block("config");
        let pool = readiness.block("pool a");
        let again = readiness.block("pool a");
        assert_eq!(readiness.blockers(), ["config", "pool a"]);
        drop(config);
        drop(pool);
        assert_eq!(readiness.blockers(), ["pool a"]);
        drop(again);
        assert!(readiness.is_ready());
    }

    #[test]
    fn a_drain_is_for_good() {
        let readiness = Readiness::new();
        readiness.drain();
        drop(readiness.block(DRAINING));
        assert_eq!(readiness.blockers(), [DRAINING]);
        readiness.drain();
        assert!(!readiness.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_readiness_wakes_when_it_comes() {
        let readiness = Readiness::new();
        let blocker = readiness.block("listeners");
        assert!(timeout(Duration::from_secs(1), readiness.ready()).await.is_err());
        drop(blocker);
        timeout(Duration::from_secs(1), readiness.ready()).await.unwrap();
    }
}
