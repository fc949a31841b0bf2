//! Deletions of users and sessions against everything else.

#![cfg(scopecache_loom)]

use loom_tests::{Model, Op, session, user};

/// insert_death, the death seen.
#[test]
fn insert_racing_insert_and_delete_user_inserts_once() {
    let a = user("a");
    let k = a.key("k");
    Model::new("insert_racing_insert_and_delete_user_inserts_once", 4, 7_000)
        .before([Op::Set(a.key("l"), 9)])
        .thread([Op::Insert(k, 1)])
        .thread([Op::Insert(k, 2), Op::DeleteAll(a)])
        .check();
}

/// insert_death, the scan.
#[test]
fn insert_racing_insert_in_another_slot_and_delete_user_inserts_once() {
    let (a, f) = (user("a"), user("b").key("k"));
    let k = a.key("k");
    Model::new("insert_racing_insert_in_another_slot_and_delete_user_inserts_once", 4, 6_000)
        .before([Op::Set(f, 9)])
        .thread([Op::Delete(f), Op::Insert(k, 1)])
        .thread([Op::Insert(k, 2), Op::DeleteAll(a), Op::Reclaim])
        .check();
}

/// helper_death.
#[test]
fn insert_racing_helper_and_delete_user_inserts_once() {
    let a = user("a");
    let k = a.key("k");
    Model::new("insert_racing_helper_and_delete_user_inserts_once", 2, 3_000)
        .thread([Op::Insert(k, 1)])
        .thread([Op::Insert(k, 2), Op::DeleteAll(a)])
        .thread([Op::Insert(k, 3)])
        .check();
}

/// overwrite_sweep, the sweep.
#[test]
fn overwrite_racing_delete_user_is_swept() {
    let a = user("a");
    let k = a.key("k");
    Model::new("overwrite_racing_delete_user_is_swept", 4, 300)
        .before([Op::Set(k, 1)])
        .thread([Op::DeleteAll(a), Op::Reclaim])
        .thread([Op::Set(k, 2), Op::Get(k)])
        .check();
}

/// overwrite_sweep, the recheck.
#[test]
fn set_racing_delete_user_leaves_nothing_dead() {
    let a = user("a");
    let k = a.key("k");
    Model::new("set_racing_delete_user_leaves_nothing_dead", 4, 3_000)
        .before([Op::Set(a.key("l"), 9)])
        .thread([Op::DeleteAll(a), Op::Reclaim])
        .thread([Op::Set(k, 2), Op::Get(k)])
        .check();
}

/// overwrite_sweep, whole.
#[test]
fn set_racing_set_and_delete_user_leaves_nothing_dead() {
    let a = user("a");
    let k = a.key("k");
    Model::new("set_racing_set_and_delete_user_leaves_nothing_dead", 2, 4_000)
        .before([Op::Set(k, 1)])
        .thread([Op::DeleteAll(a), Op::Reclaim])
        .thread([Op::DeleteAll(a), Op::Set(k, 2), Op::Get(k)])
        .thread([Op::Set(k, 3)])
        .check();
}

#[test]
fn set_racing_delete_user_and_set_keeps_the_newer() {
    let a = user("a");
    let k = a.key("k");
    Model::new("set_racing_delete_user_and_set_keeps_the_newer", 3, 3_000)
        .before([Op::Set(a.key("l"), 9)])
        .thread([Op::Set(k, 1)])
        .thread([Op::DeleteAll(a), Op::Set(k, 2), Op::Get(k)])
        .check();
}

/// A set that finds nothing of its key claims a slot before it looks again; one that finds a
/// placeholder looks for what it may replace once it has raised its node, and may find a later
/// incarnation's entry.
#[test]
fn set_over_a_load_racing_delete_user_and_set_keeps_the_newer() {
    let a = user("a");
    let k = a.key("k");
    Model::new("set_over_a_load_racing_delete_user_and_set_keeps_the_newer", 3, 1_000)
        .before([Op::Set(a.key("l"), 9), Op::HoldLease(k, 8)])
        .thread([Op::Set(k, 1)])
        .thread([Op::DeleteAll(a), Op::Set(k, 2), Op::Get(k)])
        .check();
}

#[test]
fn get_racing_delete_user_sees_both_keys_or_none() {
    let a = user("a");
    let (k, l) = (a.key("k"), a.key("l"));
    Model::new("get_racing_delete_user_sees_both_keys_or_none", 4, 70)
        .before([Op::Set(k, 1), Op::Set(l, 2)])
        .thread([Op::DeleteAll(a), Op::Reclaim])
        .thread([Op::Get(k), Op::Get(l), Op::Get(k)])
        .check();
}

