//! Each rule of the policy in turn, in a cache with a plain map in place of the table.

mod changes;
mod ghosts;

use std::collections::HashSet;

use super::admission::Vote;
use super::fuzz::{Cache, Entry};
use super::ghost::{Clocks, Ghosts, Limits, Origin};
use super::*;

impl Cache {
    fn evict(&mut self, need: u64) -> Evicted {
        if self.policy.wanted_ghost_bytes().is_some() {
            self.policy.size_ghosts();
        }
        self.policy.evict(need, self.share, &mut self.world)
    }

    /// Whether it was a hit.
    fn get_or_insert_weighing(&mut self, key: u32, weight: u64) -> bool {
        if let Some(entry) = self.world.entries.get_mut(&key) {
            entry.credit = (entry.credit + 1).min(3);
            return true;
        }
        while self.held() + weight > self.capacity {
            assert_ne!(self.evict(weight), Evicted::Empty);
        }
        self.world.entries.insert(key, Entry { credit: 0, weight, evictable: true });
        self.policy.insert(key, weight, &mut self.share, &mut self.world);
        self.policy.validate().unwrap();
        false
    }

    /// Whether it was a hit.
    fn get_or_insert(&mut self, key: u32) -> bool {
        self.get_or_insert_weighing(key, 1)
    }

    /// A full cache of new keys from `first` on.
    fn fill(&mut self, first: u32) {
        for key in first..first + self.capacity as u32 {
            self.get_or_insert(key);
        }
    }
}

#[test]
fn two_hits_lead_to_the_main_queue() {
    let mut cache = Cache::new(Eviction::Adaptive, 100);
    cache.fill(0);
    assert_eq!(cache.policy.small.entries(), (0..10).collect::<Vec<_>>());
    for (key, hits) in [(0, 2), (1, 1), (2, 3)] {
        (0..hits).for_each(|_| assert!(cache.get_or_insert(key)));
    }
    cache.get_or_insert(1000);
    cache.get_or_insert(1001);
    assert!(!cache.world.entries.contains_key(&1), "one hit is not enough");
    assert!(cache.policy.main.entries().ends_with(&[0]));
    cache.policy.small.push(Handle { entry: 2, ..Handle::default() });
    // Main is the larger one now: it gives the room.
    cache.get_or_insert(1002);
    assert_eq!(cache.world.entries[&0].credit, 0);
    assert!(!cache.world.entries.contains_key(&10));
}

#[test]
fn a_ghost_returns_to_the_main_queue_where_that_has_room() {
    let mut cache = Cache::new(Eviction::Adaptive, 100);
    // Main holds little: most of the capacity is the small queue's.
    cache.share = 0.85;
    cache.fill(0);
    cache.get_or_insert(1000);
    assert!(!cache.world.entries.contains_key(&0));
    for handle in cache.policy.main.entries() {
        cache.world.entries.remove(&handle);
    }
    while cache.policy.main.pop().is_some() {}
    cache.get_or_insert(0);
    assert_eq!(cache.policy.main.entries(), [0]);
    cache.get_or_insert(2000);
    assert_eq!(cache.policy.main.entries(), [0], "no ghost, no return");
}

#[test]
fn a_ghost_is_compared_with_the_coldest_of_the_main_queue() {
    let mut cache = Cache::new(Eviction::Adaptive, 100);
    cache.fill(0);
    // All of main is in use.
    (10..100).for_each(|key| assert!(cache.get_or_insert(key)));
    cache.get_or_insert(1000);
    cache.get_or_insert(0);
    assert!(cache.policy.small.entries().contains(&0), "main was queued as late as the ghost");
    // Nobody asks for main any more, while new keys go by.
    (2000..2100).for_each(|key| assert!(!cache.get_or_insert(key)));
    assert!(!cache.get_or_insert(2085));
    assert!(cache.policy.main.entries().contains(&2085), "main's coldest was used before it");
}

