//! The pile of retired objects, by itself: how it is handed over, counted, kept and freed.
//!
//! Models of the engine retire each entry by itself; here is what takes the place of that. Objects
//! are plain ones, each tracked: none may leak, nor go twice. What the epochs do, letting a batch go
//! some time after it was handed over, is a step of its own ([`Pile::make_ready`]).

#![cfg(scopecache_loom)]

use std::sync::Arc;

use loom_tests::{at_once, explore};
use scopecache::models::{LEAST_BYTES, Pile};
use scopecache::quiesce;

/// No more than this is pushed: nothing is handed over by itself.
const MUCH: u64 = 1 << 20;
const OBJECT: u64 = LEAST_BYTES as u64;

/// Runs `actors` at once on what `before` has made; then frees everything and counts.
fn race(
    name: &'static str,
    bound: usize,
    least: u64,
    before: fn(&Pile),
    actors: &'static [fn(&Pile) -> usize],
) {
    explore(name, bound, least, move || {
        let pile = Arc::new(Pile::new(MUCH));
        before(&pile);
        let retired: usize = at_once(&pile, actors).into_iter().sum();
        pile.hand_over();
        quiesce();
        pile.free_ready();
        pile.free_spare();
        assert_eq!(pile.bytes(), 0, "bytes that nobody holds");
        // Those of `before` are two in every model.
        assert_eq!(pile.cleared(), 2 + retired, "objects that were lost");
    });
}

fn two(pile: &Pile) {
    pile.retire(LEAST_BYTES);
    pile.retire(LEAST_BYTES);
}

fn two_to_spare(pile: &Pile) {
    two(pile);
    pile.make_ready();
    pile.hand_over();
    assert!(pile.has_spare());
}

fn retire(pile: &Pile) -> usize {
    pile.retire(LEAST_BYTES);
    1
}

fn retire_and_make_ready(pile: &Pile) -> usize {
    pile.retire(LEAST_BYTES);
    pile.make_ready();
    1
}

fn make_ready(pile: &Pile) -> usize {
    pile.make_ready();
    0
}

fn free_ready(pile: &Pile) -> usize {
    pile.free_ready();
    0
}

fn hand_over(pile: &Pile) -> usize {
    pile.hand_over();
    0
}

fn take(pile: &Pile) -> usize {
    pile.take(LEAST_BYTES);
    0
}

fn reuse(pile: &Pile) -> usize {
    usize::from(pile.retire_in_spare(LEAST_BYTES))
}

fn free_spare(pile: &Pile) -> usize {
    pile.free_spare();
    0
}

/// Nothing of the two is freed meanwhile.
fn read_bytes_of_two(pile: &Pile) -> usize {
    let bytes = pile.bytes();
    assert!(bytes >= 2 * OBJECT, "{bytes} bytes are counted, two objects are held");
    0
}

/// Links and objects are seen by whoever takes the pile, however it came there.
#[test]
fn retire_racing_retire_and_make_ready_loses_nothing() {
    race(
        "retire_racing_retire_and_make_ready_loses_nothing",
        3,
        1200,
        two,
        &[retire_and_make_ready, retire, free_ready],
    );
}

/// A batch and what is in it are seen by whoever takes it.
#[test]
fn make_ready_racing_free_ready_loses_nothing() {
    race(
        "make_ready_racing_free_ready_loses_nothing",
        4,
        15,
        two,
        &[retire_and_make_ready, free_ready],
    );
}

/// The figure moves from the pile to what is retired, once.
#[test]
fn make_ready_racing_make_ready_moves_bytes_once() {
    race(
        "make_ready_racing_make_ready_moves_bytes_once",
        4,
        1000,
        two,
        &[retire_and_make_ready, retire_and_make_ready],
    );
}

/// Whoever reads the figures never misses what is held.
#[test]
fn reader_racing_hand_over_counts_what_is_held() {
    race(
        "reader_racing_hand_over_counts_what_is_held",
        4,
        50,
        two,
        &[make_ready, read_bytes_of_two],
    );
}

/// Each spare object goes to one taker.
#[test]
fn take_racing_reuse_and_hand_over_frees_each_once() {
    race(
        "take_racing_reuse_and_hand_over_frees_each_once",
        3,
        700,
        two_to_spare,
        &[take, reuse, hand_over],
    );
}

/// Who frees the spare list takes it off first.
#[test]
fn take_racing_free_spare_frees_each_once() {
    race(
        "take_racing_free_spare_frees_each_once",
        4,
        300,
        two_to_spare,
        &[take, free_spare, retire],
    );
}
