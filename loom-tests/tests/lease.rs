//! Leases: one loader for a key, whose answer counts only if nobody wrote or deleted meanwhile.

#![cfg(scopecache_loom)]

use loom_tests::{Model, Op, user};

/// lease, the waiters.
#[test]
fn load_racing_load_has_one_loader() {
    let k = user("a").key("k");
    Model::new("load_racing_load_has_one_loader", 4, 6_000)
        .thread([Op::Load(k, 1)])
        .thread([Op::Load(k, 2)])
        .check();
}

/// lease, the cancellation.
#[test]
fn load_racing_load_and_delete_user_ends() {
    let a = user("a");
    let k = a.key("k");
    Model::new("load_racing_load_and_delete_user_ends", 2, 6_000)
        .thread([Op::Load(k, 1)])
        .thread([Op::Load(k, 2)])
        .thread([Op::DeleteAll(a), Op::Reclaim])
        .check();
}

/// lease, the cancellation: the lease is held to the end, nothing else wakes the waiter.
#[test]
fn waiter_racing_delete_user_wakes() {
    let a = user("a");
    let k = a.key("k");
    Model::new("waiter_racing_delete_user_wakes", 4, 5_000)
        .before([Op::HoldLease(k, 1)])
        .thread([Op::Load(k, 2)])
        .thread([Op::DeleteAll(a), Op::Reclaim, Op::Get(k)])
        .check();
}

#[test]
fn waiter_racing_set_wakes() {
    let k = user("a").key("k");
    Model::new("waiter_racing_set_wakes", 4, 30)
        .before([Op::HoldLease(k, 1)])
        .thread([Op::Load(k, 2)])
        .thread([Op::Set(k, 3)])
        .check();
}

#[test]
fn waiter_racing_delete_wakes() {
    let k = user("a").key("k");
    Model::new("waiter_racing_delete_wakes", 4, 400)
        .before([Op::HoldLease(k, 1)])
        .thread([Op::Load(k, 2)])
        .thread([Op::Delete(k), Op::Get(k)])
        .check();
}

/// lease, the death.
#[test]
fn fulfil_after_a_get_racing_delete_user_is_not_stored() {
    let a = user("a");
    let (k, l) = (a.key("k"), a.key("l"));
    Model::new("fulfil_after_a_get_racing_delete_user_is_not_stored", 4, 600)
        .before([Op::Set(l, 9), Op::HoldLease(k, 1)])
        .thread([Op::Get(l), Op::FulfilHeld(k)])
        .thread([Op::DeleteAll(a), Op::Reclaim])
        .check();
}

#[test]
fn load_with_a_get_inside_racing_delete_user_ends() {
    let a = user("a");
    let k = a.key("k");
    Model::new("load_with_a_get_inside_racing_delete_user_ends", 4, 900)
        .thread([Op::LoadWithGetInside(k, 1), Op::Get(k)])
        .thread([Op::DeleteAll(a), Op::Get(k)])
        .check();
}

#[test]
fn load_racing_fulfil_finds_the_value() {
    let k = user("a").key("k");
    Model::new("load_racing_fulfil_finds_the_value", 4, 100)
        .before([Op::HoldLease(k, 1)])
        .thread([Op::FulfilHeld(k)])
        .thread([Op::Load(k, 2), Op::Get(k)])
        .check();
}

#[test]
fn fulfil_racing_delete_user_stores_or_not() {
    let a = user("a");
    let k = a.key("k");
    Model::new("fulfil_racing_delete_user_stores_or_not", 4, 3_000)
        .thread([Op::Lease(k, 1), Op::Get(k)])
        .thread([Op::DeleteAll(a), Op::Reclaim])
        .check();
}

#[test]
fn fulfil_racing_set_does_not_replace_it() {
    let a = user("a");
    let k = a.key("k");
    Model::new("fulfil_racing_set_does_not_replace_it", 4, 5_000)
        .thread([Op::Lease(k, 1), Op::Get(k)])
        .thread([Op::Set(k, 2), Op::Get(k)])
        .check();
}

#[test]
fn fulfil_racing_delete_is_cancelled() {
    let a = user("a");
    let k = a.key("k");
    Model::new("fulfil_racing_delete_is_cancelled", 4, 100)
        .thread([Op::Lease(k, 1), Op::Get(k)])
        .thread([Op::Delete(k), Op::Get(k)])
        .check();
}

#[test]
fn load_racing_a_lease_given_up_loads_itself() {
    let k = user("a").key("k");
    Model::new("load_racing_a_lease_given_up_loads_itself", 4, 9_000)
        .thread([Op::LeaseAndDrop(k)])
        .thread([Op::Load(k, 2)])
        .check();
}
