//! The life and the books of nodes, step by step in one thread.

use super::*;
use crate::directory::NO_QUOTA;
use crate::removal::RemovalCause;

const USER: Namespace<'_> = Namespace::User { user: "u" };
const SESSION: Namespace<'_> = Namespace::Session { user: "u", session: "s" };

fn held(entries: u64, bytes: u64) -> Usage {
    Usage { entries, bytes }
}

#[test]
fn a_node_closes_once_and_only_when_nothing_needs_it() {
    let node = NodeRef::user("u", NO_QUOTA);
    assert_eq!((node.count(), node.close()), (1, false));
    assert!(node.raise());
    assert_eq!(node.count(), 2);
    assert_eq!(node.release(), Released::InUse);
    assert!(!node.close() && !node.is_closed());
    assert_eq!(node.release(), Released::Empty);
    assert_eq!((node.count(), node.is_closed()), (0, false));
    assert!(node.close() && node.is_closed());
    assert!(!node.close(), "one closes it");
    assert!(!node.raise(), "who comes later looks the namespace up again");
}

#[test]
fn a_deleted_session_still_closes() {
    let session = NodeRef::session(NodeRef::user("u", NO_QUOTA), "s");
    session.count_first();
    assert!(session.kill(Death::Deleted).is_some());
    assert!(!session.close());
    assert_eq!(session.count(), 1);
    assert_eq!(session.release(), Released::Empty);
    assert!(session.close() && !session.close() && session.is_closed());
}

#[test]
fn a_session_dies_with_its_user_and_not_the_other_way_round() {
    let user = NodeRef::user("u", NO_QUOTA);
    let (one, two) = (NodeRef::session(user.clone(), "1"), NodeRef::session(user.clone(), "2"));
    assert!(!one.is_dead() && !user.is_dead());
    assert!(one.kill(Death::Deleted).is_some() && one.is_dead() && one.is_killed());
    assert!(!two.is_dead() && !user.is_dead());
    assert!(user.kill(Death::Deleted).is_some() && user.kill(Death::Deleted).is_none());
    assert!(two.is_dead() && !two.is_killed());
}

#[test]
fn what_died_knows_how_and_the_first_death_counts() {
    let user = NodeRef::user("u", NO_QUOTA);
    let (one, two) = (NodeRef::session(user.clone(), "1"), NodeRef::session(user.clone(), "2"));
    assert_eq!(one.cause_of_death(), None);
    assert!(one.kill(Death::Deleted).is_some());
    assert!(user.kill(Death::Deleted).is_some());
    assert!(user.kill(Death::Closed).is_none());
    assert_eq!(one.cause_of_death(), Some(RemovalCause::SessionDeleted));
    assert_eq!(two.cause_of_death(), Some(RemovalCause::UserDeleted));
    assert_eq!(user.cause_of_death(), Some(RemovalCause::UserDeleted));

    let of = |node: NodeRef, death| {
        assert!(node.kill(death).is_some());
        node.cause_of_death()
    };
    assert_eq!(of(NodeRef::user("u", NO_QUOTA), Death::Cleared), Some(RemovalCause::Cleared));
    assert_eq!(of(NodeRef::global(), Death::Deleted), Some(RemovalCause::Cleared));
    assert_eq!(of(NodeRef::global(), Death::Closed), None);
    let cleared = NodeRef::user("u", NO_QUOTA);
    let session = NodeRef::session(cleared.clone(), "s");
    assert!(cleared.kill(Death::Cleared).is_some());
    assert_eq!(session.cause_of_death(), Some(RemovalCause::Cleared));
}

