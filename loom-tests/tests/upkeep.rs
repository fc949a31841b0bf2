//! Eviction, the timing wheel, and the events that lead to them. Times are in seconds, and so are
//! ticks.

#![cfg(scopecache_loom)]

use loom_tests::{Model, Op, global, session, user};

/// The wheel takes out the touched entry's handle; what took the entry's place relies on it.
#[test]
fn touch_racing_expiry_by_the_wheel_stays_armed() {
    let k = user("a").key("k");
    Model::new("touch_racing_expiry_by_the_wheel_stays_armed", 4, 25)
        .before([Op::SetFor(k, 1, 5), Op::Tend])
        .thread([Op::Touch(k, 100)])
        .thread([Op::Advance(10), Op::Tend])
        .check();
}

/// The wheel finds an entry that was touched before, and arms its handle again.
#[test]
fn touch_racing_rearming_stays_armed() {
    let k = user("a").key("k");
    Model::new("touch_racing_rearming_stays_armed", 4, 20)
        .before([Op::SetFor(k, 1, 5), Op::Tend, Op::Touch(k, 100)])
        .thread([Op::Touch(k, 200)])
        .thread([Op::Advance(10), Op::Tend])
        .check();
}

/// The same, and what comes lives shorter.
#[test]
fn overwrite_racing_rearming_is_freed_in_time() {
    let k = user("a").key("k");
    Model::new("overwrite_racing_rearming_is_freed_in_time", 4, 20)
        .before([Op::SetFor(k, 1, 5), Op::Tend, Op::Touch(k, 100)])
        .thread([Op::SetFor(k, 2, 50)])
        .thread([Op::Advance(10), Op::Tend])
        .check();
}

/// A shard without entries drops its wheel, which has a stale handle here.
#[test]
fn set_racing_the_drop_of_an_empty_wheel_is_armed() {
    let k = user("a").key("k");
    Model::new("set_racing_the_drop_of_an_empty_wheel_is_armed", 4, 9)
        .before([Op::SetFor(k, 1, 5), Op::Tend, Op::Delete(k)])
        .thread([Op::SetFor(k, 2, 50)])
        .thread([Op::Tend, Op::Tend])
        .check();
}

#[test]
fn overwrite_racing_feeding_is_known_to_upkeep() {
    let k = user("a").key("k");
    Model::new("overwrite_racing_feeding_is_known_to_upkeep", 4, 40)
        .evicting(2, 0)
        .before([Op::Set(k, 1)])
        .thread([Op::SetFor(k, 2, 5)])
        .thread([Op::Tend])
        .check();
}

#[test]
fn delete_racing_feeding_leaves_the_link_alone() {
    let k = user("a").key("k");
    Model::new("delete_racing_feeding_leaves_the_link_alone", 4, 20)
        .evicting(2, 0)
        .before([Op::SetFor(k, 1, 5)])
        .thread([Op::Delete(k)])
        .thread([Op::Tend])
        .check();
}

/// An eviction that loses against an overwrite leaves the handle to what came.
#[test]
fn overwrite_racing_eviction_is_newer_or_gone() {
    let a = user("a");
    let (k, l, m) = (a.key("k"), a.key("l"), a.key("m"));
    Model::new("overwrite_racing_eviction_is_newer_or_gone", 3, 300)
        .evicting(2, 2)
        .before([Op::Set(k, 1), Op::Set(l, 9), Op::Tend])
        .thread([Op::Set(k, 2), Op::Get(k)])
        .thread([Op::Set(m, 3)])
        .check();
}

#[test]
fn delete_user_racing_eviction_takes_out_once() {
    let a = user("a");
    let (k, l) = (a.key("k"), global().key("l"));
    Model::new("delete_user_racing_eviction_takes_out_once", 3, 200)
        .evicting(1, 1)
        .before([Op::Set(k, 1), Op::Tend])
        .thread([Op::DeleteAll(a), Op::Reclaim])
        .thread([Op::Set(l, 3)])
        .check();
}

#[test]
fn delete_session_racing_eviction_takes_out_once() {
    let s = session("a", "s");
    let (k, l) = (s.key("k"), global().key("l"));
    Model::new("delete_session_racing_eviction_takes_out_once", 3, 300)
        .evicting(1, 1)
        .before([Op::Set(k, 1), Op::Tend])
        .thread([Op::DeleteAll(s), Op::Reclaim])
        .thread([Op::Set(l, 3)])
        .check();
}

#[test]
fn set_racing_set_into_a_cache_of_one_leaves_one() {
    let a = user("a");
    let (k, l) = (a.key("k"), a.key("l"));
    Model::new("set_racing_set_into_a_cache_of_one_leaves_one", 2, 150)
        .evicting(1, 2)
        .thread([Op::Set(k, 1)])
        .thread([Op::Set(l, 2)])
        .check();
}
