//! Latencies in buckets that are at most 3 % wide, from 1 ns to 17 s. Knows nothing of clocks.

use fairlead::time::Duration;

/// Buckets to one power of two.
const STEPS: u64 = 32;
const BUCKETS: usize = 32 * 32;

/// How often each latency was seen.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    all: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Histogram { counts: vec![0; BUCKETS], all: 0 }
    }

    pub(crate) fn add(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(nanos).min(BUCKETS - 1)) {
            *count += 1;
            self.all += 1;
        }
    }

    /// The latency, in microseconds, that the share `q` (0 to 1) does not exceed; 0 where nothing was seen.
    pub(crate) fn micros(&self, q: f64) -> f64 {
        let rank = (self.all as f64 * q).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(at) as f64 / 1000.0;
            }
        }
        0.0
    }
}

fn bucket(nanos: u64) -> usize {
    let power = u64::from(nanos.max(1).ilog2());
    let at = if power < 5 { nanos } else { (power - 4) * STEPS + (nanos >> (power - 5)) - STEPS };
    at as usize
}

/// The largest value of a bucket.
fn upper(at: usize) -> u64 {
    let at = at as u64;
    let (power, step) = (at / STEPS, at % STEPS);
    if power == 0 { step } else { ((STEPS + step + 1) << (power - 1)) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_at_most_three_percent_below_the_end_of_its_bucket() {
        for shift in 0..33 {
            for add in [0, 1, 3, 7] {
                let nanos = (1u64 << shift) + add;
                let end = upper(bucket(nanos));
                assert!(
                    end >= nanos && (end - nanos) as f64 <= nanos as f64 * 0.032,
                    "{nanos} {end}"
                );
            }
        }
    }

    #[test]
    fn quantiles_are_in_order() {
        let mut all = Histogram::new();
        for micros in 1..=100 {
            all.add(Duration::from_micros(micros));
        }
        assert!((all.micros(0.5) - 50.0).abs() < 2.0);
        assert!((all.micros(0.99) - 99.0).abs() < 4.0);
    }
}
