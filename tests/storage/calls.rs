//! What the calls answer, and what becomes of those that are dropped.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use pollster::block_on;
use scopecache::{
    Condition, ErrorKind, Listing, Namespace, Options, Page, Storage, StorageExt, Text, Version,
};

use crate::common::{CALLS, Memory, Polled, SECOND, contents, data_of, memory, refused, simple};

fn ada() -> Options<'static> {
    Options::new().with_user("ada")
}

#[test]
fn closed_storages_refuse_every_call() {
    for Memory { storage, .. } in [memory(), simple()] {
        block_on(storage.set("k", "v".into(), ada())).expect("open");
        block_on(storage.close()).expect("closed");
        block_on(storage.close()).expect("closing again does nothing");
        for call in CALLS {
            let made = call.make(&*storage, "k", call.valid("k", ada()));
            assert_eq!(refused(block_on(made)).0, ErrorKind::Closed, "{call:?}");
        }
        let sessions = block_on(storage.sessions("ada", Page::new(1)));
        assert_eq!(refused(sessions), (ErrorKind::Closed, "the storage is closed".into()));
    }
}

#[test]
fn a_call_that_was_never_polled_has_not_happened() {
    for Memory { storage, cache, .. } in [memory(), simple()] {
        block_on(storage.set("k", "v".into(), ada())).expect("valid");
        let before = contents(&cache);
        for call in CALLS {
            drop(call.make(&*storage, "k", call.valid("k", ada())));
            assert_eq!(contents(&cache), before, "{call:?}");
        }
        drop(storage.set("k", "new".into(), ada()));
        drop(storage.delete(ada()));
        drop(storage.take("k", ada()));
        drop(storage.close());
        drop(storage.get_or_load("new", ada(), async { Err::<Bytes, _>("never polled") }));
        assert_eq!(contents(&cache), before);
    }
}

#[test]
fn a_version_fits_its_own_entry_alone() {
    let Memory { storage, cache, .. } = memory();
    let set = |key: &'static str, options| block_on(storage.set(key, "v".into(), options));
    let other = set("other", ada()).expect("valid");
    let elsewhere = set("k", Options::new().with_user("eve")).expect("valid");
    let deleted = set("k", ada()).expect("valid");
    block_on(storage.delete(ada().with_key("k"))).expect("valid");
    let overwritten = set("k", ada()).expect("valid");
    let present = set("k", ada()).expect("valid");

    let before = contents(&cache);
    for wrong in [other, elsewhere, deleted, overwritten, Version::from_u64(0)] {
        let write = storage.compare_and_set("k", wrong, "new", ada());
        assert_eq!(block_on(write).expect("valid"), None);
        assert_eq!(contents(&cache), before);
    }
    let write = storage.compare_and_set("k", present, "new", ada());
    assert!(block_on(write).expect("valid").is_some());
    // Nor may it bring back what was deleted.
    block_on(storage.delete(ada())).expect("valid");
    let write = storage.compare_and_set("k", present, "new", ada());
    assert_eq!(block_on(write).expect("valid"), None);
}

#[test]
fn conditions_are_kept() {
    let Memory { storage, .. } = memory();
    assert!(block_on(storage.replace("k", "1", ada())).expect("valid").is_none());
    assert!(block_on(storage.insert("k", "2", ada())).expect("valid").is_some());
    assert!(block_on(storage.insert("k", "3", ada())).expect("valid").is_none());
    assert_eq!(data_of(&*storage, "k", ada()).expect("inserted"), "2");
    assert!(block_on(storage.replace("k", "4", ada())).expect("valid").is_some());
    let write = storage.write("k", "5".into(), Condition::Always, ada());
    assert!(block_on(write).expect("valid").is_some());
    assert_eq!(block_on(storage.take("k", ada())).expect("valid").expect("there").data, "5");
    assert!(block_on(storage.take("k", ada())).expect("valid").is_none());
}