#[test]
fn a_loop_larger_than_the_cache_leaves_main_as_it_is() {
    let mut cache = Cache::new(Eviction::Adaptive, 100);
    let mut round = || -> (usize, HashSet<u32>) {
        let hits = (0..250).filter(|&key| cache.get_or_insert(key)).count();
        (hits, cache.policy.main.entries().into_iter().collect())
    };
    (0..5).for_each(|_| drop(round()));
    let (_, mut before) = round();
    for _ in 0..20 {
        let (hits, main) = round();
        assert!(hits >= 90, "{hits}");
        assert!(before.intersection(&main).count() >= 85);
        before = main;
    }
}

#[test]
fn near_ghosts_move_the_share() {
    let mut cache = Cache::new(Eviction::Adaptive, 100);
    cache.fill(0);
    cache.get_or_insert(1000);
    let before = cache.share;
    cache.get_or_insert(0);
    assert!(cache.share > before, "the small queue just missed it");

    let mut cache = Cache::new(Eviction::Adaptive, 100);
    cache.fill(0);
    // The small queue is below its target: main gives the room.
    cache.share = 0.5;
    let before = cache.share;
    cache.get_or_insert(1000);
    assert!(!cache.world.entries.contains_key(&10));
    cache.get_or_insert(10);
    assert!(cache.share < before, "the main queue just missed it");
    assert!(cache.policy.small.entries().contains(&10), "main's ghosts only vote");
}

#[test]
fn votes_stay_within_bounds() {
    for capacity in [1, 2, 50, 1 << 20] {
        let mut cache = Cache::new(Eviction::Adaptive, capacity);
        cache.get_or_insert(1);
        for (vote, bound) in
            [(Vote::Grow, 0.90), (Vote::Shrink, f64::max(0.01, 1.0 / capacity as f64))]
        {
            (0..10_000).for_each(|_| cache.policy.count_vote(Some(vote), &mut cache.share));
            assert!((f64::from(cache.share) - bound.min(0.90)).abs() < 1e-6, "{}", cache.share);
        }
    }
}

#[test]
fn stale_handles_are_skipped() {
    for kind in [Eviction::Adaptive, Eviction::S3Fifo] {
        let mut cache = Cache::new(kind, 100);
        cache.fill(0);
        cache.world.entries.retain(|key, _| key % 10 == 9);
        for left in (0..10).rev() {
            assert_eq!(cache.evict(1), Evicted::Entry(1));
            assert_eq!(cache.world.entries.len(), left);
        }
        while cache.evict(1) == Evicted::Unfinished {}
        assert_eq!(cache.evict(1), Evicted::Empty);
        assert_eq!((cache.policy.len(), cache.policy.weight()), (0, 0));
    }
}

#[test]
fn what_changed_meanwhile_is_queued_again() {
    let mut cache = Cache::new(Eviction::Adaptive, 10);
    cache.fill(0);
    cache.world.changed = 5;
    assert_eq!(cache.evict(1), Evicted::Entry(1));
    assert_eq!(cache.world.changed, 0);
    assert_eq!((cache.policy.len(), cache.world.entries.len()), (9, 9));
}

#[test]
fn placeholders_stay() {
    for kind in [Eviction::Adaptive, Eviction::S3Fifo] {
        let mut cache = Cache::new(kind, 50);
        cache.fill(0);
        let keys: Vec<u32> = (0..50).step_by(3).collect();
        for key in &keys {
            cache.world.entries.get_mut(key).unwrap().evictable = false;
        }
        while cache.world.entries.len() > keys.len() {
            assert_ne!(cache.evict(1), Evicted::Empty);
        }
        assert_eq!(cache.evict(1), Evicted::Unfinished, "and it comes to an end");
        assert_eq!(cache.policy.len(), keys.len());
    }
}

#[test]
fn a_call_looks_at_a_bounded_number_of_handles() {
    let mut cache = Cache::new(Eviction::Adaptive, 1000);
    cache.share = 0.9;
    cache.fill(0);
    for entry in cache.world.entries.values_mut() {
        entry.credit = 3;
    }
    let before = cache.policy.small.len();
    assert_eq!(cache.evict(1), Evicted::Unfinished);
    assert_eq!(cache.policy.small.len(), before - LOOKS);
    let calls = (0..100).position(|_| matches!(cache.evict(1), Evicted::Entry(_)));
    assert!(calls.is_some(), "each call goes on where the last one ended");
}