#[test]
fn a_user_holds_what_its_open_sessions_hold() {
    let user = NodeRef::user("u", NO_QUOTA);
    let session = NodeRef::session(user.clone(), "s");
    session.count_first();
    assert!(session.raise());
    session.book(Some(100), None, Charge::NONE);
    assert_eq!((session.usage(), user.usage()), (held(2, 100), held(2, 100)));
    user.book(Some(30), None, Charge::NONE);
    user.book(Some(50), Some(30), Charge::NONE);
    assert_eq!((session.usage(), user.usage()), (held(2, 100), held(3, 150)));
    session.book(Some(90), Some(100), Charge::NONE);
    assert_eq!(session.release(), Released::InUse);
    user.book(None, Some(50), Charge::NONE);
    assert_eq!((session.usage(), user.usage()), (held(1, 90), held(1, 90)));

    assert_eq!(session.kill(Death::Deleted), Some(held(1, 90)));
    assert_eq!(user.usage(), held(0, 0), "it left with all that it held");
    assert_eq!(session.usage(), held(1, 90));
    // What becomes of it afterwards is no matter of the user's.
    session.book(None, Some(90), Charge::NONE);
    assert_eq!(session.release(), Released::Empty);
    assert_eq!((session.usage(), user.usage()), (held(0, 0), held(0, 0)));
    assert_eq!(session.kill(Death::Deleted), None);
}

#[test]
fn a_sum_in_the_middle_of_a_change_is_not_shown_below_zero() {
    let user = NodeRef::user("u", NO_QUOTA);
    user.book(None, Some(70), Charge::NONE);
    assert_eq!(user.usage(), held(0, 0));
    user.book(Some(100), None, Charge::NONE);
    assert_eq!(user.usage(), held(0, 30));

    let session = NodeRef::session(user.clone(), "s");
    session.count_first();
    session.book(None, Some(5), Charge::NONE);
    assert_eq!(session.kill(Death::Deleted), Some(held(1, 0)));
    session.book(Some(5), None, Charge::NONE);
    assert_eq!((session.usage().bytes, user.usage().bytes), (0, 30));
}

#[test]
fn the_global_namespace_does_not_count_itself() {
    let global = NodeRef::global();
    assert!(global.is_global() && !NodeRef::user("u", NO_QUOTA).is_global());
    assert_eq!(global.usage(), held(0, 0));
    assert!(global.raise());
    global.book(Some(40), None, Charge::NONE);
    assert_eq!(global.usage(), held(1, 40));
}

#[test]
fn a_node_knows_its_namespace_from_all_others() {
    let user = NodeRef::user("u", NO_QUOTA);
    let nodes = [
        NodeRef::global(),
        user.clone(),
        NodeRef::user("s", NO_QUOTA),
        NodeRef::session(user.clone(), "s"),
        NodeRef::session(user, "u"),
        NodeRef::session(NodeRef::user("s", NO_QUOTA), "s"),
    ];
    let namespaces = [
        Namespace::Global,
        USER,
        Namespace::User { user: "s" },
        SESSION,
        Namespace::Session { user: "u", session: "u" },
        Namespace::Session { user: "s", session: "s" },
    ];
    for (n, node) in nodes.iter().enumerate() {
        for (m, &namespace) in namespaces.iter().enumerate() {
            assert_eq!(node.is_named(namespace), n == m, "{namespace:?}");
            assert_eq!(node.same_namespace(&nodes[m]), n == m, "{namespace:?}");
        }
        node.with_namespace(|own| assert_eq!(own, namespaces[n]));
        let names = node.names(b"k");
        let (user, session) = match namespaces[n] {
            Namespace::Global => (None, None),
            Namespace::User { user } => (Some(user), None),
            Namespace::Session { user, session } => (Some(user), Some(session)),
        };
        assert_eq!(names.user, user.map(str::as_bytes));
        assert_eq!(names.session, session.map(str::as_bytes));
        assert_eq!(names.key, b"k");
    }
    // Another incarnation of each.
    assert!(nodes[0].same_namespace(&NodeRef::global()));
    assert!(nodes[1].same_namespace(&NodeRef::user("u", NO_QUOTA)));
    assert!(nodes[3].same_namespace(&NodeRef::session(NodeRef::user("u", NO_QUOTA), "s")));
}

