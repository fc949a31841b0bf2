//! Histories with a known fault: the checker must reject each, and accept it with the one
//! wrong answer put right, so that none is rejected for another reason.

#[expect(dead_code, reason = "the checker alone is used here")]
mod support;

use support::history::{Event, Verdict, check};
use support::model::Model;
use support::op::{Expires, Life, Op, Place, Put, Ret, Seen, Space, When};

const U: Space = Space::User(0);
const S: Space = Space::Session(0, 0);
const OTHER: Space = Space::User(1);
const K: Place = Place { space: U, key: 0 };
const K2: Place = Place { space: U, key: 1 };
const IN_SESSION: Place = Place { space: S, key: 0 };
const OF_OTHER: Place = Place { space: OTHER, key: 0 };

/// An event with its call and return; each stands for a thread of its own.
fn event(call: u64, ret_at: u64, op: Op, ret: Ret) -> Event {
    Event { call, ret_at, thread: call as usize, op, ret }
}

/// Asserts that the history is rejected, and accepted once event `wrong` answers `right`.
#[track_caller]
fn rejects(history: Vec<Event>, wrong: usize, right: Ret) {
    let verdict = check(&Model::new(), &history);
    assert!(matches!(verdict, Verdict::NotLinearizable(_)), "accepted: {verdict:?}");
    let mut repaired = history;
    repaired[wrong].ret = right;
    assert_eq!(check(&Model::new(), &repaired), Verdict::Linearizable, "repaired");
}

fn expiring(value: u32, version: u64) -> Ret {
    Ret::Item(Some(Seen { value, version, expires: Expires::AtDeadline }))
}

fn loaded(value: u32, version: u64) -> Ret {
    Ret::Loaded(Seen { value, version, expires: Expires::Never })
}

#[test]
fn resurrection_after_delete_user() {
    let history = vec![
        event(1, 2, Op::set(K, 1), Ret::stored(10)),
        event(3, 6, Op::DeleteNamespace(U), Ret::Removed(1)),
        event(4, 5, Op::Get(K), Ret::miss()),
        event(7, 8, Op::Get(K), Ret::hit(1, 10)),
    ];
    rejects(history, 3, Ret::miss());
}

#[test]
fn a_session_readable_after_its_users_deletion() {
    let history = vec![
        event(1, 2, Op::set(IN_SESSION, 1), Ret::stored(10)),
        event(3, 4, Op::DeleteNamespace(U), Ret::Removed(1)),
        event(5, 6, Op::Get(IN_SESSION), Ret::hit(1, 10)),
    ];
    rejects(history, 2, Ret::miss());
}

#[test]
fn two_inserts_both_true_without_a_delete() {
    let history = vec![
        event(1, 4, Op::insert(K, 1), Ret::stored(10)),
        event(2, 3, Op::insert(K, 2), Ret::stored(11)),
    ];
    rejects(history, 1, Ret::Stored(None));
}

#[test]
fn two_inserts_true_and_the_delete_between_them_too_late() {
    let history = vec![
        event(1, 4, Op::insert(K, 1), Ret::stored(10)),
        event(2, 3, Op::insert(K, 2), Ret::stored(11)),
        event(5, 6, Op::DeleteNamespace(U), Ret::Removed(1)),
    ];
    rejects(history, 0, Ret::Stored(None));
}

#[test]
fn stale_get_after_a_set_finished() {
    let history = vec![
        event(1, 2, Op::set(K, 1), Ret::stored(10)),
        event(3, 4, Op::set(K, 2), Ret::stored(11)),
        event(5, 6, Op::Get(K), Ret::hit(1, 10)),
    ];
    rejects(history, 2, Ret::hit(2, 11));
}

#[test]
fn new_then_old_value_seen_while_a_set_is_under_way() {
    let history = vec![
        event(1, 2, Op::set(K, 1), Ret::stored(10)),
        event(3, 8, Op::set(K, 2), Ret::stored(11)),
        event(4, 5, Op::Get(K), Ret::hit(2, 11)),
        event(6, 7, Op::Get(K), Ret::hit(1, 10)),
    ];
    rejects(history, 3, Ret::hit(2, 11));
}