#[test]
fn a_walk_drops_stale_handles_and_keeps_the_order() {
    for step in [1, 100, 10_000] {
        let mut cache = Cache::new(Eviction::Adaptive, 2000);
        cache.fill(0);
        cache.world.entries.retain(|key, _| key % 3 == 0 || (500..900).contains(key));
        let (small, main) = (cache.policy.small.entries(), cache.policy.main.entries());
        let mut steps = 0;
        while !cache.policy.retain(&mut step.clone(), |key| cache.world.entries.contains_key(&key))
        {
            cache.policy.validate().unwrap();
            steps += 1;
        }
        assert_eq!(steps > 0, step < 10_000);
        let live = |handles: Vec<u32>| -> Vec<u32> {
            handles.into_iter().filter(|key| cache.world.entries.contains_key(key)).collect()
        };
        assert_eq!(cache.policy.small.entries(), live(small));
        assert_eq!(cache.policy.main.entries(), live(main));
        assert_eq!(cache.policy.weight(), cache.held());
        let blocks = cache.policy.len().div_ceil(64) as u64 + 3;
        assert!(cache.policy.bytes() < (blocks + 1) * PUSH_BYTES, "blocks are filled up");
    }
}

#[test]
fn a_walk_misses_nothing_while_the_front_leaves() {
    let mut queue = Queue::default();
    (0..2000).for_each(|entry| queue.push(Handle { entry, stamp: 0, weight: 1 }));
    while !queue.retain(&mut 64, |entry| entry % 2 == 0) {
        (0..48).for_each(|_| assert!(queue.pop().is_some()));
        queue.push(Handle { entry: 4000, stamp: 0, weight: 1 });
        queue.validate().unwrap();
    }
    assert!(!queue.is_empty());
    assert!(queue.entries().iter().all(|entry| entry % 2 == 0));
}

#[test]
fn big_entries_have_to_be_known() {
    let mut cache = Cache::new(Eviction::Adaptive, 1000);
    cache.fill(0);
    let Cache { policy, world, share, .. } = &mut cache;
    policy.size_ghosts();
    assert!(policy.admits(5000, 50, share, world), "not big");
    assert!(!policy.admits(5000, 51, share, world));
    assert_eq!(
        policy.ghosts.as_ref().unwrap().find(5000, policy.evicted),
        Some((Origin::Small, 0))
    );
    assert!(!policy.admits(5000, 51, share, world), "main is in use as much");
    for key in 0..900 {
        world.entries.remove(&key);
    }
    while !policy.retain(&mut 1000, |key| world.entries.contains_key(&key)) {}
    assert!(policy.admits(5000, 51, share, world), "main has room");
    policy.insert(5000, 51, share, world);
    assert!(policy.main.entries().ends_with(&[5000]));

    let mut cache = Cache::new(Eviction::S3Fifo, 1000);
    cache.fill(0);
    assert!(cache.policy.admits(5000, 100, &mut cache.share, &mut cache.world));
    assert!(!cache.policy.admits(5000, 101, &mut cache.share, &mut cache.world));
}

#[test]
fn tiny_capacities_work() {
    for kind in [Eviction::Adaptive, Eviction::S3Fifo] {
        for capacity in 1..=16 {
            let mut cache = Cache::new(kind, capacity);
            let mut random = Random(capacity);
            let hits = (0..4000).filter(|_| cache.get_or_insert(random.skewed(40) as u32)).count();
            assert!(cache.held() <= capacity);
            assert!(hits > 100 * capacity as usize / 2, "{kind:?} {capacity}: {hits}");
        }
    }
}

