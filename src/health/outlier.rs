//! Who fails where others do not: so many failures in a row put an upstream out for a while, each time for longer. Pure; says
//! when, and leaves it to its caller whether one more may be out.

use crate::time::{Duration, Instant};

/// How many failures, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Failures in a row; at least 1.
    pub failures: u32,
    /// For how long it is out the first time.
    pub base: Duration,
    /// For how long at most.
    pub most: Duration,
    /// The share of a pool that may be out at a time, below 1.
    pub share: f64,
}

impl Rule {
    /// How many of so many may be out at a time. Never all.
    pub fn may_be_out(&self, of: usize) -> usize {
        // A share below 1 of a count that fits into memory fits into a count.
        let share = (of as f64 * self.share) as usize;
        share.min(of.saturating_sub(1))
    }
}

/// What is known of one upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outlier {
    /// Failures in a row.
    failed: u32,
    /// How often it was put out, and has not made up for.
    times: u32,
    /// Until when it is out, or was last.
    until: Option<Instant>,
}

impl Outlier {
    /// Whether it is out.
    pub fn is_out(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// It did well: what it did before is forgotten, and of the times that it was out one for each that it has been in for as
    /// long as that.
    pub fn succeeded(&mut self, rule: &Rule, now: Instant) {
        self.failed = 0;
        let Some(until) = self.until.filter(|until| *until + self.out_for(rule) <= now) else {
            return;
        };
        self.times = self.times.saturating_sub(1);
        self.until = (self.times > 0).then_some(until + self.out_for(rule));
    }

    /// It failed. `may`: whether one more may be out. Returns until when it is out, if it is now.
    pub fn failed(&mut self, rule: &Rule, now: Instant, may: bool) -> Option<Instant> {
        if self.is_out(now) {
            // What was under way when it was put out.
            return None;
        }
        self.failed = self.failed.saturating_add(1);
        if self.failed < rule.failures || !may {
            return None;
        }
        self.failed = 0;
        self.times = self.times.saturating_add(1);
        self.until = Some(now + self.out_for(rule));
        self.until
    }

    fn out_for(&self, rule: &Rule) -> Duration {
        let doubled = 1u32.checked_shl(self.times.saturating_sub(1)).unwrap_or(u32::MAX);
        rule.base.saturating_mul(doubled).min(rule.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    const S: Duration = Duration::from_secs(1);
    const RULE: Rule = Rule {
        failures: 3,
        base: Duration::from_secs(10),
        most: Duration::from_secs(30),
        share: 0.5,
    };

    /// Fails until it is out, and says for how long.
    fn put_out(outlier: &mut Outlier, now: Instant) -> Duration {
        (0..RULE.failures).find_map(|_| outlier.failed(&RULE, now, true)).unwrap() - now
    }

    #[test]
    fn so_many_failures_in_a_row_put_it_out_for_a_while() {
        let (mut outlier, now) = (Outlier::default(), time::now());
        for _ in 0..5 {
            assert_eq!(outlier.failed(&RULE, now, true), None);
            assert_eq!(outlier.failed(&RULE, now, true), None);
            outlier.succeeded(&RULE, now);
        }
        assert_eq!(put_out(&mut outlier, now), 10 * S);
        assert!(outlier.is_out(now) && outlier.is_out(now + 9 * S));
        assert!(!outlier.is_out(now + 10 * S));
        assert_eq!(outlier.failed(&RULE, now + S, true), None, "it is out already");
    }

    #[test]
    fn each_time_it_is_out_for_longer_until_it_has_done_well_for_long() {
        let (mut outlier, mut now) = (Outlier::default(), time::now());
        for length in [10, 20, 30, 30] {
            assert_eq!(put_out(&mut outlier, now), length * S);
            now += length * S;
            outlier.succeeded(&RULE, now);
        }
        // For as long as it was out, for each time.
        for _ in 0..4 {
            now += 30 * S;
            outlier.succeeded(&RULE, now);
        }
        assert_eq!(outlier, Outlier::default());
        assert_eq!(put_out(&mut outlier, now), 10 * S);
    }

    #[test]
    fn who_may_not_be_put_out_is_in() {
        let (mut outlier, now) = (Outlier::default(), time::now());
        for _ in 0..10 {
            assert_eq!(outlier.failed(&RULE, now, false), None);
        }
        assert!(outlier.failed(&RULE, now, true).is_some());
    }

    #[test]
    fn a_share_is_never_all() {
        let out = |share, of| Rule { share, ..RULE }.may_be_out(of);
        assert_eq!([out(0.5, 0), out(0.5, 1), out(0.5, 2), out(0.5, 5)], [0, 0, 1, 2]);
        assert_eq!([out(0.99, 1), out(0.99, 2), out(1.0, 3)], [0, 1, 2]);
    }
}