#[test]
fn a_set_is_lost() {
    let history = vec![
        event(1, 4, Op::set(K, 1), Ret::stored(10)),
        event(2, 3, Op::set(K, 2), Ret::stored(11)),
        event(5, 6, Op::Get(K), Ret::miss()),
    ];
    rejects(history, 2, Ret::hit(1, 10));
}

#[test]
fn a_value_of_another_user() {
    let history = vec![
        event(1, 2, Op::set(K, 1), Ret::stored(10)),
        event(3, 4, Op::set(OF_OTHER, 2), Ret::stored(11)),
        event(5, 6, Op::Get(K), Ret::hit(2, 11)),
    ];
    rejects(history, 2, Ret::hit(1, 10));
}

#[test]
fn deleting_one_user_deletes_another() {
    let history = vec![
        event(1, 2, Op::set(OF_OTHER, 2), Ret::stored(11)),
        event(3, 4, Op::DeleteNamespace(U), Ret::Removed(0)),
        event(5, 6, Op::Get(OF_OTHER), Ret::miss()),
    ];
    rejects(history, 2, Ret::hit(2, 11));
}

#[test]
fn deleting_global_deletes_a_user() {
    let history = vec![
        event(1, 2, Op::set(K, 2), Ret::stored(11)),
        event(3, 4, Op::DeleteNamespace(Space::Global), Ret::Removed(0)),
        event(5, 6, Op::Contains(K), Ret::Answer(false)),
    ];
    rejects(history, 2, Ret::Answer(true));
}

#[test]
fn one_key_seen_dead_then_another_alive_across_a_delete_user() {
    let history = vec![
        event(1, 2, Op::set(K, 1), Ret::stored(10)),
        event(3, 4, Op::set(K2, 2), Ret::stored(11)),
        event(5, 10, Op::DeleteNamespace(U), Ret::Removed(2)),
        event(6, 7, Op::Get(K), Ret::miss()),
        event(8, 9, Op::Get(K2), Ret::hit(2, 11)),
    ];
    rejects(history, 4, Ret::miss());
}

#[test]
fn the_user_seen_dead_then_its_session_alive() {
    let history = vec![
        event(1, 2, Op::set(K, 1), Ret::stored(10)),
        event(3, 4, Op::set(IN_SESSION, 2), Ret::stored(11)),
        event(5, 10, Op::DeleteNamespace(U), Ret::Removed(2)),
        event(6, 7, Op::Get(K), Ret::miss()),
        event(8, 9, Op::Peek(IN_SESSION), Ret::hit(2, 11)),
    ];
    rejects(history, 4, Ret::miss());
}

#[test]
fn an_expired_value_is_returned() {
    let history = vec![
        event(1, 2, Op::set_for(K, 1, 100), Ret::stored(10)),
        event(3, 4, Op::Advance(100), Ret::Done),
        event(5, 6, Op::Get(K), expiring(1, 10)),
    ];
    rejects(history, 2, Ret::miss());
}

#[test]
fn a_value_expires_early() {
    let history = vec![
        event(1, 4, Op::set_for(K, 1, 100), Ret::stored(10)),
        event(2, 3, Op::Advance(60), Ret::Done),
        event(5, 6, Op::Advance(39), Ret::Done),
        event(7, 8, Op::Advance(1), Ret::Done),
        event(9, 10, Op::Get(K), Ret::miss()),
        event(11, 12, Op::Get(K), expiring(1, 10)),
    ];
    // The set may have read the clock before the first advance or after it: 40 later the
    // value may be gone or not, but not come back.
    rejects(history, 4, expiring(1, 10));
}

#[test]
fn keep_ttl_lost_its_ttl() {
    let keep = Put { value: 2, life: Life::Keep };
    let history = vec![
        event(1, 2, Op::set_for(K, 1, 100), Ret::stored(10)),
        event(3, 4, Op::Write(K, When::Always, keep), Ret::stored(11)),
        event(5, 6, Op::Advance(100), Ret::Done),
        event(7, 8, Op::Get(K), Ret::hit(2, 11)),
    ];
    rejects(history, 3, Ret::miss());
}

