//! How nodes come into the directory and go, step by step in one thread.

use super::names::SessionNames;
use super::*;
use crate::budget::Budget;
use crate::reclaim::pin;

const USER: Namespace<'_> = Namespace::User { user: "u" };
const SESSION: Namespace<'_> = Namespace::Session { user: "u", session: "s" };

fn directory() -> Directory {
    Directory::new(Shortcuts::new(8), NO_QUOTA)
}

#[test]
fn who_is_alive_is_raised_and_who_is_dead_or_closed_is_not() {
    let (directory, budget, guard) = (directory(), Budget::new(1 << 20, 1), pin());
    let account = budget.account(0);
    let user = directory.resolve(USER, account, &guard).expect("there is room");
    assert!(directory.raise(user, account, &guard));
    assert_eq!(user.count(), 2);
    let killed = directory.kill(USER, Death::Deleted, account, &guard);
    assert!(killed.is_some_and(|(node, _)| std::ptr::eq(&*node, user)));
    assert!(directory.find(USER, &guard).is_none());
    assert!(!directory.raise(user, account, &guard), "it is dead");
    assert_eq!(user.count(), 2, "what was counted for that is given back");
    directory.release(user, account, &guard);
    assert!(!user.is_closed());
    directory.release(user, account, &guard);
    assert!(user.is_closed());
    assert!(!directory.raise(user, account, &guard), "it is closed");
    assert_eq!(budget.used(), 0);
}

#[test]
fn the_last_release_takes_a_session_and_its_user_out() {
    let (directory, budget, guard) = (directory(), Budget::new(1 << 20, 1), pin());
    let account = budget.account(0);
    let counts = || (directory.user_count(), directory.session_count());
    let resolve = || directory.resolve(SESSION, account, &guard).expect("there is room");
    let first = resolve();
    assert!(std::ptr::eq(resolve(), first), "there is one");
    assert_eq!((first.count(), counts()), (2, (1, 1)));
    assert_eq!(budget.used(), Node::bytes_for(1, true) + Node::bytes_for(1, false));
    directory.release(first, account, &guard);
    assert!(directory.find(SESSION, &guard).is_some_and(|node| std::ptr::eq(node, first)));
    directory.release(first, account, &guard);
    assert!(directory.find(SESSION, &guard).is_none() && directory.find(USER, &guard).is_none());
    assert_eq!((counts(), budget.used()), ((0, 0), 0));
    let second = resolve();
    assert!(!std::ptr::eq(second, first), "whoever comes next gets another");
    directory.release(second, account, &guard);
    assert_eq!((counts(), budget.used()), ((0, 0), 0));
}

#[test]
fn a_session_without_room_leaves_nothing_of_its_user() {
    let (directory, guard) = (directory(), pin());
    let budget = Budget::new(Node::bytes_for(1, true), 1);
    let refused = directory.resolve(SESSION, budget.account(0), &guard).map(|_| ());
    assert_eq!(refused.expect_err("no room").kind(), ErrorKind::CapacityExceeded);
    assert_eq!((directory.user_count(), directory.session_count(), budget.used()), (0, 0, 0));
}

#[test]
fn one_closes_it_and_nobody_comes_after_that() {
    let (directory, budget, guard) = (directory(), Budget::new(1 << 20, 1), pin());
    assert!(!directory.is_closed() && directory.close());
    assert!(directory.is_closed() && !directory.close());
    for namespace in [Namespace::Global, USER, SESSION] {
        let refused = directory.resolve(namespace, budget.account(0), &guard).map(|_| ());
        assert_eq!(refused.expect_err("closed").kind(), ErrorKind::Closed);
    }
    assert_eq!((directory.user_count(), budget.used()), (0, 0));
}

#[test]
fn a_quota_reaches_the_node_that_a_user_has() {
    let (directory, budget, guard) = (directory(), Budget::new(1 << 20, 1), pin());
    assert!(directory.set_quota("u", Some(500), &guard).is_none(), "there is no node");
    let user = directory.resolve(USER, budget.account(0), &guard).expect("there is room");
    assert_eq!(user.quota(), 500);
    let found = directory.set_quota("u", Some(600), &guard);
    assert!(found.is_some_and(|node| std::ptr::eq(node, user)));
    assert_eq!(user.quota(), 600);
    directory.set_quota("u", None, &guard);
    assert_eq!(user.quota(), NO_QUOTA);
    directory.release(user, budget.account(0), &guard);
}

#[test]
fn of_two_users_of_one_name_one_is_found() {
    let (names, guard) = (UserNames::new(RandomState::new()), pin());
    let find = || names.read("u", &guard, std::ptr::from_ref);
    let [first, second, other] = ["u", "u", "v"].map(|id| NodeRef::user(id, NO_QUOTA));
    assert_eq!(find(), None);
    assert!(names.put(&first, |_| panic!("nobody is there")));
    assert!(!names.put(&second, |there| std::ptr::eq(there, &*first)), "it is kept");
    assert!(names.put(&other, |_| panic!("that is another")));
    assert_eq!((find(), names.len()), (Some(&raw const *first), 2));
    assert!(names.put(&second, |there| !std::ptr::eq(there, &*first)));
    assert_eq!((find(), names.len()), (Some(&raw const *second), 2));
    assert!(!names.remove_if(b"w", |_| panic!("nobody is there")));
    assert!(names.remove_if(b"u", |_| false));
    assert!(find().is_some());
    assert!(names.remove_if(b"u", |there| std::ptr::eq(there, &*second)));
    assert_eq!((find(), names.len()), (None, 1));
}

#[test]
fn a_walk_over_the_places_of_sessions_meets_each_once() {
    let (mut names, hasher) = (SessionNames::new(), RandomState::new());
    let user = NodeRef::user("u", NO_QUOTA);
    let session = |id: &str| NodeRef::session(user.clone(), id);
    assert!((0..100).all(|place| names.at(place).is_none()));
    let old: Vec<_> = (0..20).map(|n| session(&n.to_string())).collect();
    let new: Vec<_> = (10..30).map(|n| session(&n.to_string())).collect();
    old.iter().chain(&new).for_each(|node| names.put(node, &hasher));
    assert_eq!(names.len(), 30, "a newer one has the place of the older");
    assert!(names.places() >= 30);
    let is = |id: &str, node: &NodeRef| {
        names.get(id, &hasher).is_some_and(|there| std::ptr::eq(there, &**node))
    };
    assert!(is("9", &old[9]) && is("10", &new[0]) && is("29", &new[19]) && !is("30", &new[0]));
    let mut met: Vec<_> = (0..names.places()).filter_map(|place| names.at(place)).collect();
    assert!(names.at(names.places()).is_none());
    met.sort_by_key(|node| node.id().parse::<u32>().expect("a number"));
    assert!(met.iter().map(|node| node.id()).eq((0..30).map(|n| n.to_string())));
    // One of another incarnation stays.
    names.remove(&old[10], &hasher);
    names.remove(&old[9], &hasher);
    assert_eq!(names.len(), 29);
    assert_eq!((names.take(9, &hasher).len(), names.len()), (9, 20));
}