#[test]
fn ghosts_survive_another_size() {
    let mut cache = Cache::new(Eviction::Adaptive, 4000);
    cache.fill(0);
    (5000..9000).for_each(|key| assert!(!cache.get_or_insert(key)));
    let (policy, world) = (&mut cache.policy, &cache.world);
    let ghosts = |policy: &Policy| -> Vec<(u32, Origin)> {
        let ghosts = policy.ghosts.as_ref().unwrap();
        let find = |key| Some((key, ghosts.find(key, policy.evicted)?.0));
        (0..9000).filter(|key| !world.entries.contains_key(key)).filter_map(find).collect()
    };
    let before = ghosts(policy);
    assert!(before.len() > 3900, "{}", before.len());
    // As many handles again: they lead nowhere.
    for entry in 20_000..24_100 {
        policy.main.push(Handle { entry, stamp: 0, weight: 1 });
    }
    let (bytes, old) = (policy.bytes(), policy.ghosts.as_ref().unwrap().bytes());
    let wanted = policy.wanted_ghost_bytes().expect("it has doubled");
    policy.size_ghosts();
    assert_eq!(policy.bytes(), bytes - old + wanted);
    assert_eq!(policy.wanted_ghost_bytes(), None);
    let after = ghosts(policy);
    let kept = before.iter().filter(|ghost| after.contains(ghost)).count();
    assert!(kept * 100 > before.len() * 98, "{kept} of {}", before.len());
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ mixed >> 29
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Low numbers more often.
    fn skewed(&mut self, bound: u64) -> u64 {
        let (one, other) = (self.below(bound), self.below(bound));
        one * other / bound
    }
}

/// The fuzz target, on its seeds and on random inputs (`FUZZ_INPUTS` sets how many).
#[test]
fn nothing_is_lost_in_random_use() {
    crate::drive::drive("policy_model", 300, fuzz::run);
}

#[test]
fn a_call_allocates_a_bounded_amount() {
    let mut cache = Cache::new(Eviction::Adaptive, 30_000);
    cache.share = 0.9;
    for step in 0..60_000 {
        let before = cache.policy.bytes();
        let entry = Entry { credit: (step % 4) as u8, weight: 1, evictable: step % 5 != 0 };
        cache.world.entries.insert(step, entry);
        cache.policy.insert(step, 1, &mut cache.share, &mut cache.world);
        let between = cache.policy.bytes();
        assert!(between <= before + Policy::CALL_BYTES);
        if step >= 30_000 {
            cache.policy.evict(1, cache.share, &mut cache.world);
            assert!(cache.policy.bytes() <= between + Policy::CALL_BYTES);
        }
    }
}

/// Handles, the queues that they left, and when.
type Left = Vec<(u32, Origin, u64)>;

#[test]
fn ghosts_take_four_bytes_each_and_are_as_many_as_the_policy_looks_back() {
    for (kind, capacities) in [(Eviction::Adaptive, 2.05), (Eviction::S3Fifo, 0.9)] {
        let mut cache = Cache::new(kind, 2000);
        cache.fill(0);
        let bytes = cache.policy.wanted_ghost_bytes().expect("there are none yet") as f64;
        // A tenth to spare, since buckets fill unevenly.
        let expected = 2000.0 * capacities * 1.1 * 4.0;
        assert!((bytes / expected - 1.0).abs() < 0.01, "{bytes}, not {expected}");
        let before = cache.policy.bytes();
        cache.policy.size_ghosts();
        assert_eq!(cache.policy.bytes() as f64, before as f64 + bytes);
        assert_eq!(cache.policy.wanted_ghost_bytes(), None);
        // A few more or less change nothing; many do.
        let few = cache.policy.len() - 500;
        while cache.policy.len() > few {
            cache.evict(1);
        }
        assert_eq!(cache.policy.wanted_ghost_bytes(), None);
        let least = 2000 / 4;
        while cache.policy.len() > least {
            cache.policy.evict(1, cache.share, &mut cache.world);
        }
        assert!(cache.policy.ghosts.as_ref().is_some_and(|ghosts| ghosts.bytes() > 0));
        cache.policy.evict(1, cache.share, &mut cache.world);
        assert!(cache.policy.wanted_ghost_bytes().is_some_and(|wanted| (wanted as f64) < bytes));
    }
}

#[test]
fn a_vote_moves_the_share_by_two_entries_or_a_part_of_itself() {
    for (capacity, step) in [(10, 0.02), (100, 0.02), (1000, 0.002), (1 << 20, 0.0015)] {
        let mut cache = Cache::new(Eviction::Adaptive, capacity);
        cache.get_or_insert(1);
        for (vote, by) in [(Vote::Grow, step), (Vote::Shrink, -step)] {
            let mut share = 0.5;
            cache.policy.count_vote(Some(vote), &mut share);
            assert!((f64::from(share) - 0.5 - by).abs() < 1e-6, "{capacity}: {share}");
        }
    }
}

