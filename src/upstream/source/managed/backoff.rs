//! How long to wait before a CLI that ended by itself is started again: a pure state machine.
//!
//! Knows no clock and no process. A stop or restart that somebody asked for never comes here.

use crate::time::Duration;

/// Failures in a row, and the wait that follows from them.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// `min` after the first failure, doubling up to `max` (never below `min`).
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Backoff { min, max: max.max(min), failures: 0 }
    }

    /// Counts a failure of a CLI that had been ready for `ready_for` (`None`: never) and returns
    /// how long to wait. A CLI that was ready for `max` had recovered: its failure is a first one.
    pub(super) fn failed(&mut self, ready_for: Option<Duration>) -> Duration {
        if ready_for.is_some_and(|time| time >= self.max) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let doublings = (self.failures - 1).min(31);
        self.min.saturating_mul(1 << doublings).min(self.max)
    }

    /// Failures in a row so far.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_wait_doubles_from_one_second_to_one_minute() {
        let mut backoff = Backoff::new(SECOND, MINUTE);
        let waits: Vec<u64> = (0..8).map(|_| backoff.failed(None).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.failures(), 8);
    }

    #[test]
    fn a_healthy_period_resets_it_and_a_short_one_does_not() {
        let mut backoff = Backoff::new(SECOND, MINUTE);
        backoff.failed(None);
        assert_eq!(backoff.failed(Some(MINUTE - SECOND)), 2 * SECOND);
        assert_eq!(backoff.failed(Some(MINUTE)), SECOND);
        assert_eq!(backoff.failures(), 1);
    }

    #[test]
    fn it_never_overflows_nor_waits_longer_than_the_maximum() {
        let mut backoff = Backoff::new(SECOND, MINUTE);
        for _ in 0..100 {
            assert!(backoff.failed(None) <= MINUTE);
        }
        assert_eq!(Backoff::new(MINUTE, SECOND).failed(None), MINUTE);
    }
}
