//! A distribution of times that one thread writes and any thread reads.
//!
//! Log-linear, as in HdrHistogram: 32 equal steps between each power of two and the next, so a value
//! is known to about 3 %. Recording is two plain adds on memory that only this thread writes; no
//! locked instruction. Readers merge many of them into a [`Merged`]. A value past 2^42 ns
//! (73 minutes) goes into the last step; sum and maximum stay exact.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::{Nanos, Spread};

/// 2^5 steps between two powers of two.
const STEP_BITS: u32 = 5;
const STEPS: usize = 1 << STEP_BITS;
const TOP_BIT: u32 = 42;
/// Values below 32 are kept exactly; then 32 steps for each power of two up to 2^42.
const BUCKETS: usize = (TOP_BIT - STEP_BITS) as usize * STEPS + STEPS;

fn bucket(value: u64) -> usize {
    if value < STEPS as u64 {
        return value as usize;
    }
    let value = value.min((1 << TOP_BIT) - 1);
    let shift = value.ilog2() - STEP_BITS;
    // The top bit is always set after the shift, so this is `STEPS + step`.
    shift as usize * STEPS + (value >> shift) as usize
}

/// The value in the middle of a bucket.
fn middle(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let shift = bucket / STEPS - 1;
    let low = ((STEPS + bucket % STEPS) as u64) << shift;
    low + ((1 << shift) >> 1)
}

/// Written by its one owner.
pub(super) struct Histogram {
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
    max: AtomicU64,
}

impl Histogram {
    pub fn new() -> Histogram {
        Histogram {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }

    /// For the owner alone: a second writer would lose counts.
    pub fn record(&self, value: Nanos) {
        add(&self.buckets[bucket(value.0)], 1);
        add(&self.sum, value.0);
        if value.0 > self.max.load(Ordering::Relaxed) {
            self.max.store(value.0, Ordering::Relaxed);
        }
    }
}

/// Relaxed load and store: single writer, and each number stands alone.
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

/// The sum of many histograms at about one time.
pub(super) struct Merged {
    buckets: Vec<u64>,
    sum: u64,
    max: u64,
}

impl Merged {
    pub fn new() -> Merged {
        Merged {
            buckets: vec![0; BUCKETS],
            sum: 0,
            max: 0,
        }
    }

    pub fn add(&mut self, histogram: &Histogram) {
        for (total, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *total += bucket.load(Ordering::Relaxed);
        }
        self.sum = self.sum.wrapping_add(histogram.sum.load(Ordering::Relaxed));
        self.max = self.max.max(histogram.max.load(Ordering::Relaxed));
    }

    /// The value below or at which a `share` of all values lie.
    fn quantile(&self, count: u64, share: f64) -> Nanos {
        let rank = ((share * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        for (index, n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return Nanos(middle(index).min(self.max));
            }
        }
        Nanos(0)
    }

    pub fn spread(&self) -> Spread {
        let count: u64 = self.buckets.iter().sum();
        if count == 0 {
            return Spread::default();
        }
        Spread {
            count,
            mean: Nanos(self.sum / count),
            p50: self.quantile(count, 0.50),
            p90: self.quantile(count, 0.90),
            p99: self.quantile(count, 0.99),
            max: Nanos(self.max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spread_of(values: &[u64]) -> Spread {
        // Over two histograms, so that merging is part of every check.
        let (odd, even) = (Histogram::new(), Histogram::new());
        for (i, value) in values.iter().enumerate() {
            if i % 2 == 0 { &even } else { &odd }.record(Nanos(*value));
        }
        let mut merged = Merged::new();
        merged.add(&odd);
        merged.add(&even);
        merged.spread()
    }

    #[test]
    fn nothing_recorded_is_an_empty_spread() {
        assert_eq!(spread_of(&[]), Spread::default());
    }

    #[test]
    fn small_values_are_exact_and_huge_ones_are_not_lost() {
        let spread = spread_of(&[0, 1, 2, 3, u64::MAX]);
        assert_eq!((spread.count, spread.p50, spread.max), (5, Nanos(2), Nanos(u64::MAX)));
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let mut last = 0;
        for value in 0..100_000u64 {
            let index = bucket(value);
            assert!(index == last || index == last + 1, "{value}");
            last = index;
        }
        assert_eq!(bucket((1 << TOP_BIT) - 1), BUCKETS - 1);
    }

    proptest! {
        #[test]
        fn quantiles_are_within_three_percent_of_hdrhistogram(
            values in prop::collection::vec((0u32..40).prop_flat_map(|bits| 0u64..=1 << bits), 1..300)
        ) {
            let mut reference = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 1 << 41, 4).unwrap();
            for value in &values {
                reference.record(*value).unwrap();
            }
            let ours = spread_of(&values);
            prop_assert_eq!(ours.count, values.len() as u64);
            prop_assert_eq!(ours.max.0, *values.iter().max().unwrap());
            prop_assert_eq!(ours.mean.0, values.iter().sum::<u64>() / values.len() as u64);
            for (quantile, value) in [(0.5, ours.p50), (0.9, ours.p90), (0.99, ours.p99)] {
                let expected = reference.value_at_quantile(quantile) as f64;
                prop_assert!((value.0 as f64 - expected).abs() <= 0.032 * expected + 1.0,
                    "{}: {} against {}", quantile, value.0, expected);
            }
        }
    }
}
