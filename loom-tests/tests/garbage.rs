//! The garbage by itself: nodes and chunks of handles that are still to be freed.
//!
//! In models of the engine each goes to the epochs by itself; here is what takes the place of that.
//! Objects are plain ones, each tracked: none may leak, nor go twice. What the epochs do, letting a
//! batch go some time after it was handed over, happens at once.

#![cfg(scopecache_loom)]

use std::sync::Arc;

use loom_tests::{at_once, explore};
use scopecache::models::Litter;

/// Runs `actors` at once where one object is fresh and two are ready; then frees everything and counts.
fn race(name: &'static str, bound: usize, least: u64, actors: &'static [fn(&Litter) -> usize]) {
    explore(name, bound, least, move || {
        let litter = Arc::new(Litter::new());
        (0..3).for_each(|_| litter.retire());
        let retired: usize = at_once(&litter, actors).into_iter().sum();
        litter.hand_over();
        litter.free(usize::MAX);
        assert_eq!(litter.freed(), 3 + retired, "objects that were lost");
    });
}

fn retire(litter: &Litter) -> usize {
    litter.retire();
    1
}

fn hand_over(litter: &Litter) -> usize {
    litter.hand_over();
    0
}

fn free_one(litter: &Litter) -> usize {
    litter.free(1);
    0
}

fn free_all(litter: &Litter) -> usize {
    litter.free(usize::MAX);
    0
}

/// A batch and what is in it are seen by whoever frees it.
#[test]
fn hand_over_racing_free_loses_nothing() {
    race("hand_over_racing_free_loses_nothing", 3, 2000, &[hand_over, retire, free_all]);
}

/// Each object goes into one batch.
#[test]
fn retire_racing_retire_and_hand_over_frees_each_once() {
    race(
        "retire_racing_retire_and_hand_over_frees_each_once",
        3,
        3000,
        &[retire, retire, hand_over],
    );
}

/// Each object goes to one of those who free, with what they had not yet come to.
#[test]
fn free_racing_free_frees_each_once() {
    race("free_racing_free_frees_each_once", 3, 8000, &[hand_over, free_one, free_all]);
}