#[test]
fn update_lost_its_ttl() {
    let history = vec![
        event(1, 2, Op::set_for(K, 1, 100), Ret::stored(10)),
        event(3, 4, Op::Update(K, 1), Ret::stored(11)),
        event(5, 6, Op::Get(K), Ret::hit(2, 11)),
    ];
    rejects(history, 2, expiring(2, 11));
}

#[test]
fn a_plain_set_kept_the_ttl() {
    let history = vec![
        event(1, 2, Op::set_for(K, 1, 100), Ret::stored(10)),
        event(3, 4, Op::set(K, 2), Ret::stored(11)),
        event(5, 6, Op::Advance(100), Ret::Done),
        event(7, 8, Op::Get(K), Ret::miss()),
    ];
    rejects(history, 3, Ret::hit(2, 11));
}

#[test]
fn compare_and_set_with_a_stale_version_succeeds() {
    let history = vec![
        event(1, 2, Op::set(K, 1), Ret::stored(10)),
        event(3, 4, Op::set(K, 2), Ret::stored(11)),
        event(5, 6, Op::compare_and_set(K, 10, 3), Ret::stored(12)),
    ];
    rejects(history, 2, Ret::Stored(None));
}

#[test]
fn two_compare_and_sets_of_one_version_succeed() {
    let history = vec![
        event(1, 2, Op::set(K, 1), Ret::stored(10)),
        event(3, 6, Op::compare_and_set(K, 10, 2), Ret::stored(11)),
        event(4, 5, Op::compare_and_set(K, 10, 3), Ret::stored(12)),
    ];
    rejects(history, 1, Ret::Stored(None));
}

#[test]
fn an_update_is_lost() {
    let history = vec![
        event(1, 2, Op::set(K, 1), Ret::stored(10)),
        event(3, 6, Op::Update(K, 100), Ret::stored(11)),
        event(4, 5, Op::Update(K, 100), Ret::stored(12)),
        event(7, 8, Op::Get(K), Ret::hit(101, 12)),
    ];
    rejects(history, 3, Ret::hit(201, 12));
}

#[test]
fn one_value_is_taken_twice() {
    let history = vec![
        event(1, 2, Op::set(K, 1), Ret::stored(10)),
        event(3, 6, Op::Take(K), Ret::hit(1, 10)),
        event(4, 5, Op::Take(K), Ret::hit(1, 10)),
    ];
    rejects(history, 2, Ret::miss());
}

#[test]
fn one_key_is_deleted_twice() {
    let history = vec![
        event(1, 2, Op::set(K, 1), Ret::stored(10)),
        event(3, 6, Op::Delete(K), Ret::Answer(true)),
        event(4, 5, Op::Delete(K), Ret::Answer(true)),
    ];
    rejects(history, 1, Ret::Answer(false));
}

#[test]
fn touch_resurrects() {
    let history = vec![
        event(1, 2, Op::set(K, 1), Ret::stored(10)),
        event(3, 8, Op::Touch(K, 100), Ret::Answer(true)),
        event(4, 5, Op::DeleteNamespace(U), Ret::Removed(1)),
        event(6, 7, Op::Get(K), Ret::miss()),
        event(9, 10, Op::Get(K), expiring(1, 10)),
    ];
    rejects(history, 4, Ret::miss());
}

#[test]
fn touch_of_nothing_succeeds() {
    let history = vec![
        event(1, 2, Op::set_for(K, 1, 100), Ret::stored(10)),
        event(3, 4, Op::Advance(100), Ret::Done),
        event(5, 6, Op::Touch(K, 100), Ret::Answer(true)),
    ];
    rejects(history, 2, Ret::Answer(false));
}

#[test]
fn a_version_comes_back() {
    let history = vec![
        event(1, 2, Op::set(K, 1), Ret::stored(10)),
        event(3, 4, Op::Delete(K), Ret::Answer(true)),
        event(5, 6, Op::set(OF_OTHER, 2), Ret::stored(10)),
    ];
    rejects(history, 2, Ret::stored(11));
}

#[test]
fn a_lease_fulfilled_after_a_delete_is_visible() {
    let history = vec![
        event(1, 2, Op::Lease(K, 1), Ret::Leased),
        event(3, 4, Op::DeleteNamespace(U), Ret::Removed(0)),
        event(5, 6, Op::Fulfil(K, 1, Put::forever(1)), Ret::stored(10)),
    ];
    rejects(history, 2, Ret::Stored(None));
}

