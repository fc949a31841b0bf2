//! Tables, and what may not be in them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
        let again =
            format!("SELECT COUNT(*) - COUNT(DISTINCT version) FROM {}schema", server.prefix);
        assert_eq!(raw.number(&again).await, 0, "steps taken twice");

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
        let now = if server.is_postgres() { "now()" } else { "1" };
        for (session, key) in [("", ""), ("", &*longer), ("s", "k")] {
            let row = format!("{keys}('', '{session}', '{key}', '', 1, {now})");
            raw.run(&row).await.expect_err("no key, too long a key, no such session");
        }
        raw.run(&format!("{keys}('', '', 'k', '', 1, {now})")).await.expect("a key");
        raw.run(&format!("DELETE FROM {prefix}usr")).await.expect("all goes with its user");
        assert_eq!(server.rows().await, 0);
    });
}

/// On PostgreSQL times were numbers once.
#[test]
fn items_of_older_tables_are_as_they_were() {
    on_each(async |server| {
        if !server.is_postgres() {
            return;
        }
        let prefix = &server.prefix;
        let mut raw = server.raw().await;
        let moment = "(extract(epoch FROM now()) * 1000000)::bigint";
        let older = format!(
            "CREATE TABLE {prefix}schema (version BIGINT NOT NULL);
             CREATE DOMAIN {prefix}key AS bytea CHECK (octet_length(VALUE) BETWEEN 1 AND 512);
             CREATE TABLE {prefix}usr (u bytea PRIMARY KEY);
             CREATE TABLE {prefix}sess (u bytea NOT NULL REFERENCES {prefix}usr ON DELETE CASCADE,
               s bytea NOT NULL, PRIMARY KEY (u, s));
             CREATE TABLE {prefix}kv (u bytea NOT NULL, s bytea NOT NULL, k {prefix}key NOT NULL,
               v bytea NOT NULL, ver bigint NOT NULL, created bigint NOT NULL, exp bigint, ttl bigint,
               last bigint, PRIMARY KEY (u, s, k),
               FOREIGN KEY (u, s) REFERENCES {prefix}sess ON DELETE CASCADE);
             CREATE INDEX {prefix}kv_exp ON {prefix}kv (exp);
             INSERT INTO {prefix}schema VALUES (1);
             INSERT INTO {prefix}usr VALUES ('ada');
             INSERT INTO {prefix}sess VALUES ('ada', 's');
             INSERT INTO {prefix}kv VALUES
               ('ada', 's', 'for ever', 'v', 1, 1700000000123456, NULL, NULL, NULL),
               ('ada', 's', 'gone', 'v', 2, 1700000000123456, 1700000000123457, NULL, NULL),
               ('ada', 's', 'slides', 'v', 3, 1700000000123456, {moment} + 3600000000, 3600000000,
                {moment} + 7200000000);"
        );
        raw.run(&older).await.expect("tables as they were");

        let storage = server.connect().await.expect("it brings them up to date");
        let at = Options::new().with_user_session("ada", "s");
        let item = storage.get("for ever", at).await.expect("it runs").expect("it is there");
        let created = UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        assert_eq!((item.version.as_u64(), item.created_at), (1, created));
        assert_eq!(item.expires_at, None);
        assert_eq!(storage.get("gone", at).await.expect("it runs"), None);
        let item = storage.get("slides", at).await.expect("it runs").expect("it is there");
        let left = item.expires_at.expect("it has a TTL").duration_since(SystemTime::now());
        let left = left.expect("in time to come").as_secs_f64();
        assert!((3500.0..3700.0).contains(&left), "{left} s");
        storage.set("slides", "w".into(), at.keep_ttl()).await.expect("it is overwritten");
        let longer = at.with_ttl(Duration::from_secs(24 * 3600));
        assert!(storage.touch("slides", longer).await.expect("it runs"));
        let item = storage.get("slides", at).await.expect("it runs").expect("it is there");
        let left = item.expires_at.expect("it has a TTL").duration_since(SystemTime::now());
        let left = left.expect("in time to come").as_secs_f64();
        assert!((7100.0..7300.0).contains(&left), "{left} s: the end of its lifetime stays");
        assert_eq!(storage.clean().await.expect("it runs"), 1);
        assert_eq!(
            storage.delete(Options::new().with_user("ada")).await.expect("it runs").entries,
            2
        );
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
