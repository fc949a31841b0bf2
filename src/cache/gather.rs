//! Entries on huge pages.
//!
//! An allocator has its memory on pages of 4 KiB, so that nearly every read of a large cache also
//! misses the processor's table of addresses (its TLB): at a million entries that is an eighth to a
//! quarter of a get. The table asks for huge pages when it is made; entries come one by one, from whatever
//! allocator the program has, which does not ask. So maintenance looks, in slots alone, where
//! entries stand, and has the system move each stretch of 2 MiB that is full of them onto one page
//! (Linux 6.1 and later; see `madvise(2)`, `MADV_COLLAPSE`). To the program nothing moves.
//!
//! A walk begins when the cache has grown by an eighth, and every ten minutes: what is overwritten may
//! stand elsewhere. It counts entries by stretch, some buckets a step, and then moves one stretch a
//! step, for which the system takes a fifth of a millisecond to some; who needs what stands there
//! waits for it. So nothing is moved that is about to go: once an eighth of the entries is gone, what
//! a walk has found no longer holds, and the next one waits until for some time no eighth has gone.

use std::mem;

use ahash::AHashMap;

use crate::cache::core::Core;
use crate::clock::Nanos;
use crate::memory::{self, HUGE_PAGE};
use crate::reclaim::Guard;
use crate::value::{Extent, INLINE_BYTES, Value};

/// How long a walk's findings hold at most.
const PERIOD: Nanos = 600 * 1_000_000_000;
/// How long no walk begins after an eighth of the entries has gone, unless that never ends.
const CALM: Nanos = 10 * 1_000_000_000;
/// With fewer entries a cache fits into what the processor's table of addresses covers.
const FEW_ENTRIES: u64 = 8 << 10;
/// The part of a stretch that has to be taken by entries: what is moved becomes resident as a whole.
const LEAST_PART: u64 = 2;
/// What moving a stretch counts for, in buckets looked at.
const MOVE_WORTH: usize = 512;

/// Finds the stretches that are full of entries, and moves them.
#[derive(Default)]
pub(super) struct Gather {
    stage: Stage,
    /// Entries when the last walk began, or fewer if there were fewer since.
    known: u64,
    /// When it began.
    began: Nanos,
    /// The most entries since a walk began, or an eighth of them had gone.
    most: u64,
    /// From when on there may be walks again.
    calm: Nanos,
}

#[derive(Default)]
enum Stage {
    #[default]
    Idle,
    /// Entries by stretch, in the buckets before this one.
    Counting(usize, AHashMap<usize, u64>),
    /// Addresses of stretches that are still to be moved.
    Moving(Vec<usize>),
}

impl Gather {
    /// Looks at up to `budget` buckets, or moves a stretch if there is any budget; answers what that was
    /// worth, zero where there is nothing to do.
    pub(super) fn step<V: Value, S>(
        &mut self,
        core: &Core<V, S>,
        budget: usize,
        guard: &Guard,
    ) -> usize {
        if budget == 0 {
            return 0;
        }
        let (entries, now) = (core.entries(), core.now());
        self.look(entries, now);
        match &mut self.stage {
            Stage::Idle => {
                if self.is_due(entries, now) && memory::has_huge_pages() {
                    self.stage = Stage::Counting(0, AHashMap::new());
                    return 1;
                }
                0
            }
            Stage::Counting(bucket, counts) => {
                let first = *bucket;
                let end = core.table.buckets().min(first + budget);
                for bucket in first..end {
                    for (_, entry) in core.table.bucket_entries(bucket, guard) {
                        *counts.entry(entry.as_ptr().addr() / HUGE_PAGE).or_default() += 1;
                    }
                }
                *bucket = end;
                if end == core.table.buckets() {
                    let least = least_entries::<V>(core.live_bytes(), core.entries());
                    let full = mem::take(counts).into_iter().filter(|&(_, count)| count >= least);
                    let mut full: Vec<_> = full.map(|(stretch, _)| stretch * HUGE_PAGE).collect();
                    // From below, as allocators fill their memory.
                    full.sort_unstable_by(|one, two| two.cmp(one));
                    self.stage = Stage::Moving(full);
                }
                end - first
            }
            Stage::Moving(stretches) => match stretches.pop() {
                Some(stretch) => {
                    memory::move_to_huge_page(stretch);
                    MOVE_WORTH.min(budget)
                }
                None => {
                    self.stage = Stage::Idle;
                    0
                }
            },
        }
    }

    /// Takes note of how many entries there are, and gives up a walk where an eighth has gone.
    fn look(&mut self, entries: u64, now: Nanos) {
        self.most = self.most.max(entries);
        if entries >= self.most - self.most / 8 {
            return;
        }
        self.most = entries;
        self.calm = now.saturating_add(CALM);
        // What comes next may stand elsewhere; and where a walk ends early, what is left waits for one.
        self.known = if self.is_pending() { 0 } else { self.known.min(entries) };
        self.stage = Stage::Idle;
    }

