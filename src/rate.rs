//! How often somebody may ask: the generic cell rate algorithm (ITU-T I.371, annex A), one word of state for each.
//!
//! Over any stretch `t` of time at most `burst + t * requests / per` pass. Knows no clock, and nobody's name.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::time::{Duration, Instant};

/// A quarter of what a word of nanoseconds holds, some 146 years: no sum of the parts below overflows.
const FAR: u64 = u64::MAX / 4;

/// So many in a time, and so many at once.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// From one to the next, in ns. Rounded up: rather a little fewer than more.
    interval: u64,
    /// How much earlier than evenly one may come, in ns.
    ahead: u64,
    /// What the meters count from.
    epoch: Instant,
}

impl Rate {
    /// `requests` in each `per`, and `burst` at once after a rest; each counts as 1 where it is 0. `epoch`: any moment
    /// before the first that is asked about.
    pub fn new(requests: u32, per: Duration, burst: u32, epoch: Instant) -> Self {
        let interval = nanos(per).div_ceil(u64::from(requests.max(1))).clamp(1, FAR);
        let ahead = interval.saturating_mul(u64::from(burst.max(1)) - 1).min(FAR);
        Rate { interval, ahead, epoch }
    }

    fn at(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.epoch)).min(2 * FAR)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// When the next one would come if all had come evenly, in ns after the rate's epoch. Always asked with the same rate.
#[derive(Debug, Default)]
pub struct Meter(AtomicU64);

impl Meter {
    /// Takes one. Fails where that would be over the rate: nothing is taken, and one passes after this long if nobody
    /// takes it before.
    pub fn take(&self, rate: &Rate, now: Instant) -> Result<(), Duration> {
        let now = rate.at(now);
        let next =
            |due: u64| too_soon(rate, due, now).is_none().then(|| due.max(now) + rate.interval);
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(_) => Ok(()),
            Err(due) => Err(too_soon(rate, due, now).unwrap_or_default()),
        }
    }

    /// How long until one would pass; `None`: now. Takes nothing.
    pub fn wait(&self, rate: &Rate, now: Instant) -> Option<Duration> {
        too_soon(rate, self.0.load(Ordering::Relaxed), rate.at(now))
    }

    /// Whether it is as if nobody had ever asked: it can be forgotten.
    pub fn is_rested(&self, rate: &Rate, now: Instant) -> bool {
        self.0.load(Ordering::Relaxed) <= rate.at(now)
    }
}

fn too_soon(rate: &Rate, due: u64, now: u64) -> Option<Duration> {
    let early = due.saturating_sub(now);
    (early > rate.ahead).then(|| Duration::from_nanos(early - rate.ahead))
}

/// What all conns of one caller share.
#[derive(Debug)]
pub struct Share {
    rate: Rate,
    meter: Meter,
}

impl Share {
    /// Nothing is taken yet.
    pub fn new(rate: Rate) -> Self {
        Share { rate, meter: Meter::default() }
    }

