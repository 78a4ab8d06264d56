//! When the next probe is: about every interval, and never all at once. Pure: no clock.

use crate::time::Duration;

/// The longest that a first probe waits.
const SOON: Duration = Duration::from_millis(500);

/// The times of one upstream's probes.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    state: u64,
}

impl Pace {
    /// Two seeds give two paces.
    pub(super) fn new(interval: Duration, seed: u64) -> Self {
        Pace { interval, state: seed }
    }

    /// Before the first probe.
    pub(super) fn first(&mut self) -> Duration {
        self.interval.min(SOON).mul_f64(self.part())
    }

    /// Before the next: the interval, a tenth more or less.
    pub(super) fn next(&mut self) -> Duration {
        self.interval.mul_f64(0.9 + self.part() / 5.0)
    }

    /// From 0 to 1, by splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
    fn part(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_come_about_every_interval() {
        let interval = Duration::from_secs(2);
        let mut pace = Pace::new(interval, 7);
        let all: Vec<Duration> = (0..1000).map(|_| pace.next()).collect();
        let (least, most) = (all.iter().min().unwrap(), all.iter().max().unwrap());
        assert!(*least >= interval * 9 / 10 && *most <= interval * 11 / 10, "{least:?} {most:?}");
        let mean = all.iter().sum::<Duration>() / 1000;
        assert!(mean.abs_diff(interval) < interval / 100, "{mean:?}");
    }

    #[test]
    fn a_hundred_upstreams_are_not_probed_at_once() {
        let mut firsts: Vec<u128> = (0..100)
            .map(|seed| Pace::new(Duration::from_secs(2), seed).first().as_millis())
            .collect();
        assert!(firsts.iter().all(|ms| *ms <= SOON.as_millis()));
        firsts.sort_unstable();
        firsts.dedup();
        assert!(firsts.len() > 80, "{}", firsts.len());
    }
}