#[test]
fn as_many_references_as_there_may_be_are_not_too_many() {
    let node = NodeRef::global();
    // Relaxed: one thread.
    node.refs.store(u32::MAX / 2, Ordering::Relaxed);
    let another = node.clone();
    assert_eq!(node.refs.swap(2, Ordering::Relaxed), u32::MAX / 2 + 1);
    drop(another);
    assert_eq!(node.refs.load(Ordering::Relaxed), 1);
}

#[test]
fn a_node_has_one_shortcut_for_ever() {
    let node = NodeRef::user("u", NO_QUOTA);
    assert_eq!(node.shortcut(), None);
    assert!(node.claim_shortcut(7) && node.claim_shortcut(7));
    assert!(!node.claim_shortcut(8));
    assert_eq!(node.shortcut(), Some(7));
    assert!(NodeRef::user("v", NO_QUOTA).claim_shortcut(Node::MOST_SHORTCUT));
}

#[test]
fn a_node_books_its_id_and_what_a_user_has_besides() {
    let (user, session) =
        (NodeRef::user("u", NO_QUOTA), NodeRef::session(NodeRef::user("u", NO_QUOTA), "s"));
    assert_eq!(user.own_bytes(), Node::bytes_for(1, true));
    assert_eq!(session.own_bytes(), Node::bytes_for(1, false));
    assert!(session.own_bytes() as usize >= size_of::<Node>());
    assert!(user.own_bytes() - session.own_bytes() >= size_of::<Sessions>() as u64);
    assert!(Node::bytes_for(256, false) - Node::bytes_for(1, false) >= 256);
    // An id of this length needs no memory of its own; a place in a map is 16 bytes.
    let bare = allocated(size_of::<Node>()) as u64 + 16;
    assert_eq!(Node::bytes_for(1, false), bare);
    assert_eq!(Node::bytes_for(1, true), bare + allocated(size_of::<Sessions>()) as u64);
}

#[test]
fn charges_of_a_user_never_pass_its_quota() {
    let user = NodeRef::user("u", 100);
    let session = NodeRef::session(user.clone(), "s");
    assert!(user.payer().is_some_and(|payer| std::ptr::eq(payer, &*user)));
    assert!(user.pays_for(&session) && user.pays_for(&user));
    let other = NodeRef::user("u", 100);
    assert!(!user.pays_for(&other) && !user.pays_for(&NodeRef::session(other.clone(), "s")));
    assert!(!user.pays_for(&NodeRef::global()));
    assert!(NodeRef::global().payer().is_none());
    let first = user.charge(60).expect("it fits");
    assert_eq!((user.missing(40), user.missing(41)), (0, 1));
    assert!(user.charge(41).is_none());
    session.book(Some(60), None, first);
    assert_eq!((session.usage().bytes, user.usage().bytes), (60, 60));
    drop(user.charge(40).expect("it fits"));
    assert_eq!(user.usage().bytes, 60, "given back");
    let growth = user.charge(40).expect("it fits");
    session.book(Some(100), Some(60), growth);
    assert_eq!((session.usage().bytes, user.usage().bytes), (100, 100));
    assert!(user.charge(1).is_none() && user.charge(u64::MAX).is_none());
    user.set_quota(0);
    assert_eq!(user.missing(0), 100);
    user.set_quota(NO_QUOTA);
    assert_eq!(user.missing(u64::MAX - NO_BYTES), 0);
}

#[test]
fn what_was_charged_for_a_deleted_session_goes_back() {
    let user = NodeRef::user("u", 100);
    let session = NodeRef::session(user.clone(), "s");
    let charge = user.charge(60).expect("it fits");
    assert_eq!(session.kill(Death::Deleted), Some(held(1, 0)));
    session.book(Some(60), None, charge);
    assert_eq!((session.usage().bytes, user.usage().bytes), (60, 0));
}