    /// Whether a walk is to begin, in a cache with so many entries; takes note of them.
    fn is_due(&mut self, entries: u64, now: Nanos) -> bool {
        let grew = entries > self.known + self.known / 8 + FEW_ENTRIES;
        let since = now.saturating_sub(self.began);
        let long_ago = entries > FEW_ENTRIES && since >= PERIOD;
        let calm = now >= self.calm || since >= 2 * PERIOD;
        let due = calm && (grew || long_ago);
        if due {
            self.began = now;
            self.known = entries;
            self.most = entries;
        }
        due
    }

    pub(super) fn is_pending(&self) -> bool {
        !matches!(self.stage, Stage::Idle)
    }
}

/// Entries of a stretch that is full of them, where so many take so much altogether, with what
/// stands among them.
fn least_entries<V: Value>(bytes: u64, entries: u64) -> u64 {
    // What is longer stands elsewhere.
    let most = V::area(Extent { len: INLINE_BYTES as u32, long: false }).size() as u64;
    let each = (bytes / entries.max(1)).min(most).max(1);
    (HUGE_PAGE as u64 / LEAST_PART / each).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Blob;

    #[test]
    fn a_walk_begins_when_the_cache_has_grown_by_an_eighth() {
        let mut gather = Gather::default();
        assert!(!gather.is_due(FEW_ENTRIES, 0), "too small to be worth it");
        assert!(gather.is_due(FEW_ENTRIES + 1, 0));
        assert!(!gather.is_due(FEW_ENTRIES + 2, 0));
        assert!(gather.is_due(1_000_000, 0));
        assert!(!gather.is_due(1_125_000 + FEW_ENTRIES, 0));
        assert!(gather.is_due(1_125_001 + FEW_ENTRIES, 0));
    }

    #[test]
    fn a_walk_is_given_up_once_an_eighth_has_gone_and_what_is_left_gets_its_own() {
        let mut gather = Gather::default();
        assert!(gather.is_due(1_000_000, 0));
        gather.stage = Stage::Moving(vec![0]);
        gather.look(1_000_000, 0);
        gather.look(875_000, 1);
        assert!(gather.is_pending());
        gather.look(874_999, 2);
        assert!(!gather.is_pending(), "more than an eighth has gone");
        assert!(!gather.is_due(874_999, 1 + CALM));
        gather.look(800_000, 3 + CALM);
        assert!(gather.is_due(800_000, 2 + CALM), "a few more do not matter");
    }

    #[test]
    fn no_walk_begins_while_entries_go() {
        let mut gather = Gather::default();
        gather.look(1_000_000, 0);
        for second in 1..30 {
            let (entries, now) = (1_000_000 - second * 30_000, second * 1_000_000_000);
            gather.look(entries, now);
            assert!(second < 5 || !gather.is_due(entries, now), "after {second} seconds");
        }
        gather.look(130_000, 29 * 1_000_000_000 + CALM);
        assert!(gather.is_due(130_000, 29 * 1_000_000_000 + CALM));
    }

    #[test]
    fn a_cache_whose_entries_come_and_go_for_ever_gets_its_walk() {
        let mut gather = Gather::default();
        gather.look(1_000_000, 0);
        assert!(gather.is_due(1_000_000, 0));
        for wave in 1..240 {
            let now = wave * PERIOD / 120;
            gather.look(800_000, now);
            gather.look(1_000_000, now);
            assert!(!gather.is_due(1_000_000, now));
        }
        assert!(gather.is_due(1_000_000, 2 * PERIOD));
    }

    #[test]
    fn a_cache_that_became_smaller_is_looked_at_again_when_it_grows() {
        let mut gather = Gather::default();
        gather.look(1_000_000, 0);
        assert!(gather.is_due(1_000_000, 0));
        gather.look(900_000, 0);
        assert!(!gather.is_due(1_000_000, CALM), "as many as before");
        gather.look(500_000, 0);
        assert!(!gather.is_due(562_500 + FEW_ENTRIES, CALM), "what is left stands where it was");
        assert!(gather.is_due(562_501 + FEW_ENTRIES, CALM));
    }

    #[test]
    fn a_walk_begins_every_ten_minutes() {
        let mut gather = Gather::default();
        assert!(gather.is_due(1_000_000, 5));
        assert!(!gather.is_due(1_000_000, 4 + PERIOD));
        assert!(gather.is_due(1_000_000, 5 + PERIOD));
        assert!(!gather.is_due(1_000_000, 6 + PERIOD));
        assert!(!gather.is_due(1_000_000, 0), "a clock that runs backwards");
        assert!(!Gather::default().is_due(FEW_ENTRIES, 2 * PERIOD), "too small to be worth it");
    }

    #[test]
    fn a_stretch_is_full_where_entries_take_half_of_it() {
        let full = HUGE_PAGE as u64 / 2;
        assert_eq!(least_entries::<Blob>(128 * 1000, 1000), full / 128);
        assert_eq!(least_entries::<Blob>(1 << 30, 1000), full / 1024, "the rest stands elsewhere");
        assert_eq!(least_entries::<[u8; 4096]>(1 << 30, 1000), full / 4096);
        assert_eq!(least_entries::<[u8; 4 << 20]>(1 << 30, 100), 1);
        assert_eq!(least_entries::<Blob>(0, 0), full);
    }
}
