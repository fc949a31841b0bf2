//! What no cache of unit-size objects that takes in every object it misses can do better.

use std::collections::BinaryHeap;

use crate::traces::{Trace, dense};

/// The offline optimum for a trace: it drops what will be asked for last.
pub(crate) struct Belady {
    keys: Vec<u32>,
    unique: usize,
    /// For each request, the next one of the same key.
    next: Vec<u32>,
}

/// No further request.
const NEVER: u32 = u32::MAX;

impl Belady {
    pub(crate) fn new(trace: &Trace) -> Self {
        Self::of_keys(&trace.keys)
    }

    fn of_keys(keys: &[u64]) -> Self {
        assert!(keys.len() < NEVER as usize, "requests are numbered with 32 bits");
        let (keys, unique) = dense(keys);
        let unique = unique as usize;
        let mut next = vec![NEVER; keys.len()];
        let mut seen = vec![NEVER; unique];
        for (at, &key) in keys.iter().enumerate().rev() {
            next[at] = std::mem::replace(&mut seen[key as usize], at as u32);
        }
        Self { keys, unique, next }
    }

    /// Hits of a cache of `capacity` objects that starts empty.
    ///
    /// The heap holds the next request of everything cached. Requests that have passed stay in
    /// it, below those still to come, and no cached object is without one to come: so the top is
    /// always a true one. Objects that are never asked for again need no name: they are only
    /// counted, and dropped first.
    pub(crate) fn hits(&self, capacity: u64) -> u64 {
        let mut cached = vec![false; self.unique];
        let mut by_next = BinaryHeap::new();
        let (mut used, mut useless, mut hits) = (0, 0, 0);
        for (&key, &next) in self.keys.iter().zip(&self.next) {
            let key = key as usize;
            if cached[key] {
                hits += 1;
            } else if used < capacity {
                used += 1;
            } else if useless > 0 {
                useless -= 1;
            } else {
                let Some(last) = by_next.pop() else { return 0 };
                cached[self.keys[last as usize] as usize] = false;
            }
            cached[key] = next != NEVER;
            if next == NEVER {
                useless += 1;
            } else {
                by_next.push(next);
            }
        }
        hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// The same by the book: looks through the future at every miss.
    fn by_the_book(keys: &[u64], capacity: usize) -> u64 {
        let mut cached: Vec<u64> = Vec::new();
        let mut hits = 0;
        for (at, key) in keys.iter().enumerate() {
            if cached.contains(key) {
                hits += 1;
                continue;
            }
            if cached.len() == capacity {
                let next = |key: &u64| keys[at..].iter().position(|other| other == key);
                let next = |key: &u64| next(key).unwrap_or(usize::MAX);
                let last = (0..capacity).max_by_key(|&place| next(&cached[place])).unwrap();
                cached.swap_remove(last);
            }
            cached.push(*key);
        }
        hits
    }

    #[test]
    fn a_textbook_trace() {
        // Belady's own kind of example: 3 frames, 9 faults of 20.
        let keys = [7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1];
        assert_eq!(Belady::of_keys(&keys).hits(3), 11);
        assert_eq!(Belady::of_keys(&keys).hits(0), 0);
        assert_eq!(Belady::of_keys(&keys).hits(100), 14);
        assert_eq!(Belady::of_keys(&[]).hits(1), 0);
    }

    #[test]
    fn random_traces_agree_with_the_book() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let range = 2 + random.below(30);
            let skewed = |random: &mut Random| random.below(range).min(random.below(range));
            let keys: Vec<u64> = (0..200).map(|_| skewed(&mut random)).collect();
            let belady = Belady::of_keys(&keys);
            for capacity in 1..12 {
                let expected = by_the_book(&keys, capacity);
                assert_eq!(belady.hits(capacity as u64), expected, "seed {seed}, {capacity}");
            }
        }
    }
}