/// new_session.
#[test]
fn set_in_a_session_racing_delete_user_leaves_nothing_dead() {
    let (a, s) = (user("a"), session("a", "s"));
    let k = s.key("k");
    Model::new("set_in_a_session_racing_delete_user_leaves_nothing_dead", 4, 8_000)
        .before([Op::Set(a.key("l"), 9)])
        .thread([Op::Set(k, 1), Op::Get(k)])
        .thread([Op::DeleteAll(a), Op::Reclaim, Op::Get(k)])
        .check();
}

#[test]
fn get_in_a_session_racing_delete_user_sees_both_keys_or_none() {
    let (a, s) = (user("a"), session("a", "s"));
    let (k, l) = (s.key("k"), a.key("l"));
    Model::new("get_in_a_session_racing_delete_user_sees_both_keys_or_none", 4, 80)
        .before([Op::Set(k, 1), Op::Set(l, 2)])
        .thread([Op::DeleteAll(a), Op::Reclaim])
        .thread([Op::Get(l), Op::Get(k), Op::Get(l)])
        .check();
}

/// retire.
#[test]
fn set_through_a_stale_scope_racing_retire_is_found() {
    let (a, k) = (user("a"), user("a").scoped("k"));
    let l = a.key("l");
    Model::new("set_through_a_stale_scope_racing_retire_is_found", 4, 1_000)
        .before([Op::Set(l, 1), Op::OpenScopes])
        .thread([Op::Set(k, 2), Op::Get(k)])
        .thread([Op::Take(l), Op::Set(l, 3), Op::Get(l)])
        .check();
}

#[test]
fn set_racing_set_after_retire_finds_the_new_node() {
    let a = user("a");
    let (k, l) = (a.key("k"), a.key("l"));
    Model::new("set_racing_set_after_retire_finds_the_new_node", 4, 200)
        .before([Op::Set(l, 9)])
        .thread([Op::DeleteAll(a), Op::Set(k, 1), Op::Keys(a)])
        .thread([Op::Delete(l)])
        .check();
}

/// scope_get.
#[test]
fn set_through_a_scope_racing_delete_user_outlives_it() {
    let a = user("a");
    let k = a.scoped("k");
    Model::new("set_through_a_scope_racing_delete_user_outlives_it", 4, 60)
        .before([Op::Set(a.key("k"), 1), Op::OpenScopes])
        .thread([Op::DeleteAll(a), Op::Set(k, 2), Op::Get(k)])
        .thread([Op::Get(k), Op::Get(k)])
        .check();
}

/// The scope knows the incarnation that dies; what is deleted is what the name leads to.
#[test]
fn delete_through_a_stale_scope_racing_delete_user_and_set_takes_the_newer() {
    let a = user("a");
    let k = a.scoped("k");
    let by_ids = a.key("k");
    Model::new("delete_through_a_stale_scope_racing_delete_user_and_set_takes_the_newer", 4, 600)
        .before([Op::OpenScopes, Op::Set(k, 1)])
        .thread([Op::DeleteAll(a), Op::Set(by_ids, 2), Op::Get(by_ids)])
        .thread([Op::Get(by_ids), Op::Delete(k)])
        .check();
}

/// What stands in the way is dead, of an incarnation that the scope does not know any more.
#[test]
fn set_through_a_scope_over_what_died_ends() {
    let a = user("a");
    let k = a.scoped("k");
    Model::new("set_through_a_scope_over_what_died_ends", 4, 20)
        .before([Op::OpenScopes, Op::Set(k, 1)])
        .thread([Op::DeleteAll(a)])
        .thread([Op::Set(k, 2)])
        .check();
}

#[test]
fn sets_through_one_scope_racing_delete_user_agree() {
    let a = user("a");
    let k = a.scoped("k");
    Model::new("sets_through_one_scope_racing_delete_user_agree", 3, 8_000)
        .before([Op::OpenScopes])
        .thread([Op::Set(k, 1), Op::DeleteAll(a)])
        .thread([Op::Set(k, 2), Op::Get(k)])
        .check();
}

