//! The wheel against a map, on random inputs, and each of its rules in turn.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::*;
use crate::drive::drive;

/// Ticks of a millisecond in an hour and in a year.
const HOUR: u64 = 3_600_000;
const YEAR: u64 = 365 * 24 * HOUR;

/// xorshift64*
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }

    /// Zero to somewhat more than a window, each magnitude as likely.
    fn distance(&mut self) -> u64 {
        let bits = self.below(40);
        self.below(2 << bits)
    }
}

type Armed = (u64, u32);

fn advance_all(wheel: &mut Wheel, now: u64) -> (usize, Vec<Armed>) {
    let (mut budget, mut fired) = (usize::MAX, Vec::new());
    assert!(wheel.advance(now, &mut budget, |handle, tick| {
        fired.push((tick, handle));
        None
    }));
    (usize::MAX - budget, fired)
}

/// The fuzz target, on its seeds and on random inputs (`FUZZ_INPUTS` sets how many).
#[test]
fn the_wheel_agrees_with_a_map() {
    let (walks, fired) = (Cell::new(0), Cell::new(0));
    drive("wheel_model", 4000, |data| {
        let tally = fuzz::run(data);
        walks.set(walks.get() + tally.walks);
        fired.set(fired.get() + tally.fired);
    });
    println!("{} walks, {} fired", walks.get(), fired.get());
}

#[test]
fn a_walk_misses_nothing_while_time_goes_by() {
    for seed in 1..=200 {
        let mut rng = Rng(seed);
        let mut wheel = Wheel::new(seed << 34);
        let mut now = seed << 34;
        // Only handles that are far enough ahead to outlive the walk.
        let far_off = now + (1 << 36) + rng.distance();
        let mut unseen = BTreeSet::new();
        for handle in 0..500 {
            let tick = far_off.saturating_add(rng.distance());
            wheel.insert(handle, tick);
            unseen.insert((tick, handle));
        }
        advance_all(&mut wheel, now + rng.below(1 << 36));
        let mut steps = 0;
        loop {
            let mut budget = rng.below(9) as usize;
            let ended = wheel.retain(&mut budget, |handle, tick| {
                unseen.remove(&(tick, handle));
                true
            });
            wheel.validate().unwrap();
            if ended {
                break;
            }
            steps += 1;
            now = (now + rng.distance() / 64).min(far_off - 1);
            if rng.below(60) == 0 {
                now = far_off - 1 - rng.below(1000);
            }
            let mut budget = rng.below(9) as usize;
            wheel.advance(now, &mut budget, |_, _| unreachable!("nothing is due"));
            wheel.validate().unwrap();
        }
        assert!(steps > 50);
        assert_eq!(unseen.first(), None, "seed {seed}");
        assert_eq!(wheel.len(), 500);
    }
}

#[test]
fn a_million_handles_of_one_tick_fire_in_bounded_steps() {
    const COUNT: u32 = 1_000_000;
    let mut wheel = Wheel::new(5);
    for handle in 0..COUNT {
        wheel.insert(handle, 5 + HOUR);
    }
    wheel.validate().unwrap();
    assert!(wheel.bytes() < 9 * COUNT as usize);

    let (mut sum, mut calls) = (0, 0);
    loop {
        calls += 1;
        let mut budget = 1000;
        let mut fired = 0;
        let ended = wheel.advance(5 + HOUR, &mut budget, |handle, tick| {
            assert_eq!(tick, 5 + HOUR);
            sum += u64::from(handle);
            fired += 1;
            None
        });
        assert!(fired <= 1000);
        if ended {
            break;
        }
        assert!(fired >= 999, "one to open the slot");
    }
    assert_eq!(sum, u64::from(COUNT) * u64::from(COUNT - 1) / 2);
    assert_eq!(calls, 1001);
    assert_eq!((wheel.len(), wheel.bytes()), (0, 0));
}

/// Block by block: each in the drop of the one before it would take a stack as long as the list.
#[test]
fn a_long_list_is_dropped_on_a_small_stack() {
    let drops = || {
        let mut wheel = Wheel::new(0);
        (0..500_000).for_each(|handle| wheel.insert(handle, HOUR));
        assert_eq!(wheel.len(), 500_000);
    };
    let thread = std::thread::Builder::new().stack_size(128 << 10).spawn(drops);
    thread.expect("a thread").join().expect("no panic");
}

#[test]
fn skipped_ticks_cost_nothing() {
    for skipped in [HOUR, YEAR, 1000 * YEAR, u64::MAX - 1] {
        let mut wheel = Wheel::new(1);
        assert_eq!(advance_all(&mut wheel, 1 + skipped), (0, vec![]));

        // One handle in every slot and some that are far.
        let mut wheel = Wheel::new(0);
        for level in 0..LEVELS {
            for slot in 1..SLOTS as u32 {
                wheel.insert(slot, u64::from(slot) << (level * DIGIT_BITS));
            }
        }
        for window in 1..=20 {
            wheel.insert(window, u64::from(window) << WINDOW_BITS);
        }
        wheel.validate().unwrap();
        let (steps, fired) = advance_all(&mut wheel, skipped);
        assert!(fired.iter().all(|armed| armed.0 <= skipped));
        let handles = LEVELS * (SLOTS - 1) + 20;
        assert!(steps <= LEVELS * SLOTS + 2 * handles, "{steps} steps for {skipped} ticks");
        wheel.validate().unwrap();
    }
}

