//! Timeouts, and writes that wait for readers.

use std::future::pending;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use pollster::block_on;
use scopecache::{Cache, ErrorKind, Maintenance, Options, Storage, StorageExt};

use crate::common::{Memory, Polled, data_of, memory, refused, simple};

const SHORT: Duration = Duration::from_nanos(1);
const LONG: Duration = Duration::from_secs(3600);

fn ada() -> Options<'static> {
    Options::new().with_user("ada")
}

#[test]
fn a_load_ends_with_its_timeout() {
    for Memory { storage, cache, .. } in [memory(), simple()] {
        let loader = pending::<Result<&str, std::io::Error>>();
        let load = storage.get_or_load("k", ada().with_timeout(SHORT), loader);
        let (kind, words) = refused(Polled::new(load).drive());
        assert_eq!((kind, &*words), (ErrorKind::Timeout, "the call timed out"));
        cache.maintain(1 << 20);
        assert_eq!(cache.stats().entries, 0);
    }
}

#[test]
fn who_waits_for_a_load_may_time_out_alone() {
    let Memory { storage, .. } = memory();
    let (answered, answer) = std::sync::mpsc::channel();
    let loader = std::future::poll_fn(move |_| match answer.try_recv() {
        Ok(data) => Poll::Ready(Ok::<&str, std::io::Error>(data)),
        Err(_) => Poll::Pending,
    });
    let mut first = Polled::new(storage.get_or_load("k", ada().with_timeout(LONG), loader));
    assert!(first.poll().is_pending());
    let loader = pending::<Result<&str, std::io::Error>>();
    let second = Polled::new(storage.get_or_load("k", ada().with_timeout(SHORT), loader));
    assert_eq!(refused(second.drive()).0, ErrorKind::Timeout);
    answered.send("late").expect("somebody listens");
    assert_eq!(first.drive().expect("loaded").data, "late");
}

#[test]
fn a_timeout_is_for_the_whole_of_many_and_of_an_update() {
    let Memory { storage, cache, .. } = simple();
    let soon = ada().with_timeout(SHORT);
    let user = cache.user("ada").expect("valid");
    user.set("k", "0").expect("room");
    let update = storage.update("k", soon, |_| {
        user.set("k", "theirs").expect("room");
        "mine"
    });
    assert_eq!(refused(Polled::new(update).drive()).0, ErrorKind::Timeout);
    let many = vec!["k"; 1000];
    let got = Polled::new(storage.get_many(&many, soon)).drive();
    assert_eq!(refused(got).0, ErrorKind::Timeout);
}

/// A cache in which little may be retired.
fn narrow() -> Cache {
    Cache::builder()
        .max_bytes(8 << 20)
        .max_retired_bytes(64 << 10)
        .maintenance(Maintenance::Manual)
        .build()
        .expect("these options go together")
}

/// Writes until a reader who holds a guard keeps too much from being freed.
fn hold_up(cache: &Cache) {
    let user = cache.user("ada").expect("valid");
    while user.set("k", vec![0; 1000]).is_ok() {}
}

#[test]
fn a_write_waits_for_readers_until_its_timeout() {
    let cache = narrow();
    let storage: Arc<dyn Storage> = Arc::new(cache.clone());
    let guard = cache.pin();
    hold_up(&cache);
    let (kind, words) = refused(block_on(storage.set("new", "v".into(), ada())));
    assert_eq!(kind, ErrorKind::CapacityExceeded);
    assert!(words.contains("a guard that is held for long"), "{words}");
    for _ in 0..2 {
        let set = storage.set("new", "v".into(), ada().with_timeout(SHORT));
        assert_eq!(refused(Polled::new(set).drive()).0, ErrorKind::Timeout);
        let load = storage.get_or_load("new", ada().with_timeout(SHORT), async {
            Ok::<&str, std::io::Error>("v")
        });
        assert_eq!(refused(Polled::new(load).drive()).0, ErrorKind::Timeout);
    }
    assert_eq!(data_of(&*storage, "new", ada()), None, "reads go on, and nothing was changed");

    let mut set = Polled::new(storage.set("new", "v".into(), ada().with_timeout(LONG)));
    let touch = ada().with_ttl(LONG).with_timeout(LONG);
    let mut touch = Polled::new(storage.touch("k", touch));
    let mut dropped = Polled::new(storage.set("other", "v".into(), ada().with_timeout(LONG)));
    assert!(set.poll().is_pending() && touch.poll().is_pending() && dropped.poll().is_pending());
    assert_eq!(set.wakes(), 1, "it asks to be polled again");
    drop(dropped);
    drop(guard);
    set.drive().expect("there is room again");
    assert!(touch.drive().expect("there is room again"));
    assert_eq!(data_of(&*storage, "new", ada()).expect("set"), "v");
    assert_eq!(data_of(&*storage, "other", ada()), None, "dropped while it waited");
}

#[test]
fn a_loader_that_has_ended_is_not_asked_again() {
    let cache = narrow();
    let storage: Arc<dyn Storage> = Arc::new(cache.clone());
    let mut polled = false;
    let loader = std::future::poll_fn(move |_| {
        if std::mem::replace(&mut polled, true) {
            Poll::Ready(Ok::<&str, std::io::Error>("v"))
        } else {
            Poll::Pending
        }
    });
    let mut load = Polled::new(storage.get_or_load("new", ada().with_timeout(LONG), loader));
    assert!(load.poll().is_pending());
    let guard = cache.pin();
    hold_up(&cache);
    assert_eq!(refused(load.drive()).0, ErrorKind::CapacityExceeded);
    drop(guard);
    assert_eq!(data_of(&*storage, "new", ada()), None);
    // Guards of other tests may hold it up for a while longer.
    let insert = block_on(storage.insert("new", "v", ada().with_timeout(LONG)));
    insert.expect("valid").expect("the lease is given up");
}