/// Under one guard nothing but the orderings of the slots and flags is left.
#[test]
fn get_under_a_guard_racing_delete_user_sees_both_keys_or_none() {
    let a = user("a");
    let (k, l) = (a.key("k"), a.key("l"));
    Model::new("get_under_a_guard_racing_delete_user_sees_both_keys_or_none", 4, 80)
        .guarded()
        .before([Op::Set(k, 1), Op::Set(l, 2)])
        .thread([Op::DeleteAll(a), Op::Reclaim])
        .thread([Op::Get(k), Op::Get(l), Op::Get(k)])
        .check();
}

#[test]
fn get_racing_delete_session_sees_both_keys_or_none() {
    let s = session("a", "s");
    let (k, l) = (s.key("k"), s.key("l"));
    Model::new("get_racing_delete_session_sees_both_keys_or_none", 4, 200)
        .before([Op::Set(k, 1), Op::Set(l, 2)])
        .thread([Op::DeleteAll(s), Op::Reclaim, Op::Set(k, 3)])
        .thread([Op::Get(k), Op::Get(l), Op::Get(k)])
        .check();
}

#[test]
fn set_in_a_session_racing_delete_session_and_delete_user_leaves_nothing_dead() {
    let (a, s) = (user("a"), session("a", "s"));
    let k = s.key("k");
    Model::new(
        "set_in_a_session_racing_delete_session_and_delete_user_leaves_nothing_dead",
        2,
        3_000,
    )
    .before([Op::Set(s.key("l"), 9)])
    .thread([Op::Set(k, 1), Op::Get(k)])
    .thread([Op::DeleteAll(s), Op::Reclaim])
    .thread([Op::DeleteAll(a), Op::Get(k)])
    .check();
}

/// The mark of the deletion comes while the last entry's node closes.
#[test]
fn delete_racing_delete_session_retires_the_node() {
    let s = session("a", "s");
    let k = s.key("k");
    Model::new("delete_racing_delete_session_retires_the_node", 4, 600)
        .before([Op::Set(k, 1)])
        .thread([Op::Delete(k)])
        .thread([Op::DeleteAll(s), Op::Reclaim])
        .check();
}

/// insert_death, whole.
#[test]
fn insert_racing_insert_and_delete_of_a_filler_and_user_inserts_once() {
    let (a, f) = (user("a"), user("b").key("k"));
    let k = a.key("k");
    Model::new("insert_racing_insert_and_delete_of_a_filler_and_user_inserts_once", 2, 3_000)
        .before([Op::Set(f, 9)])
        .thread([Op::Insert(k, 1)])
        .thread([Op::Insert(k, 2)])
        .thread([Op::Delete(f), Op::DeleteAll(a)])
        .check();
}

/// new_session, whole.
#[test]
fn set_in_a_new_session_racing_delete_user_and_gets_is_seen_or_gone() {
    let (a, s) = (user("a"), session("a", "s"));
    let (k, l) = (s.key("k"), a.key("l"));
    Model::new("set_in_a_new_session_racing_delete_user_and_gets_is_seen_or_gone", 3, 3_000)
        .before([Op::Set(l, 9)])
        .thread([Op::Set(k, 1), Op::Get(k)])
        .thread([Op::DeleteAll(a), Op::Get(k)])
        .thread([Op::Get(k), Op::Get(l)])
        .check();
}

/// scope_get, whole.
#[test]
fn gets_through_a_stale_scope_racing_delete_user_and_set_agree() {
    let a = user("a");
    let k = a.scoped("k");
    Model::new("gets_through_a_stale_scope_racing_delete_user_and_set_agree", 3, 30_000)
        .before([Op::Set(a.key("k"), 1), Op::OpenScopes])
        .thread([Op::Get(k), Op::Get(k)])
        .thread([Op::DeleteAll(a), Op::Set(k, 2), Op::Get(k)])
        .thread([Op::Set(k, 3)])
        .check();
}

/// The entry is gone, and its node with it, before its handle is pushed.
#[test]
fn set_racing_take_gives_back_its_handle() {
    let k = user("a").key("k");
    Model::new("set_racing_take_gives_back_its_handle", 4, 80)
        .thread([Op::Set(k, 1)])
        .thread([Op::Take(k), Op::Get(k)])
        .check();
}

#[test]
fn set_racing_reclaim_gives_back_its_handle() {
    let a = user("a");
    let (k, l) = (a.key("k"), a.key("l"));
    Model::new("set_racing_reclaim_gives_back_its_handle", 3, 900)
        .before([Op::Set(l, 9), Op::Set(k, 8), Op::Delete(k)])
        .thread([Op::Set(k, 1)])
        .thread([Op::DeleteAll(a), Op::Reclaim])
        .check();
}
