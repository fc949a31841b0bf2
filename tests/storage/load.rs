//! Loads: one loader for each key, and what becomes of those that fail, panic or are dropped.

use std::error::Error as StdError;
use std::future::{pending, ready};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread;

use bytes::Bytes;
use pollster::block_on;
use scopecache::{Error, ErrorKind, Options, Result, Storage, StorageExt, StorageItem};

use crate::common::{Memory, Polled, SECOND, contents, data_of, memory, refused, simple};

fn ada() -> Options<'static> {
    Options::new().with_user("ada")
}

fn session() -> Options<'static> {
    Options::new().with_user_session("ada", "s")
}

type Answer = Result<Bytes, io::Error>;

fn load<'a>(
    storage: &'a dyn Storage,
    options: Options<'a>,
    loader: impl Future<Output = Answer> + Send + 'a,
) -> Polled<'a, Result<StorageItem>> {
    Polled::new(storage.get_or_load("k", options, loader))
}

fn answer(data: &'static str) -> impl Future<Output = Answer> + Send {
    ready(Ok(Bytes::from_static(data.as_bytes())))
}

/// A loader that is pending when it is first polled, and then answers.
async fn slow(data: &'static str) -> Answer {
    let mut polled = false;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answer(data).await
}

fn nothing_is_left(memory: &Memory) {
    assert_eq!(contents(&memory.cache), []);
    memory.cache.maintain(1 << 20);
    assert_eq!(memory.cache.stats().entries, 0, "the place of the load is given up");
    memory.cache.validate().expect("every invariant holds");
}

#[test]
fn a_hit_never_polls_the_loader() {
    for Memory { storage, .. } in [memory(), simple()] {
        let item = load(&*storage, ada().with_ttl(SECOND), answer("one")).drive().expect("loaded");
        assert_eq!(item.data, "one");
        let item = load(&*storage, ada(), async { panic!("polled") }).drive().expect("there");
        assert_eq!(item.data, "one");
        let stored = block_on(storage.get("k", ada())).expect("valid").expect("stored");
        assert!(stored.expires_at.is_some());
        assert_eq!(stored.version, item.version);
    }
}

#[test]
fn one_loader_runs_for_each_key() {
    let Memory { storage, .. } = memory();
    let runs = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let loader = async {
                    // Relaxed: a count.
                    runs.fetch_add(1, Ordering::Relaxed);
                    thread::yield_now();
                    answer("one").await
                };
                let item = block_on(storage.get_or_load("k", ada(), loader)).expect("loaded");
                assert_eq!(item.data, "one");
            });
        }
    });
    assert_eq!(runs.into_inner(), 1);
}

#[test]
fn a_dropped_load_stores_nothing_and_gives_its_place_to_the_next() {
    let memory = memory();
    let storage = &*memory.storage;
    let mut first = load(storage, session(), pending());
    assert!(first.poll().is_pending());
    assert_eq!(data_of(storage, "k", session()), None, "being loaded is absent");
    let mut second = load(storage, session(), answer("two"));
    let mut third = load(storage, session(), answer("three"));
    assert!(second.poll().is_pending() && third.poll().is_pending());
    assert_eq!((second.wakes(), third.wakes()), (0, 0));

    drop(first);
    assert_eq!((second.wakes(), third.wakes()), (1, 1));
    let Poll::Ready(item) = second.poll() else { panic!("it loads by itself") };
    assert_eq!(item.expect("loaded").data, "two");
    assert_eq!(third.drive().expect("there").data, "two");

    block_on(storage.delete(ada())).expect("valid");
    let mut alone = load(storage, session(), pending());
    assert!(alone.poll().is_pending());
    drop(alone);
    nothing_is_left(&memory);
}

#[test]
fn a_loader_that_fails_stores_nothing() {
    for memory in [memory(), simple()] {
        let storage = &*memory.storage;
        let failing = load(storage, ada(), ready(Err(io::Error::other("disk on fire"))));
        let error = failing.drive().expect_err("failed");
        assert_eq!(error.kind(), ErrorKind::Loader);
        assert_eq!(error.to_string(), "the loader failed; nothing was stored");
        assert_eq!(error.source().expect("the loader's").to_string(), "disk on fire");
        nothing_is_left(&memory);
        assert_eq!(load(storage, ada(), answer("next")).drive().expect("loaded").data, "next");
    }
}

