//! Stale while revalidate: one refresher of a value, and what it stores undoes nothing.

#![cfg(scopecache_loom)]

use loom_tests::{Model, Op, session, user};

/// refresh, the claim: of two hits one gets it.
#[test]
fn refresh_racing_refresh_claims_once() {
    let k = user("a").key("k");
    Model::new("refresh_racing_refresh_claims_once", 3, 20)
        .before([Op::Set(k, 1), Op::Advance(1)])
        .thread([Op::ClaimRefresh(k)])
        .thread([Op::Refresh(k, 3)])
        .check();
}

/// refresh, the store: never over a deletion of the user.
#[test]
fn refresh_racing_delete_user_brings_nothing_back() {
    let a = user("a");
    let k = a.key("k");
    Model::new("refresh_racing_delete_user_brings_nothing_back", 3, 100)
        .before([Op::Set(k, 1), Op::Advance(1), Op::ClaimRefresh(k)])
        .thread([Op::FulfilRefresh(k, 2), Op::Get(k)])
        .thread([Op::DeleteAll(a), Op::Reclaim, Op::Get(k)])
        .check();
}

#[test]
fn refresh_in_a_session_racing_delete_user_brings_nothing_back() {
    let k = session("a", "s").key("k");
    Model::new("refresh_in_a_session_racing_delete_user_brings_nothing_back", 3, 100)
        .before([Op::Set(k, 1), Op::Advance(1), Op::ClaimRefresh(k)])
        .thread([Op::FulfilRefresh(k, 2), Op::Get(k)])
        .thread([Op::DeleteAll(user("a")), Op::Reclaim, Op::Get(k)])
        .check();
}

/// refresh, the store: never over what was written since, be it after a deletion.
#[test]
fn refresh_racing_delete_and_set_keeps_the_newer() {
    let k = user("a").key("k");
    Model::new("refresh_racing_delete_and_set_keeps_the_newer", 3, 100)
        .before([Op::Set(k, 1), Op::Advance(1), Op::ClaimRefresh(k)])
        .thread([Op::FulfilRefresh(k, 2), Op::Get(k)])
        .thread([Op::Delete(k), Op::Set(k, 3), Op::Get(k)])
        .check();
}

/// refresh, the claim: the mark of the index leaves it alone.
#[test]
fn claims_racing_set_that_is_not_yet_indexed_are_kept() {
    let k = user("a").key("k");
    Model::new("claims_racing_set_that_is_not_yet_indexed_are_kept", 3, 100)
        .thread([Op::Set(k, 1)])
        .thread([Op::Advance(1), Op::ClaimRefresh(k), Op::Refresh(k, 3)])
        .check();
}

/// refresh, the claim: given back, it is had again, and what is new is as it was.
#[test]
fn refresh_racing_a_claim_given_back_claims_once() {
    let k = user("a").key("k");
    Model::new("refresh_racing_a_claim_given_back_claims_once", 3, 30)
        .before([Op::Set(k, 1), Op::Advance(1), Op::ClaimRefresh(k)])
        .thread([Op::DropRefresh(k)])
        .thread([Op::Refresh(k, 3), Op::Get(k)])
        .check();
}
