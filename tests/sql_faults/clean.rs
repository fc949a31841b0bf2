//! Instances that clean.

use std::sync::Arc;
use std::time::Duration;

use scopecache::{Options, Storage};

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
