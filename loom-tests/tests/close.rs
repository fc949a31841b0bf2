//! Closing, and what was under way: nothing is left, and nobody has to come for it later.

#![cfg(scopecache_loom)]

use loom_tests::{Model, Op, global, session, user};

#[test]
fn set_of_a_new_user_racing_close_leaves_nothing() {
    let k = user("a").key("k");
    Model::new("set_of_a_new_user_racing_close_leaves_nothing", 3, 500)
        .thread([Op::Set(k, 1), Op::Get(k)])
        .thread([Op::Close])
        .check();
}

/// One makes the node when the closer has looked already, the other stores in it. That takes
/// three preemptions, which are 680,000 executions: by hand, with `SCOPECACHE_LOOM_BOUND=3`.
#[test]
fn set_racing_set_of_a_new_user_and_close_leaves_nothing() {
    let a = user("a");
    Model::new("set_racing_set_of_a_new_user_and_close_leaves_nothing", 2, 5_000)
        .thread([Op::Set(a.key("k"), 1)])
        .thread([Op::Set(a.key("l"), 2)])
        .thread([Op::Close])
        .check();
}

#[test]
fn set_in_a_new_session_racing_close_leaves_nothing() {
    let k = session("a", "s").key("k");
    Model::new("set_in_a_new_session_racing_close_leaves_nothing", 3, 500)
        .before([Op::Set(user("a").key("l"), 9)])
        .thread([Op::Set(k, 1), Op::Get(k)])
        .thread([Op::Close])
        .check();
}

/// The last incarnation of the global namespace stays in place: its handles must not.
#[test]
fn set_in_global_racing_close_leaves_nothing() {
    let k = global().key("k");
    Model::new("set_in_global_racing_close_leaves_nothing", 3, 500)
        .thread([Op::Set(k, 1), Op::Get(k)])
        .thread([Op::Close])
        .check();
}

#[test]
fn overwrite_racing_close_leaves_nothing() {
    let k = user("a").key("k");
    Model::new("overwrite_racing_close_leaves_nothing", 3, 300)
        .before([Op::SetFor(k, 1, 5), Op::Tend])
        .thread([Op::SetFor(k, 2, 3), Op::Get(k)])
        .thread([Op::Close])
        .check();
}

/// Who deletes may queue its work when the closer has done all there was.
#[test]
fn delete_user_racing_close_leaves_nothing_to_reclaim() {
    let a = user("a");
    Model::new("delete_user_racing_close_leaves_nothing_to_reclaim", 3, 200)
        .before([Op::Set(a.key("k"), 1)])
        .thread([Op::DeleteAll(a)])
        .thread([Op::Close])
        .check();
}

#[test]
fn waiter_racing_close_wakes() {
    let k = user("a").key("k");
    Model::new("waiter_racing_close_wakes", 3, 200)
        .before([Op::HoldLease(k, 1)])
        .thread([Op::Load(k, 2)])
        .thread([Op::Close])
        .check();
}

#[test]
fn load_racing_close_is_dropped() {
    let k = user("a").key("k");
    Model::new("load_racing_close_is_dropped", 3, 500)
        .thread([Op::Load(k, 1), Op::Get(k)])
        .thread([Op::Close])
        .check();
}

#[test]
fn upkeep_racing_close_leaves_nothing() {
    let k = user("a").key("k");
    Model::new("upkeep_racing_close_leaves_nothing", 3, 100)
        .before([Op::SetFor(k, 1, 5)])
        .thread([Op::Tend, Op::Advance(10), Op::Tend])
        .thread([Op::Close])
        .check();
}
