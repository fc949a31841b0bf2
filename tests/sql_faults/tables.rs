//! Tables, and what may not be in them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use scopecache::{ErrorKind, Options, Page, SqlOptions, SqlStorage, Storage};

use crate::server::{Raw, on_each, until};

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
             CREATE TABLE {prefix}usr (u bytea PRIMARY KEY CHECK (octet_length(u) <= 256));
             CREATE TABLE {prefix}sess (u bytea NOT NULL REFERENCES {prefix}usr ON DELETE CASCADE,
               s bytea NOT NULL CHECK (octet_length(s) <= 256), PRIMARY KEY (u, s),
               CHECK (octet_length(u) > 0 OR octet_length(s) = 0));
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

        // A schema has been made since that is looked at first.
        raw.run(&format!("CREATE SCHEMA {prefix}first")).await.expect("it runs");
        let url = format!("{}?options[search_path]={prefix}first,public", server.url);
        let storage = server.options().connect(&url).await.expect("it brings them up to date");
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

/// PostgreSQL plans by how large tables are and what it counted there last: tables that held one user a moment
/// ago were read from end to end.
#[test]
fn no_call_reads_more_than_it_asks_for_whatever_was_counted_last() {
    const SESSIONS: u64 = 300;
    const KEYS: u64 = 3000;
    const CALLS: u64 = 50;
    on_each(async |server| {
        if !server.is_postgres() {
            return;
        }
        let tables = ["usr", "sess", "kv"].map(|name| format!("{}{name}", server.prefix));
        let mut raw = server.raw().await;
        let storage = server.connect().await.expect("it runs");
        let large = Options::new().with_user_session("ada", "large");
        storage.set("k", "v".into(), large).await.expect("it runs");
        raw.run(&format!("ANALYZE {}", tables.join(", "))).await.expect("one row in each");
        let scans = reads(&mut raw, &tables, storage, 0).await.0;

        // Its plans are made for tables of one row.
        let used = server.connect().await.expect("it runs");
        for _ in 0..2 {
            used.get_many(&["k", "none"], large).await.expect("it runs");
            used.delete_many(&["x", "none"], large).await.expect("it runs");
            used.set("k", "v".into(), large).await.expect("it runs");
            used.clean().await.expect("it runs");
        }

        // Small sessions, which are what plans are made for, and a large one.
        let storage = server.connect().await.expect("it runs");
        let users: Vec<_> = (0..SESSIONS).map(|number| format!("user {number}")).collect();
        for user in &users {
            let items = ["a", "b"].map(|key| (key, "v".into()));
            let place = Options::new().with_user_session(user, "s");
            storage.set_many(&items, place).await.expect("it runs");
        }
        let keys: Vec<_> = (0..KEYS).map(|number| number.to_string()).collect();
        let items: Vec<_> = keys.iter().map(|key| (&**key, "v".into())).collect();
        storage.set_many(&items, large).await.expect("it runs");
        // The connection is asked whether its server takes writes, and makes its plans anew.
        let asked = used.figures().asked;
        until("the connection is asked", async || {
            used.get("k", large).await.expect("it runs").expect("it is there");
            used.figures().asked > asked
        })
        .await;
        let before = reads(&mut raw, &tables, storage, 1).await.1;

        let ttl = Duration::from_secs(3600);
        for (user, key) in users.iter().zip(&keys).take(CALLS as usize) {
            used.get_many(&[key, "k"], large).await.expect("it runs");
            used.delete_many(&[key, "none"], large).await.expect("it runs");
            used.set("k", "w".into(), large.with_ttl(ttl)).await.expect("it runs");
            used.get("k", large).await.expect("it runs").expect("it is there");
            assert!(used.touch("k", large.with_ttl(ttl)).await.expect("it runs"));
            used.keys(Page::new(2), large).await.expect("it runs");
            used.sessions("ada", Page::new(2)).await.expect("it runs");
            let place = Options::new().with_user_session(user, "s");
            used.take("a", place).await.expect("it runs").expect("it is there");
            let removed = used.delete(Options::new().with_user(user)).await.expect("it runs");
            assert_eq!(removed.entries, 1);
        }
        let after = reads(&mut raw, &tables, used, 0).await.1;
        // Ten calls each, and what foreign keys look at.
        assert!(after - before < 50 * CALLS, "{} rows are too many", after - before);

        let storage = server.connect().await.expect("it runs");
        storage.clean().await.expect("it runs");
        let (all_scans, cleaned) = reads(&mut raw, &tables, storage, 0).await;
        assert!(cleaned - after < 5 * SESSIONS, "{} rows are too many", cleaned - after);
        assert_eq!(all_scans, scans, "whole tables were read");
    });
}

/// On PostgreSQL an overwrite adds to no index: its row is found through the one before.
#[test]
fn overwrites_add_to_no_index() {
    const WRITES: i64 = 300;
    on_each(async |server| {
        if !server.is_postgres() {
            return;
        }
        let storage = server.connect().await.expect("it runs");
        let at = Options::new().with_user_session("ada", "s").with_ttl(Duration::from_secs(60));
        for _ in 0..WRITES {
            storage.set("k", "v".into(), at).await.expect("it runs");
        }
        storage.close().await.expect("it runs");
        let table = format!("{}kv", server.prefix);
        let of = |column| {
            format!("SELECT {column} FROM pg_stat_user_tables WHERE relid = '{table}'::regclass")
        };
        let mut raw = server.raw().await;
        until("the server has counted them", async || {
            raw.number(&of("n_tup_upd")).await == WRITES - 1
        })
        .await;
        // But for those that found their page full.
        let light = raw.number(&of("n_tup_hot_upd")).await;
        assert!(light > WRITES * 9 / 10, "{light} of {WRITES}");
    });
}

/// Scans of whole tables, and rows that were found by indexes, once the connections of a storage have ended,
/// so that few others are left: then they tell what they did.
async fn reads(raw: &mut Raw, tables: &[String], storage: SqlStorage, left: i64) -> (u64, u64) {
    storage.close().await.expect("it runs");
    let others = "SELECT count(*) FROM pg_stat_activity \
                  WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    until("connections end", async || raw.number(others).await == left).await;
    let of: Vec<_> = tables.iter().map(|table| format!("'{table}'::regclass")).collect();
    let mut sum = async |column: &str, view: &str| {
        let all = of.join(", ");
        let sum = format!("SELECT sum({column})::bigint FROM {view} WHERE relid IN ({all})");
        raw.number(&sum).await.cast_unsigned()
    };
    (
        sum("seq_scan", "pg_stat_user_tables").await,
        sum("idx_tup_read", "pg_stat_user_indexes").await,
    )
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
