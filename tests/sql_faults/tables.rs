//! Tables, and what may not be in them.

use std::time::Duration;

use scopecache::{ErrorKind, Options, SqlOptions, Storage};

use crate::server::on_each;

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
