//! Instances that clean.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use scopecache::{Condition, Options, Storage};

use crate::server::{on_each, until};

#[test]
fn two_instances_clean_at_once_and_take_nothing_that_lives() {
    const USERS: usize = 40;
    const KEYS: usize = 25;
    on_each(async |server| {
        let instances = [
            Arc::new(server.connect().await.expect("it runs")),
            Arc::new(server.connect().await.expect("it runs")),
        ];
        // Of each user one session ends, and another goes on to be written to.
        let ttl = Duration::from_millis(1);
        for number in 0..USERS {
            let user = format!("user {number}");
            let ends = Options::new().with_user_session(&user, "ends").with_ttl(ttl);
            for key in 0..KEYS {
                instances[0].set(&key.to_string(), "v".into(), ends).await.expect("it runs");
            }
            let stays = Options::new().with_user_session(&user, "stays").with_ttl(ttl);
            instances[0].set("ends", "v".into(), stays).await.expect("it runs");
        }
        let writer = server.connect().await.expect("it runs");
        let writes = tokio::spawn(async move {
            for number in 0..USERS {
                let user = format!("user {number}");
                for session in ["ends", "stays"] {
                    let place = Options::new().with_user_session(&user, session);
                    writer.set("lives", "v".into(), place).await.expect("it runs");
                }
            }
        });
        let cleaners: Vec<_> = instances
            .iter()
            .map(|instance| {
                let instance = Arc::clone(instance);
                tokio::spawn(async move {
                    let mut gone = 0;
                    for _ in 0..10 {
                        gone +=
                            instance.clean().await.expect("they do not get in each other's way");
                    }
                    gone
                })
            })
            .collect();
        let mut gone = Vec::new();
        for cleaner in cleaners {
            gone.push(cleaner.await.expect("it does not panic"));
        }
        writes.await.expect("it does not panic");
        for number in 0..USERS {
            let user = format!("user {number}");
            for session in ["ends", "stays"] {
                let place = Options::new().with_user_session(&user, session);
                let item = instances[1].get("lives", place).await.expect("it runs");
                assert!(item.is_some(), "{user} has lost what was written while it was cleaned");
            }
        }
        let clean = async || {
            instances[0].clean().await.expect("it runs");
            server.rows().await as usize == 5 * USERS
        };
        // A user, two sessions, and an item of each.
        until("all that has expired is gone", clean).await;
        println!("{}: two instances took {gone:?} rows of the same tables", server.name);

        for number in 0..USERS {
            let user = format!("user {number}");
            for session in ["ends", "stays"] {
                let place = Options::new().with_user_session(&user, session);
                instances[0].delete(place.with_key("lives")).await.expect("it runs");
            }
        }
        instances[0].clean().await.expect("it runs");
        assert_eq!(server.rows().await, 0, "rows left of namespaces that hold nothing");
    });
}

#[test]
fn a_storage_cleans_by_itself() {
    on_each(async |server| {
        let options = server.options().clean_every(Duration::from_millis(50));
        let storage = options.connect(&server.url).await.expect("it runs");
        let ttl = Duration::from_millis(20);
        let place = Options::new().with_user_session("ada", "s").with_ttl(ttl);
        storage.set("k", "v".into(), place).await.expect("it runs");
        storage.set("k", "v".into(), Options::new().with_ttl(ttl)).await.expect("it runs");
        until("nothing is left", async || server.rows().await == 0).await;
        assert_eq!(storage.figures().failed_cleanings, 0);
    });
}

