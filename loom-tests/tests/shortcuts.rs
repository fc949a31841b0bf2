//! Shortcuts to nodes, for calls that come without a scope.

#![cfg(scopecache_loom)]

use loom_tests::{Model, Op, session, user};

/// forget.
#[test]
fn get_by_a_shortcut_racing_retire_reads_what_stands() {
    let k = user("a").key("k");
    Model::new("get_by_a_shortcut_racing_retire_reads_what_stands", 4, 50)
        .shortcuts()
        .before([Op::Set(k, 1)])
        .thread([Op::Get(k), Op::Get(k)])
        .thread([Op::Delete(k)])
        .check();
}

/// forget, after the close.
#[test]
fn set_by_a_shortcut_racing_retire_is_found() {
    let a = user("a");
    let (k, l) = (a.key("k"), a.key("l"));
    Model::new("set_by_a_shortcut_racing_retire_is_found", 4, 12_000)
        .shortcuts()
        .before([Op::Set(l, 1)])
        .thread([Op::Set(k, 2), Op::Get(k)])
        .thread([Op::Take(l), Op::Set(l, 3), Op::Get(l)])
        .check();
}

/// forget, after the close; three threads.
#[test]
fn delete_racing_delete_and_get_by_a_shortcut_reads_what_stands() {
    let a = user("a");
    let (k, l) = (a.key("k"), a.key("l"));
    Model::new("delete_racing_delete_and_get_by_a_shortcut_reads_what_stands", 3, 5_000)
        .shortcuts()
        .before([Op::Set(l, 1)])
        .thread([Op::Delete(l)])
        .thread([Op::Set(k, 2), Op::Delete(k)])
        .thread([Op::Get(k)])
        .check();
}

/// scope_get, by a shortcut.
#[test]
fn set_by_a_shortcut_racing_delete_user_outlives_it() {
    let a = user("a");
    let k = a.key("k");
    Model::new("set_by_a_shortcut_racing_delete_user_outlives_it", 4, 8_000)
        .shortcuts()
        .before([Op::Set(k, 1)])
        .thread([Op::DeleteAll(a), Op::Reclaim])
        .thread([Op::Set(k, 2), Op::Get(k)])
        .check();
}

/// A session's shortcut leads to its user.
#[test]
fn get_in_a_session_by_a_shortcut_racing_delete_user_sees_both_keys_or_none() {
    let (a, s) = (user("a"), session("a", "s"));
    let (k, l) = (s.key("k"), a.key("l"));
    Model::new("get_in_a_session_by_a_shortcut_racing_delete_user_sees_both_keys_or_none", 4, 900)
        .shortcuts()
        .before([Op::Set(l, 2), Op::Set(k, 1)])
        .thread([Op::DeleteAll(a), Op::Reclaim])
        .thread([Op::Get(l), Op::Get(k), Op::Get(l)])
        .check();
}

/// The place goes from one namespace to another and back.
#[test]
fn set_racing_set_of_others_in_one_place_is_found() {
    let (k, l) = (user("a").key("k"), user("b").key("l"));
    Model::new("set_racing_set_of_others_in_one_place_is_found", 4, 11_000)
        .shortcuts()
        .before([Op::Set(k, 1)])
        .thread([Op::Set(l, 2), Op::Get(l), Op::Get(k)])
        .thread([Op::Take(k), Op::Set(k, 3), Op::Get(k)])
        .check();
}
