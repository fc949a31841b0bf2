//! Rows that somebody else holds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use scopecache::{ErrorKind, Options, Storage};

use crate::server::{Raw, on_each, until};

#[test]
fn a_lock_that_is_held_ends_in_a_timeout_for_its_session_alone() {
    on_each(async |server| {
        let storage = server.connect().await.expect("it runs");
        let held = Options::new().with_user_session("ada", "held");
        let free = Options::new().with_user_session("ada", "free");
        storage.set("k", "v".into(), held).await.expect("it runs");
        storage.set("k", "v".into(), free).await.expect("it runs");
        let mut raw = server.raw().await;
        raw.run("BEGIN").await.expect("it runs");
        let lock = format!(
            "SELECT 1 FROM {}sess WHERE u = 'ada' AND s = 'held' FOR UPDATE",
            server.prefix
        );
        raw.run(&lock).await.expect("nobody else holds it");
        let started = Instant::now();
        let timeout = Duration::from_millis(500);
        let set = storage.set("new", "v".into(), held.with_timeout(timeout)).await;
        assert_eq!(set.expect_err("it is held").kind(), ErrorKind::Timeout);
        assert!(started.elapsed() < timeout + Duration::from_secs(1));
        // Readers wait for nobody, nor do other sessions.
        assert!(storage.get("k", held).await.expect("it runs").is_some());
        storage.set("new", "v".into(), free).await.expect("it runs");
        raw.run("COMMIT").await.expect("it runs");
        storage.set("new", "w".into(), held).await.expect("it is free");
        let item = storage.get("new", held).await.expect("it runs").expect("it was set");
        assert_eq!(item.data, "w");
        assert_eq!(storage.figures().cut, 1);
    });
}

#[test]
fn a_lock_timeout_of_the_server_is_tried_again() {
    on_each(async |server| {
        // That is also how long the server lets anybody wait: less than the call has.
        let options = server.options().timeout(Duration::from_millis(900));
        let storage = Arc::new(options.connect(&server.url).await.expect("it runs"));
        let held = Options::new().with_user_session("ada", "held");
        storage.set("k", "v".into(), held).await.expect("it runs");
        let mut raw = server.raw().await;
        raw.run("BEGIN").await.expect("it runs");
        let lock = format!(
            "SELECT 1 FROM {}sess WHERE u = 'ada' AND s = 'held' FOR UPDATE",
            server.prefix
        );
        raw.run(&lock).await.expect("nobody else holds it");
        let call = Arc::clone(&storage);
        let set = tokio::spawn(async move {
            let held = Options::new().with_user_session("ada", "held");
            call.set("new", "v".into(), held.with_timeout(Duration::from_secs(60))).await
        });
        until("the server gives up once", async || storage.figures().retries > 0).await;
        raw.run("COMMIT").await.expect("it runs");
        set.await.expect("it does not panic").expect("it is free");
        println!("{}: {:?}", server.name, storage.figures());
    });
}

#[test]
fn a_deadlock_is_tried_again() {
    on_each(async |server| {
        let storage = Arc::new(server.connect().await.expect("it runs"));
        let user = Options::new().with_user("ada");
        storage.set("k", "v".into(), user).await.expect("it runs");
        let mut raw = server.raw().await;
        let prefix = &server.prefix;
        match &raw {
            // The one who asks is undone, at 1 s by default: not this one.
            Raw::Postgres(_) => raw.run("SET deadlock_timeout = '10min'").await,
            // The one that has changed less is undone: not this one.
            Raw::MySql(_) => raw.run(&format!("CREATE TABLE {prefix}heavy (n INT)")).await,
        }
        .expect("it runs");
        raw.run("BEGIN").await.expect("it runs");
        if !server.is_postgres() {
            let rows = vec!["(1)"; 1000].join(", ");
            raw.run(&format!("INSERT INTO {prefix}heavy VALUES {rows}")).await.expect("it runs");
        }
        let lock =
            format!("SELECT 1 FROM {prefix}kv WHERE u = 'ada' AND s = '' AND k = 'k' FOR UPDATE");
        raw.run(&lock).await.expect("nobody else holds it");
        let call = Arc::clone(&storage);
        let delete = tokio::spawn(async move {
            let user = Options::new().with_user("ada").with_timeout(Duration::from_secs(60));
            call.delete(user).await
        });
        let mut other = server.raw().await;
        until("the delete waits for the key", async || other.sees_a_wait().await).await;
        // It holds the user, and this one the key.
        let lock = format!("SELECT 1 FROM {prefix}usr WHERE u = 'ada' FOR UPDATE");
        raw.run(&lock).await.expect("the other one is undone");
        raw.run("COMMIT").await.expect("it runs");
        let removed = delete.await.expect("it does not panic").expect("it is tried again");
        assert_eq!(removed.entries, 1);
        assert!(storage.figures().retries > 0, "{:?}", storage.figures());
        println!("{}: {:?}", server.name, storage.figures());
    });
}
