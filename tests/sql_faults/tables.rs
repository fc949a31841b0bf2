//! Tables, and what may not be in them.

use std::time::Duration;

use scopecache::{ErrorKind, Options, Page, SqlOptions, Storage};

use crate::server::{on_each, until};

#[test]
fn instances_that_start_at_once_make_the_tables_once() {
    on_each(async |server| {
        let starts: Vec<_> = (0..8)
            .map(|_| {
                let (options, url) = (server.options(), server.url.clone());
                tokio::spawn(async move { options.connect(&url).await })
            })
            .collect();
        for start in starts {
            let storage = start.await.expect("it does not panic").expect("one waits for another");
            storage.set("k", "v".into(), Options::new()).await.expect("it runs");
        }
        let mut raw = server.raw().await;
        let versions = format!("SELECT COUNT(*) FROM {}schema", server.prefix);
        assert_eq!(raw.number(&versions).await, 1);

        // Made by a version that does not exist yet.
        let newer = format!("INSERT INTO {}schema (version) VALUES (1000)", server.prefix);
        raw.run(&newer).await.expect("it runs");
        let error = server.connect().await.expect_err("it is too new");
        assert_eq!(error.kind(), ErrorKind::Backend);
        assert!(error.to_string().contains("newer version"), "{error}");
    });
}

#[test]
fn tables_keep_out_what_no_call_would_write() {
    on_each(async |server| {
        drop(server.connect().await.expect("it runs"));
        let prefix = &server.prefix;
        let mut raw = server.raw().await;
        let long = "x".repeat(257);
        let users = format!("INSERT INTO {prefix}usr (u) VALUES ");
        raw.run(&format!("{users}('')")).await.expect("the global namespace");
        raw.run(&format!("{users}('{long}')")).await.expect_err("too long an id");
        let sessions = format!("INSERT INTO {prefix}sess (u, s) VALUES ");
        raw.run(&format!("{sessions}('', '')")).await.expect("the global namespace");
        raw.run(&format!("{sessions}('', 's')")).await.expect_err("a session of nobody");
        raw.run(&format!("{sessions}('ada', 's')")).await.expect_err("a user who is not there");
        let keys = format!("INSERT INTO {prefix}kv (u, s, k, v, ver, created) VALUES ");
        let longer = "x".repeat(513);
        for (session, key) in [("", ""), ("", &*longer), ("s", "k")] {
            let row = format!("{keys}('', '{session}', '{key}', '', 1, 1)");
            raw.run(&row).await.expect_err("no key, too long a key, no such session");
        }
        raw.run(&format!("{keys}('', '', 'k', '', 1, 1)")).await.expect("a key");
        raw.run(&format!("DELETE FROM {prefix}usr")).await.expect("all goes with its user");
        assert_eq!(server.rows().await, 0);
    });
}

/// PostgreSQL plans by what it last counted: tables that held one user a moment ago were read from end to end.
#[test]
fn no_call_reads_a_whole_table_whatever_was_counted_last() {
    on_each(async |server| {
        if !server.is_postgres() {
            return;
        }
        let prefix = &server.prefix;
        let tables = ["usr", "sess", "kv"].map(|name| format!("{prefix}{name}"));
        let storage = server.connect().await.expect("it runs");
        let ada = Options::new().with_user_session("ada", "s");
        storage.set("k", "v".into(), ada).await.expect("it runs");
        let mut raw = server.raw().await;
        raw.run(&format!("ANALYZE {}", tables.join(", "))).await.expect("one row in each");
        let of: Vec<_> = tables.iter().map(|table| format!("'{table}'::regclass")).collect();
        let all = of.join(", ");
        let sum = |column: &str| {
            format!("SELECT sum({column})::bigint FROM pg_stat_user_tables WHERE relid IN ({all})")
        };
        // Connections tell what they did when they end.
        storage.close().await.expect("it runs");
        until("three rows are counted", async || raw.number(&sum("n_tup_ins")).await == 3).await;
        let scans = raw.number(&sum("seq_scan")).await;

        let storage = server.connect().await.expect("it runs");
        let ttl = Duration::from_secs(3600);
        for number in 0..20 {
            let user = format!("user {number}");
            let at = Options::new().with_user_session(&user, "s").with_ttl(ttl);
            let keys = ["a", "b"].map(|key| (key, "v".into()));
            storage.set_many(&keys, at).await.expect("it runs");
            storage.set("a", "w".into(), at).await.expect("it runs");
            let at = Options::new().with_user_session(&user, "s");
            storage.get("a", at).await.expect("it runs").expect("it is there");
            storage.get_many(&["a", "b"], at).await.expect("it runs");
            storage.keys(Page::new(10), at).await.expect("it runs");
            storage.sessions(&user, Page::new(10)).await.expect("it runs");
            assert!(storage.touch("a", at.with_ttl(ttl)).await.expect("it runs"));
            storage.take("a", at).await.expect("it runs").expect("it is there");
            storage.delete(at).await.expect("it runs");
            storage.delete(Options::new().with_user(&user)).await.expect("it runs");
        }
        storage.clean().await.expect("it runs");
        storage.close().await.expect("it runs");
        until("the calls are counted", async || raw.number(&sum("n_tup_del")).await >= 40).await;
        assert_eq!(raw.number(&sum("seq_scan")).await, scans);
    });
}

#[test]
fn nothing_that_goes_wrong_shows_the_password() {
    on_each(async |server| {
        let at = format!("127.0.0.1:{}", server.port());
        let scheme = server.url.split("://").next().expect("it has one").to_owned();
        let wrong = [
            format!("{scheme}://nobody:secret@{at}/secret"),
            format!("{scheme}://postgres:secret@{at}/secret"),
            format!("{scheme}://root:secret@{at}/secret"),
            format!("{scheme}://nobody:secret@127.0.0.1:1/secret"),
            format!("{scheme}://nobody:secret@127.0.0.1:secret/x"),
            format!("{scheme}://nobody:secret@{at}/x?sslmode=secret"),
        ];
        for url in wrong {
            let options = SqlOptions::new().timeout(Duration::from_secs(2));
            let error = options.connect(&url).await.expect_err("it cannot be reached");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("secret"), "{shown}");
            println!("{}: {error}", server.name);
        }
    });
}
