//! Counts durations in buckets of at most 1.6 % width, so that a percentile is one.

use std::time::Duration;

/// Buckets for each power of two.
const STEPS: u64 = 64;
const BUCKETS: usize = (64 - STEPS.trailing_zeros() as usize + 1) * STEPS as usize;

/// A log-linear histogram of nanoseconds.
pub(crate) struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0 }
    }

    pub(crate) fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts.iter()) {
            *mine += theirs;
        }
        self.total += other.total;
    }

    /// Nanoseconds that `per_mille` of a thousand samples do not exceed; 0 without samples.
    pub(crate) fn percentile_ns(&self, per_mille: u64) -> u64 {
        let rank = (self.total * per_mille).div_ceil(1000);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && seen > 0 {
                return highest(index);
            }
        }
        0
    }
}

/// Below `STEPS` a bucket a nanosecond; above, the top bits of the number choose it.
fn bucket(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - STEPS.ilog2();
    (u64::from(shift) * STEPS + (nanos >> shift)) as usize
}

/// The largest number that falls into a bucket.
fn highest(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * STEPS {
        return index;
    }
    let shift = index / STEPS - 1;
    let top = index - shift * STEPS;
    (top << shift) | ((1 << shift) - 1)
}
