//! Expiry is an operation like any other. Times are in seconds.

#![cfg(scopecache_loom)]

use loom_tests::{Model, Op, user};

/// expiry, the second search.
#[test]
fn touch_racing_expiry_and_get_lives_on() {
    let k = user("a").key("k");
    Model::new("touch_racing_expiry_and_get_lives_on", 4, 10)
        .before([Op::SetFor(k, 1, 5)])
        .thread([Op::Touch(k, 100)])
        .thread([Op::Advance(10), Op::Get(k), Op::Get(k)])
        .check();
}

#[test]
fn set_racing_expiry_and_get_lives_on() {
    let k = user("a").key("k");
    Model::new("set_racing_expiry_and_get_lives_on", 4, 100)
        .before([Op::SetFor(k, 1, 5)])
        .thread([Op::Set(k, 2), Op::Get(k)])
        .thread([Op::Advance(10), Op::Get(k), Op::Get(k)])
        .check();
}

/// expiry, the insert.
#[test]
fn insert_racing_expiry_and_delete_user_inserts_into_absence() {
    let a = user("a");
    let k = a.key("k");
    Model::new("insert_racing_expiry_and_delete_user_inserts_into_absence", 4, 400)
        .before([Op::SetFor(k, 1, 5)])
        .thread([Op::Insert(k, 2)])
        .thread([Op::Get(k), Op::Advance(10), Op::Get(k), Op::DeleteAll(a)])
        .check();
}

#[test]
fn set_that_keeps_ttl_racing_expiry_is_not_born_expired() {
    let k = user("a").key("k");
    Model::new("set_that_keeps_ttl_racing_expiry_is_not_born_expired", 4, 100)
        .before([Op::SetFor(k, 1, 5)])
        .thread([Op::SetKeepingTtl(k, 2), Op::Get(k)])
        .thread([Op::Advance(10), Op::Get(k)])
        .check();
}

/// What the insert finds dies before it expires: only then is the key absent for both.
#[test]
fn insert_racing_insert_delete_user_and_expiry_outlives_them() {
    let a = user("a");
    let k = a.key("k");
    Model::new("insert_racing_insert_delete_user_and_expiry_outlives_them", 3, 2_000)
        .before([Op::Set(a.key("l"), 9)])
        .thread([Op::Insert(k, 2), Op::Get(k)])
        .thread([Op::InsertFor(k, 1, 5), Op::DeleteAll(a), Op::Advance(10), Op::Get(k)])
        .check();
}

/// expiry, whole.
#[test]
fn insert_racing_delete_user_and_expiry_inserts_into_absence() {
    let a = user("a");
    let k = a.key("k");
    Model::new("insert_racing_delete_user_and_expiry_inserts_into_absence", 3, 4_000)
        .before([Op::SetFor(k, 1, 5)])
        .thread([Op::Insert(k, 2)])
        .thread([Op::DeleteAll(a)])
        .thread([Op::Get(k), Op::Advance(10), Op::Get(k)])
        .check();
}

#[test]
fn touch_racing_expiry_and_two_readers_lives_on() {
    let k = user("a").key("k");
    Model::new("touch_racing_expiry_and_two_readers_lives_on", 3, 200)
        .before([Op::SetFor(k, 1, 5)])
        .thread([Op::Touch(k, 100)])
        .thread([Op::Advance(10), Op::Get(k), Op::Get(k)])
        .thread([Op::Get(k), Op::Get(k)])
        .check();
}

#[test]
fn set_racing_maintenance_of_the_expired_lives_on() {
    let k = user("a").key("k");
    Model::new("set_racing_maintenance_of_the_expired_lives_on", 4, 100)
        .before([Op::SetFor(k, 1, 5), Op::Advance(10)])
        .thread([Op::Set(k, 2), Op::Get(k)])
        .thread([Op::Sweep, Op::Get(k)])
        .check();
}
