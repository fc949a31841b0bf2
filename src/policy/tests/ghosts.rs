//! What is remembered of those that went.

use super::*;

/// How many of `left` the ghosts know, where they tell the queue and, up to `unit`, the age.
fn known(ghosts: &Ghosts, left: &Left, unit: u64, mut clocks: Clocks) -> usize {
    let is_known = |&&(handle, origin, at): &&(u32, Origin, u64)| {
        let age = *clocks.of(origin) - at;
        let found = ghosts.find(handle, clocks);
        found.is_some_and(|(from, told)| from == origin && told.abs_diff(age) <= unit)
    };
    left.iter().filter(is_known).count()
}

#[test]
fn a_ghost_tells_the_queue_and_the_age_of_its_handle() {
    for capacity in [100, 5000, 1 << 33] {
        let limits = Limits { small: 2 * capacity, main: capacity / 20 };
        let mut ghosts = Ghosts::new(8000, capacity, limits);
        // So far that times wrap meanwhile.
        let mut clocks = Clocks { small: 31 * capacity + capacity / 2, main: 15 * capacity };
        let mut random = Random(capacity);
        let mut left = Left::new();
        for _ in 0..1000 {
            let origin = if random.below(4) == 0 { Origin::Main } else { Origin::Small };
            *clocks.of(origin) += 1 + random.below((capacity / 500).max(1));
            let handle = random.next() as u32;
            ghosts.put(handle, origin, clocks);
            left.push((handle, origin, *clocks.of(origin)));
        }
        let unit = capacity / 1024;
        let (count, unknown) =
            (left.len(), (0..1000).map(|_| (random.next() as u32, Origin::Small, 0)));
        // Some fingerprints are another's.
        assert!(known(&ghosts, &left, unit, clocks) >= count - 3, "{capacity}");
        assert!(known(&ghosts, &unknown.collect(), u64::MAX, clocks) <= 3, "{capacity}");

        for (room, capacity) in [(16_000, 2 * capacity), (5000, capacity / 3)] {
            let resized = ghosts.resized(room, capacity, limits, clocks);
            let unit = unit + capacity / 1024 + 1;
            let known = known(&resized, &left, unit, clocks);
            assert!(known >= count - count / 50, "{known} for {capacity}");
        }

        let (gone, stay) = left.split_at(500);
        gone.iter().for_each(|&(handle, ..)| ghosts.remove(handle));
        assert!(known(&ghosts, &gone.to_vec(), u64::MAX, clocks) <= 1);
        assert!(known(&ghosts, &stay.to_vec(), unit, clocks) >= stay.len() - 3);
    }
}

#[test]
fn ghosts_that_are_too_old_are_not_kept_in_another_size() {
    let limits = Limits { small: 2048, main: 50 };
    let mut ghosts = Ghosts::new(100, 1024, limits);
    ghosts.put(1, Origin::Small, Clocks::default());
    ghosts.put(2, Origin::Main, Clocks::default());
    // A little more and the time that has wrapped would make them young.
    let clocks = Clocks { small: 30 * 1024, main: 100 };
    let resized = ghosts.resized(200, 1024, limits, clocks);
    assert_eq!(resized.find(1, clocks), None);
    assert_eq!(resized.find(2, clocks), Some((Origin::Main, 100)));
}

#[test]
fn a_full_bucket_loses_what_is_oldest_for_its_queue() {
    let limits = Limits { small: 2000, main: 50 };
    for (small, main, oldest) in [(400, 20, 10), (1600, 20, 1), (2000, 45, 1), (400, 0, 1)] {
        // One bucket; four ghosts of each queue.
        let mut ghosts = Ghosts::new(8, 1024, limits);
        for n in 0..4 {
            let clocks = Clocks { small: n.into(), main: n.into() };
            ghosts.put(1 + n, Origin::Small, clocks);
            ghosts.put(10 + n, Origin::Main, clocks);
        }
        let clocks = Clocks { small: small + 4, main: main + 4 };
        // Who comes back takes its own place.
        ghosts.put(4, Origin::Small, clocks);
        assert_eq!(ghosts.find(4, clocks), Some((Origin::Small, 0)));
        ghosts.put(100, Origin::Small, clocks);
        let all = [1, 2, 3, 4, 10, 11, 12, 13, 100];
        let gone = all.into_iter().filter(|&handle| ghosts.find(handle, clocks).is_none());
        assert_eq!(gone.collect::<Vec<_>>(), [oldest], "after {small} and {main}");
    }
}

#[test]
fn a_unit_of_time_suits_an_eighth_to_eight_times_its_capacity() {
    let limits = Limits { small: 1, main: 1 };
    let ghosts = Ghosts::new(8, 1 << 20, limits);
    for capacity in [(1 << 17) + 1024, 1 << 20, (1 << 23) - 1] {
        assert!(ghosts.suits(capacity), "{capacity}");
    }
    assert!(!ghosts.suits(1 << 17), "too coarse");
    assert!(!ghosts.suits(1 << 23), "too fine: it wraps too soon");
    assert!(Ghosts::new(8, 1000, limits).suits(1), "there is nothing finer");
}
