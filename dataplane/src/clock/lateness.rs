//! A histogram of how late frames left: fixed size, one part in sixteen exact.

use crate::emulation::report::Lateness;
use crate::units::Time;

/// Linear steps within a power of two.
const STEPS: u64 = 16;
const STEP_BITS: u32 = 4;
const BUCKETS: usize = 64 * STEPS as usize;

/// Counts by lateness in nominal nanoseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }
}

impl Histogram {
    pub fn record(&mut self, lateness: Time) {
        let ns = lateness.ns();
        self.counts[bucket(ns)] += 1;
        self.total += 1;
        self.max = self.max.max(ns);
    }

    /// Count what another histogram has too.
    pub fn add(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, more)| *own += more);
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// Median, 99th percentile (each rounded up by at most one part in sixteen) and maximum.
    pub fn summary(&self) -> Lateness {
        Lateness { p50: self.percentile(50), p99: self.percentile(99), max: self.max }
    }

    fn percentile(&self, percent: u64) -> u64 {
        let rank = (self.total * percent).div_ceil(100);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && seen > 0 {
                return upper_bound(index).min(self.max);
            }
        }
        0
    }
}

fn bucket(ns: u64) -> usize {
    if ns < STEPS {
        return ns as usize;
    }
    let exponent = ns.ilog2() - STEP_BITS;
    ((u64::from(exponent) + 1) * STEPS + (ns >> exponent) - STEPS) as usize
}

/// The largest value that falls into a bucket.
fn upper_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let exponent = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS + 1) << exponent) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_their_bounds_say() {
        for ns in (0..5_000).chain([1 << 20, (1 << 40) + 12_345]) {
            let index = bucket(ns);
            assert!(upper_bound(index) >= ns && (index == 0 || upper_bound(index - 1) < ns), "{ns}");
        }
        assert!(bucket(u64::MAX / 1_000) < BUCKETS);
    }

    #[test]
    fn percentiles_are_within_a_sixteenth() {
        let mut histogram = Histogram::default();
        for ns in 1..=10_000 {
            histogram.record(Time::from_ns(ns));
        }
        let Lateness { p50, p99, max } = histogram.summary();
        assert!((5_000..=5_313).contains(&p50) && (9_900..=10_000).contains(&p99), "{p50} {p99}");
        assert_eq!(max, 10_000);
        assert_eq!(Histogram::default().summary().p99, 0);
    }

    #[test]
    fn a_bucket_is_a_sixteenth_of_a_power_of_two() {
        let bounds = [0, 15, 16, 31, 32, 33, 34, 1_000, 1_024].map(|ns| upper_bound(bucket(ns)));
        assert_eq!(bounds, [0, 15, 16, 31, 33, 33, 35, 1_023, 1_087]);
        assert_eq!([16, 31, 32, 1_000].map(bucket), [16, 31, 32, 111]);
    }

    #[test]
    fn a_sum_has_what_both_have() {
        let (mut few, mut many) = (Histogram::default(), Histogram::default());
        [1, 2, 900].into_iter().for_each(|ns| few.record(Time::from_ns(ns)));
        (0..98).for_each(|_| many.record(Time::from_ns(12)));
        assert_eq!(many.summary().max, 12);
        few.add(&many);
        let Lateness { p50, p99, max } = few.summary();
        // 101 in all: the 51st and the 100th are of the many.
        assert_eq!((p50, p99, max, few.total), (12, 12, 900, 101));
        many.add(&few);
        assert_eq!((many.summary().max, many.total), (900, 199));
        // Nothing is said to be later than the latest was.
        assert_eq!(Histogram::default().summary().p50, 0);
        let mut one = Histogram::default();
        one.record(Time::from_ns(1_000));
        assert_eq!(one.summary().p99, 1_000);
    }
}