#[test]
fn deletions_say_how_much_went() {
    let Memory { storage, .. } = memory();
    let session = Options::new().with_user_session("ada", "s");
    for (key, options) in [("a", ada()), ("b", ada()), ("a", session), ("a", Options::new())] {
        block_on(storage.set(key, "v".into(), options)).expect("valid");
    }
    let deleted = |options| block_on(storage.delete(options)).expect("valid").entries;
    assert_eq!(deleted(ada().with_key("a")), 1);
    assert_eq!(deleted(ada().with_key("a")), 0);
    assert_eq!(deleted(ada()), 2, "the session goes too");
    assert_eq!(deleted(ada()), 0);
    assert_eq!(deleted(Options::new()), 1, "the global keys");
}

#[test]
fn many_at_once() {
    for Memory { storage, .. } in [memory(), simple()] {
        let items = [("a", Bytes::from("1")), ("b", Bytes::from("2")), ("a", Bytes::from("3"))];
        let versions = block_on(storage.set_many(&items, ada().with_ttl(SECOND))).expect("valid");
        assert_eq!(versions.len(), 3);
        let got = block_on(storage.get_many(&["b", "c", "a"], ada())).expect("valid");
        let data: Vec<_> =
            got.iter().map(|item| item.as_ref().map(|item| &item.data[..])).collect();
        assert_eq!(data, [Some(&b"2"[..]), None, Some(&b"3"[..])]);
        assert_eq!(got[2].as_ref().expect("set").version, versions[2]);
        assert!(got[2].as_ref().expect("set").expires_at.is_some());
        let none = block_on(storage.delete_many(&[], ada())).expect("valid");
        assert_eq!(none.entries, 0, "no key is not the namespace");
        let removed = block_on(storage.delete_many(&["a", "c", "b"], ada())).expect("valid");
        assert_eq!(removed.entries, 2);
    }
}

#[test]
fn updates_from_many_threads_are_all_counted() {
    const THREADS: u64 = 4;
    const UPDATES: u64 = 500;
    let Memory { storage, .. } = memory();
    block_on(storage.set("n", "0".into(), ada())).expect("valid");
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let numbers = storage.typed(Text);
                for _ in 0..UPDATES {
                    // A conflict changes nothing, so that the update may be repeated.
                    while let Err(error) = block_on(numbers.update("n", ada(), |n: u64| n + 1)) {
                        assert_eq!(error.kind(), ErrorKind::Conflict);
                    }
                }
            });
        }
    });
    let sum = block_on(storage.typed(Text).get::<u64>("n", ada())).expect("valid");
    assert_eq!(sum, Some(THREADS * UPDATES));
}

#[test]
fn an_update_that_always_loses_ends_in_a_conflict() {
    let Memory { storage, cache, .. } = memory();
    let user = cache.user("ada").expect("valid");
    user.set("k", "0").expect("room");
    let mut attempts = 0;
    let update = storage.update("k", ada(), |_| {
        attempts += 1;
        user.set("k", "theirs").expect("room");
        "mine"
    });
    let (kind, words) = refused(block_on(update));
    assert_eq!((kind, attempts), (ErrorKind::Conflict, 256));
    assert!(words.contains("others kept writing the key"), "{words}");
    assert_eq!(data_of(&*storage, "k", ada()).expect("there"), "theirs");
}

#[test]
fn an_update_keeps_the_ttl_unless_it_gives_one() {
    let Memory { storage, clock, .. } = memory();
    block_on(storage.set("k", "v".into(), ada().with_ttl(2 * SECOND))).expect("valid");
    clock.advance(SECOND);
    assert!(block_on(storage.update("k", ada(), |_| "w")).expect("valid").is_some());
    clock.advance(SECOND);
    assert!(block_on(storage.update("k", ada(), |_| "x")).expect("valid").is_none(), "expired");

    block_on(storage.set("k", "v".into(), ada().with_ttl(SECOND))).expect("valid");
    let longer = ada().with_ttl(Duration::from_secs(9));
    assert!(block_on(storage.update("k", longer, |_| "w")).expect("valid").is_some());
    clock.advance(SECOND);
    assert_eq!(data_of(&*storage, "k", ada()).expect("longer"), "w");
}

