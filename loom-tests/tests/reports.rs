//! Removals: each version that was stored is reported once, whoever takes it out.

#![cfg(scopecache_loom)]

use loom_tests::{Model, Op, session, user};

/// The sweep meets the old entry or the new one, which is dead or dies there.
#[test]
fn overwrite_racing_delete_user_is_reported_once() {
    let a = user("a");
    let k = a.key("k");
    Model::new("overwrite_racing_delete_user_is_reported_once", 3, 300)
        .reporting()
        .before([Op::Set(k, 1)])
        .thread([Op::DeleteAll(a), Op::Reclaim])
        .thread([Op::Set(k, 2)])
        .check();
}

/// The handle of an entry before leads the sweep to one that is still pending, whose maker may have
/// looked at the user before.
#[test]
fn set_racing_delete_user_is_reported_once() {
    let a = user("a");
    let k = a.key("k");
    Model::new("set_racing_delete_user_is_reported_once", 3, 1_000)
        .reporting()
        .before([Op::Set(a.key("l"), 9), Op::Set(k, 1), Op::Delete(k)])
        .thread([Op::DeleteAll(a), Op::Reclaim])
        .thread([Op::Set(k, 2)])
        .check();
}

#[test]
fn overwrite_racing_delete_session_is_reported_once() {
    let s = session("a", "s");
    let k = s.key("k");
    Model::new("overwrite_racing_delete_session_is_reported_once", 3, 300)
        .reporting()
        .before([Op::Set(k, 1)])
        .thread([Op::DeleteAll(s), Op::Reclaim])
        .thread([Op::Set(k, 2)])
        .check();
}

/// Two want the same entry out; one of them wins.
#[test]
fn overwrite_racing_delete_is_reported_once() {
    let k = user("a").key("k");
    Model::new("overwrite_racing_delete_is_reported_once", 4, 100)
        .reporting()
        .before([Op::Set(k, 1)])
        .thread([Op::Set(k, 2)])
        .thread([Op::Delete(k), Op::Tend])
        .check();
}

/// A copy with another deadline goes on with the life of the entry whose place it takes.
#[test]
fn touch_racing_expiry_is_reported_once() {
    let k = user("a").key("k");
    Model::new("touch_racing_expiry_is_reported_once", 4, 25)
        .reporting()
        .before([Op::SetFor(k, 1, 5), Op::Tend])
        .thread([Op::Touch(k, 100)])
        .thread([Op::Advance(10), Op::Tend])
        .check();
}

/// Both deliver: what the closer leaves to the other is not left behind.
#[test]
fn delivery_racing_close_leaves_no_report() {
    let b = user("b");
    let k = user("a").key("k");
    Model::new("delivery_racing_close_leaves_no_report", 3, 300)
        .reporting()
        .before([Op::Set(k, 1), Op::Set(b.key("l"), 2), Op::Delete(k)])
        .thread([Op::Tend])
        .thread([Op::DeleteAll(b), Op::Close])
        .check();
}
