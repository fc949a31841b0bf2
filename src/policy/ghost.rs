//! The ghosts: which handles were evicted of late, and when.
//!
//! ```text
//!  bucket: 32 bytes, never across a cache line         ghost
//!  ┌────┬────┬────┬────┬────┬────┬────┬────┐           ┌────────────────┬────┬─────────┐
//!  │    │    │    │    │    │    │    │    │           │ fingerprint:16 │from│ time:15 │
//!  └────┴────┴────┴────┴────┴────┴────┴────┘           └────────────────┴────┴─────────┘
//! ```
//!
//! The time is the clock of the queue that the entry came from: how much left that queue until
//! then, in units of 1/1024 to 1/2048 of the capacity, wrapping after 16 to 32 capacities. A
//! full bucket loses the ghost that is oldest in relation to how long its kind is of use.
//!
//! Fingerprints make mistakes: one in about 8,000 look-ups for a handle without a ghost finds
//! another's. Against exact ghosts that makes no difference in hit ratio.

use crate::value::allocated;

const WAYS: usize = 8;
const TIME: u32 = (1 << 15) - 1;
const FROM_MAIN: u32 = 1 << 15;
const FINGERPRINT: u32 = !(TIME | FROM_MAIN);
/// A time unit is this part of the capacity, or up to half of that.
const UNITS: u64 = 1024;
/// Aligned allocations take up to this much more.
const ALIGNMENT_BYTES: u64 = align_of::<Bucket>() as u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Small,
    Main,
}

impl Origin {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Small => Self::Main,
            Self::Main => Self::Small,
        }
    }
}

/// How much was evicted from each queue, ever.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clocks {
    pub(super) small: u64,
    pub(super) main: u64,
}

/// For how long ghosts are of use, on the clock of their queue.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) small: u64,
    pub(super) main: u64,
}

pub(super) struct Ghosts {
    buckets: Box<[Bucket]>,
    /// A time unit, as a shift.
    unit: u32,
    limits: Limits,
}

/// Zero is an empty place.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Bucket([u32; WAYS]);

/// Where a handle's ghost is looked for.
struct Trace {
    bucket: usize,
    fingerprint: u32,
}

impl Clocks {
    pub(super) fn of(&mut self, origin: Origin) -> &mut u64 {
        match origin {
            Origin::Small => &mut self.small,
            Origin::Main => &mut self.main,
        }
    }
}

impl Ghosts {
    /// Bytes of a table with room for `ghosts`.
    pub(super) fn bytes_for(ghosts: usize) -> u64 {
        let buckets = ghosts.div_ceil(WAYS).max(1);
        allocated(buckets * size_of::<Bucket>()) as u64 + ALIGNMENT_BYTES
    }

    pub(super) fn new(ghosts: usize, capacity: u64, limits: Limits) -> Self {
        let buckets = vec![Bucket([0; WAYS]); ghosts.div_ceil(WAYS).max(1)].into_boxed_slice();
        Self { buckets, unit: (capacity / UNITS).max(1).ilog2(), limits }
    }

    pub(super) fn bytes(&self) -> u64 {
        Self::bytes_for(self.buckets.len() * WAYS)
    }

    /// Whether the time unit is neither too coarse nor too fine for the capacity.
    pub(super) fn suits(&self, capacity: u64) -> bool {
        let units = capacity >> self.unit;
        units < 8 * UNITS && (units > UNITS / 8 || self.unit == 0)
    }

    /// Remembers an eviction; the clocks count it already.
    pub(super) fn put(&mut self, handle: u32, origin: Origin, clocks: Clocks) {
        let trace = self.trace(handle);
        let from = if origin == Origin::Main { FROM_MAIN } else { 0 };
        let word = trace.fingerprint | from | self.time(origin, clocks);
        self.place(trace.bucket, word, clocks);
    }

    /// The origin of a handle's ghost, and its age on the clock of that queue.
    pub(super) fn find(&self, handle: u32, clocks: Clocks) -> Option<(Origin, u64)> {
        let trace = self.trace(handle);
        let bucket = &self.buckets[trace.bucket].0;
        let word = *bucket.iter().find(|&&word| word & FINGERPRINT == trace.fingerprint)?;
        Some((origin(word), u64::from(self.age(word, clocks)) << self.unit))
    }

    pub(super) fn remove(&mut self, handle: u32) {
        let trace = self.trace(handle);
        for word in &mut self.buckets[trace.bucket].0 {
            if *word & FINGERPRINT == trace.fingerprint {
                *word = 0;
            }
        }
    }

    /// The same ghosts in a table with room for `ghosts`.
    ///
    /// A fingerprint does not tell in which of several new buckets its handle will be looked
    /// for, so it goes into each; what is wrong there ages away with the rest.
    pub(super) fn resized(
        &self,
        ghosts: usize,
        capacity: u64,
        limits: Limits,
        clocks: Clocks,
    ) -> Self {
        let mut new = Self::new(ghosts, capacity, limits);
        let (old_count, new_count) = (self.buckets.len(), new.buckets.len());
        for (index, bucket) in self.buckets.iter().enumerate() {
            // The same part of all hashes: see `trace`.
            let first = index * new_count / old_count;
            let last = ((index + 1) * new_count - 1) / old_count;
            for &word in bucket.0.iter().filter(|&&word| word != 0) {
                let age = (u64::from(self.age(word, clocks)) << self.unit) >> new.unit;
                if age > u64::from(TIME / 2) {
                    continue;
                }
                let time = new.time(origin(word), clocks).wrapping_sub(age as u32) & TIME;
                for index in first..=last {
                    new.place(index, word & !TIME | time, clocks);
                }
            }
        }
        new
    }

    /// Puts a ghost into an empty place, that of the same fingerprint, or that of the one that
    /// is oldest in relation to its limit.
    fn place(&mut self, bucket: usize, word: u32, clocks: Clocks) {
        let (mut chosen, mut oldest) = (0, 0);
        for way in 0..WAYS {
            let other = self.buckets[bucket].0[way];
            if other & FINGERPRINT == word & FINGERPRINT {
                chosen = way;
                break;
            }
            let age = match origin(other) {
                _ if other == 0 => u64::MAX,
                // In proportion to age / limit, without a division.
                Origin::Small => u64::from(self.age(other, clocks)) * self.limits.main,
                Origin::Main => u64::from(self.age(other, clocks)) * self.limits.small,
            };
            if age > oldest {
                (chosen, oldest) = (way, age);
            }
        }
        self.buckets[bucket].0[chosen] = word;
    }

    fn trace(&self, handle: u32) -> Trace {
        // Fibonacci hashing: the upper half chooses the bucket, of the lower one there is a part.
        let mixed = u64::from(handle).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bucket = ((mixed >> 32) * self.buckets.len() as u64) >> 32;
        let fingerprint = (mixed as u32) & FINGERPRINT;
        Trace { bucket: bucket as usize, fingerprint: fingerprint.max(FROM_MAIN << 1) }
    }

    fn time(&self, origin: Origin, mut clocks: Clocks) -> u32 {
        (*clocks.of(origin) >> self.unit) as u32 & TIME
    }

    fn age(&self, word: u32, clocks: Clocks) -> u32 {
        self.time(origin(word), clocks).wrapping_sub(word) & TIME
    }
}

fn origin(word: u32) -> Origin {
    if word & FROM_MAIN == 0 { Origin::Small } else { Origin::Main }
}