#[test]
fn a_loader_that_panics_stores_nothing() {
    for memory in [memory(), simple()] {
        let storage = &*memory.storage;
        let mut armed = false;
        let bomb = std::future::poll_fn(move |_| {
            if std::mem::replace(&mut armed, true) { panic!("boom") } else { Poll::Pending }
        });
        let mut first = load(storage, ada(), bomb);
        assert!(first.poll().is_pending());
        let alone = memory.storage.capabilities().single_loader;
        let mut second = load(storage, ada(), answer("two"));
        if alone {
            assert!(second.poll().is_pending());
        }
        catch_unwind(AssertUnwindSafe(|| first.poll())).map(drop).expect_err("the loader's panic");
        assert_eq!(second.drive().expect("loaded").data, "two");
    }
}

#[test]
fn a_loader_that_asks_for_its_own_key_gets_an_error() {
    let memory = memory();
    let storage = &*memory.storage;
    let loader = async {
        assert_eq!(storage.get("k", ada()).await.expect("valid"), None, "a get is a miss");
        let inner = storage.get_or_load("k", ada(), answer("inner")).await;
        let error = inner.expect_err("its own key");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains("asked for the key that it is loading"), "{error}");
        Err::<Bytes, Error>(error)
    };
    let error = block_on(storage.get_or_load("k", ada(), loader)).expect_err("passed on");
    assert_eq!(error.kind(), ErrorKind::Loader);
    let source = error.source().expect("the inner error").downcast_ref::<Error>();
    assert_eq!(source.expect("of this crate").kind(), ErrorKind::Conflict);
    nothing_is_left(&memory);

    // Another key is no trouble.
    let loader = async { storage.get_or_load("other", ada(), answer("1")).await.map(|it| it.data) };
    assert_eq!(block_on(storage.get_or_load("k", ada(), loader)).expect("loaded").data, "1");
}

#[test]
fn an_answer_that_was_overtaken_is_not_stored() {
    for delete in [session().with_key("k"), session(), ada()] {
        let memory = memory();
        let storage = &*memory.storage;
        let mut first = load(storage, session(), slow("old"));
        assert!(first.poll().is_pending());
        block_on(storage.delete(delete)).expect("valid");
        // Who comes after the delete does not join the older load.
        let item = load(storage, session(), answer("new")).drive().expect("loaded");
        assert_eq!(item.data, "new");
        assert_eq!(first.drive().expect("its own answer").data, "old");
        assert_eq!(data_of(storage, "k", session()).expect("the newer"), "new");
    }
    let memory = memory();
    let storage = &*memory.storage;
    let mut first = load(storage, session(), slow("old"));
    assert!(first.poll().is_pending());
    block_on(storage.delete(ada())).expect("valid");
    assert_eq!(first.drive().expect("its own answer").data, "old");
    nothing_is_left(&memory);

    // A set overtakes it as well.
    let mut first = load(storage, session(), slow("old"));
    assert!(first.poll().is_pending());
    block_on(storage.set("k", "set".into(), session())).expect("valid");
    assert_eq!(first.drive().expect("its own answer").data, "old");
    assert_eq!(data_of(storage, "k", session()).expect("set"), "set");
}

#[test]
fn without_leases_the_first_to_store_is_what_all_return() {
    let Memory { storage, .. } = simple();
    let mut first = load(&*storage, ada(), slow("first"));
    assert!(first.poll().is_pending());
    let second = load(&*storage, ada(), answer("second")).drive().expect("loaded");
    assert_eq!(second.data, "second");
    assert_eq!(first.drive().expect("the other's"), second);
}

#[test]
fn a_loader_may_outlive_its_storage() {
    let Memory { storage, cache, .. } = memory();
    let mine = Arc::clone(&storage);
    let mut first = load(&*mine, ada(), slow("late"));
    assert!(first.poll().is_pending());
    let mut second = load(&*mine, ada(), answer("two"));
    assert!(second.poll().is_pending());
    cache.close();
    assert_eq!(refused(second.drive()).0, ErrorKind::Closed, "those who wait wake");
    assert_eq!(refused(first.drive()).0, ErrorKind::Closed);
}