    /// As [`Meter::take`].
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        self.meter.take(&self.rate, now)
    }

    /// As [`Meter::is_rested`].
    pub fn is_rested(&self, now: Instant) -> bool {
        self.meter.is_rested(&self.rate, now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_passes_and_then_one_after_the_other() {
        let start = time::now();
        let share = Share::new(Rate::new(10, S, 3, start));
        let take = |ms| share.take(start + Duration::from_millis(ms));
        let wait = |ms| Err(Duration::from_millis(ms));
        assert_eq!([take(0), take(0), take(0)], [Ok(()); 3]);
        assert_eq!([take(0), take(60), take(100)], [wait(100), wait(40), Ok(())]);
        assert_eq!([take(199), take(200)], [wait(1), Ok(())]);
        assert!(!share.is_rested(start + Duration::from_millis(499)));
        assert!(share.is_rested(start + Duration::from_millis(500)));
        assert_eq!(
            [take(500), take(500), take(500), take(500)].iter().filter(|t| t.is_ok()).count(),
            3
        );
    }

    #[test]
    fn asking_takes_nothing() {
        let start = time::now();
        let (rate, meter) = (Rate::new(1, S, 1, start), Meter::default());
        assert_eq!([meter.wait(&rate, start), meter.wait(&rate, start)], [None, None]);
        meter.take(&rate, start).unwrap();
        assert_eq!(meter.wait(&rate, start), Some(S));
    }

    #[test]
    fn many_threads_take_no_more_than_one() {
        let start = time::now();
        let share = Share::new(Rate::new(1, S, 500, start));
        let taken: usize = std::thread::scope(|scope| {
            let each = || (0..1000).filter(|_| share.take(start).is_ok()).count();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(each)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 500);
    }

    /// Times that go nowhere, a little or far on.
    fn steps() -> impl Strategy<Value = Vec<Duration>> {
        let step = prop_oneof![
            4 => Just(0u64),
            4 => 0u64..5_000_000,
            2 => 0u64..3_000_000_000,
            1 => any::<u64>().prop_map(|n| n >> 4),
        ];
        prop::collection::vec(step.prop_map(Duration::from_nanos), 1..200)
    }

    proptest! {
        #[test]
        fn over_any_stretch_no_more_pass_than_the_burst_and_the_rate(
            requests in prop_oneof![1u32..50, any::<u32>()],
            per in prop_oneof![1u64..10_000_000_000, 1..=u64::MAX],
            burst in prop_oneof![1u32..20, any::<u32>()],
            steps in steps(),
        ) {
            let start = time::now();
            let share = Share::new(Rate::new(requests, Duration::from_nanos(per), burst, start));
            let mut now = Duration::ZERO;
            let mut passed = Vec::new();
            for step in steps {
                now += step;
                if share.take(start + now).is_ok() {
                    passed.push(now);
                }
            }
            for (first, from) in passed.iter().enumerate() {
                for (n, to) in passed.iter().skip(first).enumerate() {
                    let by_rate = (*to - *from).as_nanos() * u128::from(requests.max(1)) / u128::from(per);
                    prop_assert!(n as u128 + 1 <= u128::from(burst.max(1)) + by_rate, "{} from {from:?} to {to:?}", n + 1);
                }
            }
        }

        #[test]
        fn one_passes_just_when_it_was_said_to(
            requests in 1u32..1000, per in 1u64..1 << 40, burst in 1u32..50, steps in steps(),
        ) {
            let start = time::now();
            let share = Share::new(Rate::new(requests, Duration::from_nanos(per), burst, start));
            let mut now = start;
            for step in steps {
                // Within the centuries that are told apart.
                now += step.min(S * 3600);
                if let Err(wait) = share.take(now) {
                    let early = wait - Duration::from_nanos(1);
                    prop_assert_eq!(share.take(now + early), Err(Duration::from_nanos(1)));
                    prop_assert_eq!(share.take(now + wait), Ok(()));
                    now += wait;
                }
            }
        }

        #[test]
        fn time_that_goes_back_lets_nobody_through(back in any::<u64>(), burst in 1u32..50) {
            let start = time::now();
            let share = Share::new(Rate::new(10, S, burst, start));
            let late = start + S * 100;
            while share.take(late).is_ok() {}
            let earlier = late.checked_sub(Duration::from_nanos(back)).unwrap_or(start);
            prop_assert!(share.take(earlier).is_err());
        }

        #[test]
        fn who_keeps_to_the_rate_always_passes(requests in 1u32..1000, each in 1u64..1_000_000, n in 1usize..300) {
            let start = time::now();
            let per = Duration::from_nanos(each * u64::from(requests));
            let share = Share::new(Rate::new(requests, per, 1, start));
            for k in 0..n as u64 {
                prop_assert_eq!(share.take(start + Duration::from_nanos(k * each)), Ok(()));
            }
        }
    }
}
