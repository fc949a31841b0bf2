//! Calls on threads of their own.

use std::sync::{Arc, Barrier};
use std::thread;

use pollster::block_on;
use scopecache::MockClock;
use tower_sessions_core_0_15::session::Id;
use tower_sessions_core_0_15::{ExpiredDeletion, SessionStore};

use crate::common::{
    INSTANT, by_user, cache, check_once, create, global_keys, listed, load, record, store, sweep,
    user_of,
};

const ROUNDS: usize = 300;

/// Saves and loads that go on do not bring a session back.
#[test]
fn a_log_out_among_saves_is_final() {
    for _ in 0..ROUNDS {
        let (store, _) = store();
        create(&store, &record(1, Some("ada"), "before"));
        let barrier = Barrier::new(3);
        thread::scope(|scope| {
            for user in [Some("ada"), None] {
                let (store, barrier) = (&store, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for _ in 0..20 {
                        block_on(store.save(&record(1, user, "saved"))).expect("open");
                    }
                });
            }
            barrier.wait();
            block_on(store.logout_everywhere("ada")).expect("open");
            for _ in 0..20 {
                assert_eq!(load(&store, 1), None);
            }
        });
        assert_eq!(load(&store, 1), None);
        assert!(listed(&store, "ada").is_empty());
    }
}

/// Logins as two users, log-outs and loads at the same time: the session is there once, and ends with
/// the log-out that comes after all.
#[test]
fn logins_and_log_outs_leave_one_session_or_none() {
    let (mut alive, mut dead) = (0, 0);
    for _ in 0..ROUNDS {
        let (store, _) = store();
        create(&store, &record(1, None, "before"));
        let barrier = Barrier::new(4);
        thread::scope(|scope| {
            for user in ["ada", "eve"] {
                let (store, barrier) = (&store, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    block_on(store.save(&record(1, Some(user), "logged in"))).expect("open");
                });
            }
            scope.spawn(|| {
                barrier.wait();
                block_on(store.logout_everywhere("ada")).expect("open");
            });
            barrier.wait();
            load(&store, 1);
        });
        check_once(&store, 1, &["ada", "eve"]);
        match load(&store, 1) {
            Some(record) => {
                assert!(user_of(&record).is_some());
                alive += 1;
            }
            None => dead += 1,
        }
        block_on(store.logout_everywhere("ada")).expect("open");
        block_on(store.logout_everywhere("eve")).expect("open");
        assert_eq!(load(&store, 1), None);
    }
    println!("{alive} sessions lived, {dead} were logged out");
}

/// One of many creations of an id has it.
#[test]
fn an_id_is_given_to_one() {
    for _ in 0..ROUNDS {
        let (store, _) = store();
        let barrier = Barrier::new(2);
        let ids: Vec<Id> = thread::scope(|scope| {
            let threads = [None, Some("ada")].map(|user| {
                let (store, barrier) = (&store, &barrier);
                scope.spawn(move || {
                    let mut record = record(1, user, "created");
                    barrier.wait();
                    block_on(store.create(&mut record)).expect("room");
                    record.id
                })
            });
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(ids.iter().filter(|id| **id == Id(1)).count(), 1);
        assert!(ids.iter().all(|id| load(&store, id.0).is_some()));
    }
}

/// Sweeps among logins, moves to another user and log-outs: whoever was logged in last is, and of all others
/// nothing is left.
#[test]
fn sweeps_among_logins_end_the_dead_alone() {
    const IDS: i128 = 8;
    for _ in 0..ROUNDS {
        let clock = MockClock::new();
        let cache = cache(&clock);
        let store = by_user(Arc::new(cache.clone()));
        for id in 1..=IDS {
            create(&store, &record(id, Some("ada"), "before"));
        }
        let barrier = Barrier::new(4);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    barrier.wait();
                    for _ in 0..10 {
                        block_on(store.delete_expired()).expect("open");
                        clock.advance(INSTANT);
                    }
                });
            }
            scope.spawn(|| {
                barrier.wait();
                for id in 1..=IDS {
                    block_on(store.save(&record(id, Some("eve"), "moved"))).expect("open");
                }
            });
            barrier.wait();
            block_on(store.logout_everywhere("ada")).expect("open");
        });
        sweep(&store, &clock);
        let alive = (1..=IDS).filter(|id| load(&store, *id).is_some()).count();
        assert_eq!(listed(&store, "eve").len(), alive);
        assert_eq!(global_keys(&cache).len(), alive);
        for id in 1..=IDS {
            check_once(&store, id, &["ada", "eve"]);
        }
    }
}
