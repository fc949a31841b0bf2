//! How nodes come into the directory and go, step by step in one thread.

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
