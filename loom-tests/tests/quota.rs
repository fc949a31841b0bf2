//! Byte quotas of users: two writers together never pass one, and nobody misses a change.

#![cfg(scopecache_loom)]

use loom_tests::{Model, Op, session, user};

/// Both find room for one more.
#[test]
fn set_racing_set_of_one_user_keeps_its_quota() {
    let a = user("a");
    let (k, l) = (a.key("k"), a.key("l"));
    Model::new("set_racing_set_of_one_user_keeps_its_quota", 3, 100)
        .quota(1)
        .thread([Op::Set(k, 1)])
        .thread([Op::Set(l, 2)])
        .check();
}

/// The same where each takes the place of the other's.
#[test]
fn set_racing_set_into_a_quota_of_one_leaves_one() {
    let a = user("a");
    let (k, l, m) = (a.key("k"), a.key("l"), a.key("m"));
    Model::new("set_racing_set_into_a_quota_of_one_leaves_one", 2, 100)
        .evicting(8, 3)
        .quota(1)
        .before([Op::Set(m, 9)])
        .thread([Op::Set(k, 1)])
        .thread([Op::Set(l, 2)])
        .check();
}

/// What the writer took of the quota goes back, or goes with the session.
#[test]
fn set_in_a_session_racing_its_deletion_gives_back_what_it_charged() {
    let (a, s) = (user("a"), session("a", "s"));
    let (k, l) = (s.key("k"), a.key("l"));
    Model::new("set_in_a_session_racing_its_deletion_gives_back_what_it_charged", 3, 100)
        .quota(2)
        .before([Op::Set(l, 9)])
        .thread([Op::Set(k, 1)])
        .thread([Op::DeleteAll(s), Op::Reclaim])
        .check();
}

/// The quota finds the user's node, or the node the quota.
#[test]
fn set_of_a_new_user_racing_its_quota_obeys_the_quota() {
    let a = user("a");
    let k = a.key("k");
    Model::new("set_of_a_new_user_racing_its_quota_obeys_the_quota", 4, 20)
        .thread([Op::Set(k, 1)])
        .thread([Op::SetQuota(a, u64::MAX - 1)])
        .check();
}