#[test]
fn a_queue_that_was_emptied_gives_its_memory_back() {
    let mut queue = Queue::default();
    assert_eq!(queue.bytes(), 0);
    queue.push(Handle { entry: 0, stamp: 0, weight: 1 });
    assert_eq!(queue.bytes(), PUSH_BYTES, "a block and the first pointers");
    for entry in 1..100_000 {
        let before = queue.bytes();
        queue.push(Handle { entry, stamp: 0, weight: 1 });
        assert!(queue.bytes() <= before + PUSH_BYTES);
    }
    let full = queue.bytes();
    assert!((12 * 100_000..13 * 100_000).contains(&full), "{full} bytes");
    let (mut moves, block) = (0, PUSH_BYTES - crate::value::allocated(64 * 8) as u64);
    while queue.len() > 1 {
        let before = queue.bytes();
        queue.pop();
        // Other than by a block.
        moves += usize::from(before - queue.bytes() > block);
        // Blocks, a spare one, and a ring of which up to two thirds and a few are unused.
        let blocks = queue.len() as u64 / 64 + 3;
        assert!(queue.bytes() <= blocks * 850 + 24 * blocks + 2000, "at {}", queue.len());
    }
    assert!((1..=6).contains(&moves), "its ring was moved {moves} times");
}

#[test]
fn a_small_queue_takes_what_is_new_and_the_main_queue_the_rest() {
    let mut cache = Cache::new(Eviction::Adaptive, 100);
    cache.fill(0);
    assert_eq!(cache.policy.small.entries(), (0..10).collect::<Vec<_>>());
    assert_eq!(cache.policy.main.entries(), (10..100).collect::<Vec<_>>());
    assert_eq!(cache.policy.handles().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    // From the first eviction on, what is new goes to the small queue alone.
    (100..150).for_each(|key| assert!(!cache.get_or_insert(key)));
    assert_eq!(cache.policy.main.entries(), (10..100).collect::<Vec<_>>());
    assert_eq!(cache.policy.small.entries(), (140..150).collect::<Vec<_>>());
}

#[test]
fn ghosts_are_made_anew_when_there_are_twice_as_many_handles_and_not_before() {
    let mut cache = Cache::new(Eviction::Adaptive, 1000);
    cache.fill(0);
    cache.policy.size_ghosts();
    for entry in 5000..5999 {
        cache.policy.main.push(Handle { entry, stamp: 0, weight: 1 });
        assert_eq!(cache.policy.wanted_ghost_bytes(), None);
    }
    cache.policy.main.push(Handle { entry: 5999, stamp: 0, weight: 1 });
    assert!(cache.policy.wanted_ghost_bytes().is_some());
}

#[test]
fn a_call_comes_to_an_end_though_all_that_it_finds_has_changed() {
    for share in [0.1, 0.5] {
        let mut cache = Cache::new(Eviction::Adaptive, 1000);
        cache.fill(0);
        // The small queue gives the room, or the main queue.
        cache.share = share;
        cache.world.changed = 10_000;
        assert_eq!(cache.evict(1), Evicted::Unfinished);
        let tried = 10_000 - cache.world.changed;
        assert!((1..=2 * LOOKS).contains(&tried), "{tried} for {share}");
        assert_eq!(cache.policy.len(), 1000, "what has changed stays in its queue");
    }
}

#[test]
fn what_is_promoted_counts_as_queued_at_that_moment() {
    let mut cache = Cache::new(Eviction::Adaptive, 100);
    cache.fill(0);
    (1000..1050).for_each(|key| assert!(!cache.get_or_insert(key)));
    let before = cache.policy.stamp();
    (0..2).for_each(|_| assert!(cache.get_or_insert(1045)));
    (2000..2020).for_each(|key| assert!(!cache.get_or_insert(key)));
    let promoted =
        std::iter::from_fn(|| cache.policy.main.pop()).find(|handle| handle.entry == 1045);
    assert!(promoted.expect("two hits").stamp > before);
}