#[test]
fn who_wakes_at_the_next_due_tick_fires_each_handle_at_its_tick() {
    let mut rng = Rng(7);
    for _ in 0..200 {
        let mut wheel = Wheel::new(rng.distance());
        let now = wheel.at;
        let tick = now + 1 + rng.distance();
        wheel.insert(1, tick);
        let mut wakings = 0;
        while let Some(due) = wheel.next_due() {
            wakings += 1;
            let (_, fired) = advance_all(&mut wheel, due);
            assert!(fired.is_empty() || due == tick);
        }
        assert!(wakings <= LEVELS, "{wakings} for {}", tick - now);
    }
}

#[test]
fn a_walk_among_the_loose_shows_a_window_that_becomes_loose() {
    let start = 1 << WINDOW_BITS;
    let mut wheel = Wheel::new(0);
    wheel.insert(0, 0);
    wheel.insert(1, 0);
    wheel.insert(2, start + 5);
    wheel.insert(3, start + 500);
    assert!(!wheel.retain(&mut 1, |handle, _| handle < 2));
    // Fires the two and opens the window, no more.
    assert!(!wheel.advance(start, &mut 3, |_, _| None));
    assert_eq!(wheel.len(), 2);
    wheel.validate().unwrap();
    let mut shown = BTreeSet::new();
    assert!(wheel.retain(&mut 100, |handle, _| shown.insert(handle)));
    assert_eq!(shown, BTreeSet::from([2, 3]));
    assert_eq!(advance_all(&mut wheel, start + 500).1, [(start + 5, 2), (start + 500, 3)]);
}

#[test]
fn armed_again_at_a_past_tick_fires_in_the_next_advance() {
    for tick in [3, 999, 1000] {
        let mut wheel = Wheel::new(10);
        wheel.insert(1, 3);
        for round in 0..3 {
            let mut fired = 0;
            let again = |_, armed| {
                assert_eq!(armed, if round == 0 { 3 } else { tick });
                fired += 1;
                Some(tick)
            };
            assert!(wheel.advance(1000, &mut 100, again));
            assert_eq!(fired, 1);
            wheel.validate().unwrap();
        }
        assert_eq!(advance_all(&mut wheel, 0).1, [(tick, 1)]);
        assert_eq!(wheel.bytes(), 0);
    }
}

#[test]
fn what_is_armed_again_for_later_wakes_nobody_before_it_may_be_due() {
    let mut wheel = Wheel::new(0);
    wheel.insert(1, 10);
    assert!(wheel.advance(10, &mut 10, |_, tick| Some(tick + 5)));
    assert_eq!(wheel.next_due(), Some(15));
    assert_eq!(advance_all(&mut wheel, 14).1, []);
    assert_eq!(advance_all(&mut wheel, 15).1, [(15, 1)]);
}

#[test]
fn the_end_of_time_is_a_tick() {
    let mut wheel = Wheel::new(0);
    wheel.insert(1, u64::MAX);
    wheel.insert(2, u64::MAX - 1);
    assert_eq!(advance_all(&mut wheel, u64::MAX - 1).1, [(u64::MAX - 1, 2)]);
    wheel.validate().unwrap();
    assert_eq!(wheel.next_due(), Some(u64::MAX));
    assert_eq!(advance_all(&mut wheel, u64::MAX).1, [(u64::MAX, 1)]);
    wheel.insert(3, u64::MAX);
    assert_eq!(advance_all(&mut wheel, u64::MAX).1, [(u64::MAX, 3)]);
    assert_eq!((wheel.next_due(), wheel.bytes()), (None, 0));
}

#[test]
fn a_sparse_wheel_is_small() {
    assert_eq!(Wheel::new(0).bytes(), 0);
    let mut wheel = Wheel::new(0);
    for level in 0..LEVELS {
        for slot in 1..SLOTS as u32 {
            wheel.insert(slot, u64::from(slot) << (level * DIGIT_BITS));
        }
    }
    assert_eq!(wheel.bytes(), LEVELS * (SLOTS_BYTES + 64 * (SLOTS - 1)));
    assert!(wheel.retain(&mut usize::MAX.clone(), |_, _| false));
    assert_eq!((wheel.len(), wheel.bytes()), (0, 0));
    wheel.validate().unwrap();
}

#[test]
fn the_tick_that_was_reached_is_told() {
    let mut wheel = Wheel::new(7);
    assert_eq!(wheel.reached(), 7);
    assert!(wheel.advance(3 * HOUR, &mut 10, |_, _| None));
    assert_eq!(wheel.reached(), 3 * HOUR);
    assert!(wheel.advance(HOUR, &mut 10, |_, _| None));
    assert_eq!(wheel.reached(), 3 * HOUR, "time never runs backwards");
}

/// The bound is what room is reserved for: too low breaks the budget.
#[test]
fn no_insert_takes_more_than_its_bound() {
    let mut most = 0;
    for tick in [0, 1, 1 << (WINDOW_BITS - 1), 1 << WINDOW_BITS] {
        let mut wheel = Wheel::new(0);
        for handle in 0..300 {
            let before = wheel.bytes();
            wheel.insert(handle, tick);
            most = most.max(wheel.bytes() - before);
        }
    }
    assert!(most > 0 && most <= MOST_GROWTH_BYTES, "{most} of {MOST_GROWTH_BYTES}");
}