#[test]
fn a_codec_that_refuses_changes_nothing() {
    let Memory { storage, cache, .. } = memory();
    block_on(storage.set("k", "no number".into(), ada())).expect("valid");
    let before = contents(&cache);
    let numbers = storage.typed(Text);
    let error = block_on(numbers.get::<u64>("k", ada())).expect_err("no number");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(std::error::Error::source(&error).is_some());
    let update = numbers.update("k", ada(), |n: u64| n + 1);
    assert_eq!(refused(block_on(update)).0, ErrorKind::Corrupt);
    assert_eq!(contents(&cache), before);

    let loader = async { Ok::<u64, std::io::Error>(7) };
    assert_eq!(block_on(numbers.get_or_load("n", ada(), loader)).expect("loaded"), 7);
    assert_eq!(data_of(&*storage, "n", ada()).expect("stored"), "7");
}

fn pages(storage: &dyn Storage, limit: usize) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let page = Page::new(limit).after(token.as_deref());
        let Listing { names, next } = block_on(storage.keys(page, ada())).expect("valid");
        pages.push(names);
        token = next;
        if token.is_none() {
            return pages;
        }
    }
}

#[test]
fn listings_come_in_pages() {
    let Memory { storage, cache, .. } = memory();
    assert_eq!(pages(&*storage, 3), [[""; 0]; 1], "nobody is there");
    for key in ["e", "b", "d", "a", "c", "f"] {
        block_on(storage.set(key, "v".into(), ada())).expect("valid");
    }
    let session = Options::new().with_user_session("ada", "s");
    block_on(storage.set("of the session", "v".into(), session)).expect("valid");
    assert_eq!(pages(&*storage, 4), [vec!["a", "b", "c", "d"], vec!["e", "f"]]);
    assert_eq!(pages(&*storage, 3), [["a", "b", "c"], ["d", "e", "f"]], "no empty page at the end");
    assert_eq!(pages(&*storage, usize::MAX).len(), 1);
    let none = block_on(storage.keys(Page::new(0), ada()));
    assert_eq!(refused(none).0, ErrorKind::InvalidOptions);
    let none = block_on(storage.sessions("ada", Page::new(0)));
    assert!(refused(none).1.contains("room for one name"));

    // What is there throughout is listed once, whatever goes and comes between two pages.
    let first = block_on(storage.keys(Page::new(2), ada())).expect("valid");
    block_on(storage.delete_many(&["a", "b"], ada())).expect("valid");
    block_on(storage.set("aa", "v".into(), ada())).expect("valid");
    let rest = Page::new(9).after(first.next.as_deref());
    assert_eq!(block_on(storage.keys(rest, ada())).expect("valid").names, ["c", "d", "e", "f"]);

    // Not UTF-8: not listed, but deleted with the rest.
    let namespace = Namespace::User { user: "ada" };
    cache.set(namespace, b"\xff\xfe", "v", &Default::default()).expect("room");
    assert_eq!(pages(&*storage, 9), [["aa", "c", "d", "e", "f"]]);
    block_on(storage.delete(ada())).expect("valid");
    assert!(cache.get(namespace, b"\xff\xfe").expect("valid").is_none());
}

#[test]
fn sessions_come_in_pages() {
    let Memory { storage, .. } = memory();
    for session in ["c", "a", "b"] {
        let options = Options::new().with_user_session("ada", session);
        block_on(storage.set("k", "v".into(), options)).expect("valid");
    }
    block_on(storage.delete(Options::new().with_user_session("ada", "b"))).expect("valid");
    let first = block_on(storage.sessions("ada", Page::new(1))).expect("valid");
    assert_eq!(first.names, ["a"]);
    let second = Page::new(1).after(first.next.as_deref());
    let second = block_on(storage.sessions("ada", second)).expect("valid");
    assert_eq!((second.names, second.next), (vec!["c".to_owned()], None));
    assert!(block_on(storage.sessions("eve", Page::new(1))).expect("valid").names.is_empty());
}

/// Every future can be handed to another thread, from behind a trait object too.
#[test]
fn futures_are_send() {
    let Memory { storage, .. } = memory();
    let mine = Arc::clone(&storage);
    let whole = async move {
        mine.insert("n", "1", ada()).await?;
        mine.typed(Text).update("n", ada(), |n: u64| n + 1).await?;
        let loader = async { Ok::<_, std::io::Error>("2") };
        mine.get_or_load("n", ada(), loader).await
    };
    let item = thread::spawn(|| Polled::new(whole).drive()).join().expect("no panic");
    assert_eq!(item.expect("valid").data, "2");
}
