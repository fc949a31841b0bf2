//! Handles: what is stored is listed.

#![cfg(scopecache_loom)]

use loom_tests::{Model, Op, user};

/// listing.
#[test]
fn overwrite_racing_set_has_a_handle_of_its_own() {
    let a = user("a");
    let k = a.key("k");
    Model::new("overwrite_racing_set_has_a_handle_of_its_own", 4, 100)
        .thread([Op::Set(k, 1)])
        .thread([Op::Replace(k, 2), Op::Keys(a)])
        .check();
}

#[test]
fn touch_racing_set_has_a_handle_of_its_own() {
    let a = user("a");
    let k = a.key("k");
    Model::new("touch_racing_set_has_a_handle_of_its_own", 4, 100)
        .thread([Op::Set(k, 1)])
        .thread([Op::Touch(k, 100), Op::Keys(a)])
        .check();
}

#[test]
fn compaction_racing_keys_hides_nothing() {
    let a = user("a");
    let (k, l) = (a.key("k"), a.key("l"));
    let again = [Op::Set(k, 1), Op::Delete(k)];
    Model::new("compaction_racing_keys_hides_nothing", 4, 1_000)
        .before([Op::Set(l, 9)])
        .before([again; 4].concat())
        .thread([Op::Set(k, 2)])
        .thread([Op::Keys(a)])
        .check();
}

#[test]
fn compaction_racing_set_keeps_its_handle() {
    let a = user("a");
    let b = user("b").key("l");
    let (k, l) = (a.key("k"), a.key("l"));
    let again = [Op::Set(k, 1), Op::Delete(k)];
    Model::new("compaction_racing_set_keeps_its_handle", 3, 2_000)
        .before([Op::Set(b, 9), Op::Set(l, 9)])
        .before([again; 4].concat())
        .thread([Op::Set(k, 2)])
        .thread([Op::Delete(l), Op::Set(l, 3), Op::Keys(a)])
        .check();
}

/// Each begins at the chunk that it put in front; what both replace is given back once.
#[test]
fn compaction_racing_compaction_gives_back_once() {
    let a = user("a");
    let (k, l, m) = (a.key("k"), a.key("l"), a.key("m"));
    let again = [Op::Set(k, 1), Op::Delete(k)];
    Model::new("compaction_racing_compaction_gives_back_once", 4, 15_000)
        .before([Op::Set(l, 9)])
        .before([again; 4].concat())
        .thread([Op::Set(k, 2)])
        .thread([Op::Set(m, 3), Op::Delete(m), Op::Set(m, 4)])
        .check();
}

#[test]
fn compaction_racing_delete_user_frees_each_chunk_once() {
    let a = user("a");
    let (k, l) = (a.key("k"), a.key("l"));
    let again = [Op::Set(k, 1), Op::Delete(k)];
    Model::new("compaction_racing_delete_user_frees_each_chunk_once", 3, 10_000)
        .before([Op::Set(l, 9)])
        .before([again; 4].concat())
        .thread([Op::Set(k, 2)])
        .thread([Op::DeleteAll(a), Op::Reclaim])
        .check();
}

/// listing, whole.
#[test]
fn keys_racing_set_and_overwrite_lists_what_stays() {
    let a = user("a");
    let k = a.key("k");
    Model::new("keys_racing_set_and_overwrite_lists_what_stays", 3, 6_000)
        .thread([Op::Set(k, 1)])
        .thread([Op::Replace(k, 2), Op::Keys(a)])
        .thread([Op::Keys(a), Op::Get(k)])
        .check();
}

#[test]
fn push_racing_push_keeps_both_handles() {
    let a = user("a");
    let (k, l) = (a.key("k"), a.key("l"));
    Model::new("push_racing_push_keeps_both_handles", 4, 2_000)
        .thread([Op::Set(k, 1), Op::Keys(a)])
        .thread([Op::Set(l, 2), Op::Keys(a)])
        .check();
}