#[test]
fn a_load_overtaken_by_a_delete_is_visible() {
    let history = vec![
        event(1, 2, Op::Lease(IN_SESSION, 1), Ret::Leased),
        event(3, 4, Op::DeleteNamespace(U), Ret::Removed(0)),
        event(5, 6, Op::LoadEnd(IN_SESSION, 1, Put::forever(1)), loaded(1, 10)),
        event(7, 8, Op::Get(IN_SESSION), Ret::hit(1, 10)),
    ];
    rejects(history, 3, Ret::miss());
}

#[test]
fn a_load_overwrites_a_set() {
    let history = vec![
        event(1, 2, Op::Lease(K, 1), Ret::Leased),
        event(3, 4, Op::set(K, 2), Ret::stored(10)),
        event(5, 6, Op::LoadEnd(K, 1, Put::forever(1)), loaded(1, 11)),
        event(7, 8, Op::Get(K), Ret::hit(1, 11)),
    ];
    rejects(history, 3, Ret::hit(2, 10));
}

#[test]
fn two_leases_of_one_key_at_once() {
    let history = vec![
        event(1, 2, Op::Lease(K, 1), Ret::Leased),
        event(3, 4, Op::Lease(K, 2), Ret::Leased),
        event(5, 6, Op::DropLease(K, 1), Ret::Done),
    ];
    rejects(history, 1, Ret::Conflict);
}

#[test]
fn who_comes_after_a_delete_joins_an_older_load() {
    let history = vec![
        event(1, 2, Op::Lease(K, 1), Ret::Leased),
        event(3, 4, Op::Delete(K), Ret::Answer(false)),
        event(5, 8, Op::GetOrLoad(K, Put::forever(2)), loaded(1, 10)),
        event(6, 7, Op::LoadEnd(K, 1, Put::forever(1)), loaded(1, 10)),
        event(6, 7, Op::set(K, 3), Ret::stored(11)),
    ];
    rejects(history, 2, loaded(3, 11));
}

#[test]
fn a_present_key_is_not_listed() {
    let history = vec![
        event(1, 2, Op::set(K, 1), Ret::stored(10)),
        event(3, 4, Op::set(K2, 2), Ret::stored(11)),
        event(5, 8, Op::Keys(U), Ret::Names(vec![1])),
        event(6, 7, Op::compare_and_set(K, 10, 3), Ret::stored(12)),
    ];
    rejects(history, 2, Ret::Names(vec![0, 1]));
}

#[test]
fn a_key_is_listed_twice() {
    let history = vec![
        event(1, 2, Op::set(K, 1), Ret::stored(10)),
        event(3, 4, Op::Keys(U), Ret::Names(vec![0, 0])),
    ];
    rejects(history, 1, Ret::Names(vec![0]));
}

#[test]
fn a_deleted_session_is_listed() {
    let history = vec![
        event(1, 2, Op::set(IN_SESSION, 1), Ret::stored(10)),
        event(3, 4, Op::set(K, 1), Ret::stored(11)),
        event(5, 6, Op::DeleteNamespace(S), Ret::Removed(1)),
        event(7, 8, Op::Sessions(0), Ret::Names(vec![0])),
        event(9, 10, Op::Users, Ret::Names(vec![0])),
    ];
    rejects(history, 3, Ret::Names(vec![]));
}

#[test]
fn a_user_survives_clear() {
    let history = vec![
        event(1, 2, Op::set(K, 1), Ret::stored(10)),
        event(3, 4, Op::set(OF_OTHER, 1), Ret::stored(11)),
        event(5, 10, Op::Clear, Ret::Removed(2)),
        event(6, 7, Op::Get(K), Ret::miss()),
        // Not all at one instant: the other user may still be seen, and yet go.
        event(8, 9, Op::Get(OF_OTHER), Ret::hit(1, 11)),
        event(11, 12, Op::Get(OF_OTHER), Ret::hit(1, 11)),
    ];
    rejects(history, 5, Ret::miss());
}

#[test]
fn an_error_is_never_right() {
    let history = vec![event(1, 2, Op::Get(K), Ret::Failed("Unavailable".into()))];
    rejects(history, 0, Ret::miss());
}
