//! The budget by itself: reservations, releases, and a bound that moves.
//!
//! In models of the engine its figures are atomics that loom does not see; here it sees them. After
//! each execution what is in use is what was reserved, and no more than may be.

#![cfg(scopecache_loom)]

use std::sync::Arc;

use loom_tests::{at_once, explore};
use scopecache::models::Budget;

/// So little that shards keep no credit.
const MAX: u64 = 100;
/// Two shards keep a credit of up to 4 bytes each.
const MAX_WITH_CREDITS: u64 = 512;

/// Takes part in a race; answers by how many bytes what is in use has grown.
type Actor = fn(&Budget) -> i64;

/// Runs `actors` at once on a budget of `max`, of which `held` are in use, then `end`.
fn race(
    name: &'static str,
    bound: usize,
    least: u64,
    (max, held): (u64, u64),
    actors: &'static [Actor],
    end: fn(&Budget, u64),
) {
    explore(name, bound, least, move || {
        let budget = Arc::new(Budget::new(max, 2));
        assert!(held == 0 || budget.reserve(0, held));
        let grown: i64 = at_once(&budget, actors).into_iter().sum();
        let held = held.checked_add_signed(grown).expect("no more goes than there is");
        let (used, most) = (budget.used(), budget.most());
        assert_eq!(used, held, "bytes in use");
        assert!(used <= most, "{used} bytes are in use, {most} may be");
        end(&budget, held);
        budget.release(1, held);
        budget.come_down();
        assert_eq!(budget.used(), 0, "bytes that nobody holds");
    });
}

fn reserve<const SHARD: usize, const BYTES: u64>(budget: &Budget) -> i64 {
    if budget.reserve(SHARD, BYTES) { BYTES as i64 } else { 0 }
}

fn release<const SHARD: usize, const BYTES: u64>(budget: &Budget) -> i64 {
    budget.release(SHARD, BYTES);
    -(BYTES as i64)
}

fn resize<const MAX: u64>(budget: &Budget) -> i64 {
    budget.resize(MAX);
    0
}

fn resize_around_what_stays<const MAX: u64>(budget: &Budget) -> i64 {
    budget.resize_around_what_stays(MAX);
    0
}

/// Fifty are held all the time.
fn read_used_of_fifty(budget: &Budget) -> i64 {
    let used = budget.used();
    assert!((50..=MAX).contains(&used), "{used} bytes are counted, 50 are held");
    0
}

/// All of `max` is to be had, and no more.
fn ends_at<const MAX: u64>(budget: &Budget, held: u64) {
    budget.come_down();
    assert_eq!(budget.most(), MAX.max(held), "the bound");
    let rest = MAX.saturating_sub(held);
    assert!(budget.reserve(0, rest), "{rest} bytes are left");
    assert!(!budget.reserve(1, 1), "more than the bound");
    budget.release(0, rest);
}

/// Of two that do not fit together one is refused.
#[test]
fn reserve_racing_reserve_keeps_the_bound() {
    race(
        "reserve_racing_reserve_keeps_the_bound",
        4,
        60,
        (MAX, 0),
        &[reserve::<0, 60>, reserve::<1, 60>],
        |budget, held| {
            assert_eq!(held, 60, "one of them fits");
            ends_at::<MAX>(budget, held);
        },
    );
}

/// Credits that move between shards meanwhile are neither lost nor had twice.
#[test]
fn reserve_racing_reserve_and_gathering_loses_no_credit() {
    race(
        "reserve_racing_reserve_and_gathering_loses_no_credit",
        3,
        300,
        (MAX_WITH_CREDITS, 1),
        &[reserve::<0, 1>, reserve::<1, 511>],
        ends_at::<MAX_WITH_CREDITS>,
    );
}

/// What is reserved while the limit comes down is measured by it.
#[test]
fn reserve_racing_a_lower_bound_never_passes_it() {
    race(
        "reserve_racing_a_lower_bound_never_passes_it",
        4,
        1200,
        (MAX, 0),
        &[reserve::<0, 80>, resize::<40>],
        ends_at::<40>,
    );
}

/// The same with what is given back just then.
#[test]
fn release_and_reserve_racing_a_lower_bound_never_pass_it() {
    race(
        "release_and_reserve_racing_a_lower_bound_never_pass_it",
        3,
        2500,
        (MAX, 80),
        &[resize::<40>, |budget| release::<0, 50>(budget) + reserve::<1, 20>(budget)],
        ends_at::<40>,
    );
}

/// What is given back while the bound goes up is there afterwards.
#[test]
fn release_racing_a_higher_bound_loses_nothing() {
    race(
        "release_racing_a_higher_bound_loses_nothing",
        4,
        900,
        (MAX, 80),
        &[release::<0, 30>, resize::<150>],
        ends_at::<150>,
    );
}

/// Where what is beyond a lower bound stays, what is given back counts for it.
#[test]
fn release_racing_a_lower_bound_around_what_stays_loses_nothing() {
    race(
        "release_racing_a_lower_bound_around_what_stays_loses_nothing",
        4,
        900,
        (MAX, 80),
        &[release::<0, 50>, resize_around_what_stays::<40>],
        ends_at::<40>,
    );
}

/// Who sees the lower limit sees less free.
#[test]
fn reader_racing_a_lower_bound_counts_what_is_held() {
    race(
        "reader_racing_a_lower_bound_counts_what_is_held",
        4,
        2000,
        (MAX, 50),
        &[resize::<40>, read_used_of_fifty],
        ends_at::<40>,
    );
}
