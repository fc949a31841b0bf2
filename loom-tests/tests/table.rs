//! The table: claims, help, and what readers make of entries that are not yet live.
//!
//! `f` is a filler: while it stands in the first slot, a claim goes to the second.

#![cfg(scopecache_loom)]

use loom_tests::{Model, Op, user};

#[test]
fn set_racing_set_leaves_one_entry() {
    let k = user("a").key("k");
    Model::new("set_racing_set_leaves_one_entry", 4, 7_000)
        .thread([Op::Set(k, 1)])
        .thread([Op::Set(k, 2)])
        .check();
}

/// chain_fence.
#[test]
fn set_racing_set_in_a_lower_slot_leaves_one_entry() {
    let (k, f) = (user("a").key("k"), user("b").key("k"));
    Model::new("set_racing_set_in_a_lower_slot_leaves_one_entry", 4, 4_000)
        .before([Op::Set(f, 9)])
        .thread([Op::Set(k, 1), Op::Get(k)])
        .thread([Op::Delete(f), Op::Set(k, 2), Op::Get(k)])
        .check();
}

/// chain_append.
#[test]
fn set_racing_set_in_an_appended_line_leaves_one_entry() {
    let (k, f, g) = (user("a").key("k"), user("b").key("k"), user("b").key("l"));
    Model::new("set_racing_set_in_an_appended_line_leaves_one_entry", 4, 4_000)
        .before([Op::Set(f, 8), Op::Set(g, 9)])
        .thread([Op::Set(k, 1)])
        .thread([Op::Delete(f), Op::Set(k, 2), Op::Get(k)])
        .check();
}

/// pending_get.
#[test]
fn get_racing_set_in_a_lower_slot_passes_over_pending() {
    let (k, f) = (user("a").key("k"), user("b").key("k"));
    Model::new("get_racing_set_in_a_lower_slot_passes_over_pending", 4, 7_000)
        .before([Op::Set(f, 9)])
        .thread([Op::Set(k, 1)])
        .thread([Op::Set(k, 2), Op::Delete(f), Op::Get(k)])
        .check();
}

#[test]
fn set_racing_set_of_another_key_with_its_hash_keeps_both() {
    let (k, l) = (user("a").key("k"), user("a").key("l"));
    Model::new("set_racing_set_of_another_key_with_its_hash_keeps_both", 4, 900)
        .one_hash()
        .thread([Op::Set(k, 1), Op::Get(k)])
        .thread([Op::Set(l, 2), Op::Get(l)])
        .check();
}

#[test]
fn reader_racing_delete_and_set_keeps_its_entry() {
    let k = user("a").key("k");
    Model::new("reader_racing_delete_and_set_keeps_its_entry", 4, 100)
        .before([Op::Set(k, 1)])
        .thread([Op::GetRef(k)])
        .thread([Op::Delete(k), Op::Set(k, 2)])
        .check();
}

#[test]
fn update_racing_update_loses_nothing() {
    let k = user("a").key("k");
    Model::new("update_racing_update_loses_nothing", 4, 100)
        .before([Op::Set(k, 1)])
        .thread([Op::Update(k, 10)])
        .thread([Op::Update(k, 100), Op::Get(k)])
        .check();
}

#[test]
fn take_racing_take_has_one_winner() {
    let k = user("a").key("k");
    Model::new("take_racing_take_has_one_winner", 4, 100)
        .before([Op::Set(k, 1)])
        .thread([Op::Take(k)])
        .thread([Op::Take(k), Op::Set(k, 2)])
        .check();
}

/// chain_append, whole.
#[test]
fn set_racing_set_and_delete_of_a_filler_leaves_one_entry() {
    let (k, f, g) = (user("a").key("k"), user("b").key("k"), user("b").key("l"));
    Model::new("set_racing_set_and_delete_of_a_filler_leaves_one_entry", 3, 40_000)
        .before([Op::Set(f, 8), Op::Set(g, 9)])
        .thread([Op::Set(k, 1)])
        .thread([Op::Set(k, 2)])
        .thread([Op::Delete(f), Op::Get(k)])
        .check();
}

/// pending_get, whole.
#[test]
fn get_racing_set_and_delete_of_a_filler_passes_over_pending() {
    let (k, f) = (user("a").key("k"), user("b").key("k"));
    Model::new("get_racing_set_and_delete_of_a_filler_passes_over_pending", 2, 2_000)
        .before([Op::Set(f, 9)])
        .thread([Op::Set(k, 1)])
        .thread([Op::Delete(f)])
        .thread([Op::Set(k, 2), Op::Get(k), Op::Get(k)])
        .check();
}