/// Whatever wrote a deadline last, an item goes once it is over, and not before.
#[test]
fn deadlines_that_move_are_kept() {
    let (soon, later) = (Duration::from_millis(1), Duration::from_secs(3600));
    let at = Options::new().with_user_session("ada", "s");
    on_each(async |server| {
        let storage = server.connect().await.expect("it runs");
        let set = async |key: &str, options: Options<'_>| {
            storage.set(key, "v".into(), options).await.expect("it runs");
        };
        let write = async |key: &str, condition: Condition, options: Options<'_>| {
            let version = storage.write(key, "v".into(), condition, options).await;
            assert!(version.expect("it runs").is_some(), "{key} was not written");
        };
        for key in ["set", "write", "touch", "touch of one that slides", "many"] {
            set(key, at.with_ttl(later)).await;
        }
        set("touch of one that slides", at.with_ttl(later).sliding(2 * later)).await;
        set("touch of one without", at).await;
        set("set to slide", at.with_ttl(later)).await;
        let goes = at.with_ttl(soon);
        set("set", goes).await;
        set("set to slide", goes.sliding(later)).await;
        write("write", Condition::Present, goes).await;
        storage.set_many(&[("many", "v".into())], goes).await.expect("it runs");
        for key in ["touch", "touch of one that slides", "touch of one without"] {
            assert!(storage.touch(key, goes).await.expect("it runs"), "{key}");
        }

        // Those that come to have a later end, or none. Some are over by then, and are written anew.
        let stay = ["later", "later, to slide", "for ever", "kept", "many later"];
        for key in stay {
            set(key, at.with_ttl(4 * soon)).await;
        }
        set("later", at.with_ttl(later)).await;
        set("later, to slide", at.with_ttl(later).sliding(later)).await;
        set("for ever", at).await;
        set("kept", at.with_ttl(later)).await;
        set("kept", at.keep_ttl()).await;
        storage.set_many(&[("many later", "v".into())], at.with_ttl(later)).await.expect("it runs");
        set("absent", goes).await;
        until("it is over", async || storage.get("absent", at).await.expect("it runs").is_none())
            .await;
        write("absent", Condition::Absent, at.with_ttl(later)).await;

        let clean = async || {
            storage.clean().await.expect("it runs");
            // With the user and the session.
            server.rows().await as usize == stay.len() + 1 + 2
        };
        until("those that are over have gone", clean).await;
        for key in stay.into_iter().chain(["absent"]) {
            assert!(storage.get(key, at).await.expect("it runs").is_some(), "{key} has gone");
        }
        if server.is_postgres() {
            let due =
                format!("SELECT count(*) FROM {}kv WHERE due IS DISTINCT FROM exp", server.prefix);
            until("each is looked at when its time has come", async || {
                storage.clean().await.expect("it runs");
                server.raw().await.number(&due).await == 0
            })
            .await;
        }
        for key in stay.into_iter().chain(["absent"]) {
            assert!(storage.touch(key, goes).await.expect("it runs"), "{key} has gone");
        }
        let clean = async || {
            storage.clean().await.expect("it runs");
            server.rows().await == 0
        };
        until("all are over and have gone", clean).await;
    });
}

/// More of what lives than a batch holds has come due before what is over.
#[test]
fn what_lives_hides_nothing_that_is_over() {
    const LIVES: usize = 2200;
    on_each(async |server| {
        let storage = server.connect().await.expect("it runs");
        let at = Options::new().with_user_session("ada", "s");
        let names: Vec<_> = (0..LIVES).map(|number| number.to_string()).collect();
        let items: Vec<_> = names.iter().map(|name| (&**name, "v".into())).collect();
        let (soon, later) = (Duration::from_millis(1), Duration::from_secs(3600));
        for ttl in [soon, later] {
            storage.set_many(&items, at.with_ttl(ttl)).await.expect("it runs");
        }
        storage.set("over", "v".into(), at.with_ttl(soon)).await.expect("it runs");
        until("it is over", async || storage.get("over", at).await.expect("it runs").is_none())
            .await;
        assert_eq!(storage.clean().await.expect("it runs"), 1, "what has gone");
        assert_eq!(server.rows().await as usize, LIVES + 2);
    });
}

/// What is written to while a batch is locked counts for it, though it stays as it is.
#[test]
fn writers_hide_nothing_that_is_over() {
    const LIVES: usize = 3000;
    on_each(async |server| {
        let storage = Arc::new(server.connect().await.expect("it runs"));
        let at = Options::new().with_user_session("ada", "s");
        let (soon, later) = (Duration::from_millis(1), Duration::from_secs(3600));
        let names: Vec<_> = (0..LIVES).map(|number| number.to_string()).collect();
        let items: Vec<_> = names.iter().map(|name| (&**name, "v".into())).collect();
        for round in 0..3 {
            for ttl in [soon, later] {
                storage.set_many(&items, at.with_ttl(ttl)).await.expect("it runs");
            }
            storage.set("over", "v".into(), at.with_ttl(soon)).await.expect("it runs");
            until("it is over", async || storage.get("over", at).await.expect("it runs").is_none())
                .await;
            let is_done = Arc::new(AtomicBool::new(false));
            let writers: Vec<_> = (0..3)
                .map(|first| {
                    let (storage, is_done) = (Arc::clone(&storage), Arc::clone(&is_done));
                    tokio::spawn(async move {
                        // SeqCst: for clarity; nothing hangs on it.
                        for number in (first..LIVES).step_by(7).cycle() {
                            if is_done.load(SeqCst) {
                                break;
                            }
                            let (key, at) = (number.to_string(), at.with_ttl(later));
                            storage.set(&key, "w".into(), at).await.expect("it runs");
                        }
                    })
                })
                .collect();
            let gone = storage.clean().await.expect("it runs");
            is_done.store(true, SeqCst);
            for writer in writers {
                writer.await.expect("it does not panic");
            }
            assert_eq!(gone, 1, "what has gone in round {round}");
            assert_eq!(server.rows().await as usize, LIVES + 2);
        }
    });
}
