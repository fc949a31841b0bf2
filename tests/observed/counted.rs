//! The metrics, as a recorder sees them.

use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use pollster::block_on;
use scopecache::{Cache, Condition, Observed, Options, Storage, StorageExt};

use super::{
    KEY, SECOND, SECRETS, SESSION, USER, VALUE, cache, call_everything, fail_in_every_way,
};

/// What a recorder has at the end of `work`: `name{label=value,..}` in the order of the labels' names.
/// A histogram is the number of its values.
fn recorded<T>(work: impl FnOnce() -> T) -> BTreeMap<String, f64> {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, work);
    let mut figures = BTreeMap::new();
    for (key, unit, description, value) in snapshotter.snapshot().into_vec() {
        let (_, key) = key.into_parts();
        assert!(unit.is_some() && description.is_some(), "{} is described", key.name());
        let mut labels: Vec<_> =
            key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        labels.sort();
        let figure = match value {
            DebugValue::Counter(number) => number as f64,
            DebugValue::Gauge(number) => number.0,
            DebugValue::Histogram(values) => {
                assert!(values.iter().all(|seconds| (0.0..60.0).contains(&seconds.0)));
                values.len() as f64
            }
        };
        figures.insert(format!("{}{{{}}}", key.name(), labels.join(",")), figure);
    }
    figures
}

/// Of those, the ones that are not zero, of the metrics with this name.
fn of<'f>(figures: &'f BTreeMap<String, f64>, name: &str) -> Vec<(&'f str, u64)> {
    let name = format!("scopecache_{name}{{");
    let mine = figures.iter().filter(|(key, figure)| key.starts_with(&name) && **figure != 0.0);
    let labels = mine.map(|(key, figure)| (&key[name.len()..key.len() - 1], *figure as u64));
    let mut labels: Vec<_> = labels.collect();
    labels.sort_unstable();
    labels
}

fn with_storage<F: Future>(work: impl FnOnce(Arc<Observed>) -> F) -> BTreeMap<String, f64> {
    recorded(|| block_on(work(Arc::new(Observed::new(Arc::new(cache()))))))
}

#[test]
fn hits_misses_and_writes_are_counted_by_scope() {
    let figures = with_storage(async |storage| {
        let session = Options::new().with_user_session("ada", "s");
        let user = Options::new().with_user("ada");
        storage.get("a", session).await.expect("open");
        storage.set("a", "1".into(), session).await.expect("room");
        storage.get("a", session).await.expect("open");
        storage.get_many(&["a", "b", "c"], session).await.expect("open");
        storage.set_many(&[("x", "1".into()), ("y", "2".into())], user).await.expect("room");
        for condition in [Condition::Absent, Condition::Present] {
            storage.write("x", "3".into(), condition, user).await.expect("room");
        }
        storage.get("x", Options::new()).await.expect("open");
        let loader = async || std::io::Result::Ok(Bytes::from("z"));
        for _ in 0..3 {
            storage.get_or_load("z", user, loader()).await.expect("loaded");
        }
    });
    assert_eq!(
        of(&figures, "gets_total"),
        [
            ("result=hit,scope=session", 2),
            ("result=hit,scope=user", 2),
            ("result=miss,scope=global", 1),
            ("result=miss,scope=session", 3),
            ("result=miss,scope=user", 1),
        ]
    );
    assert_eq!(
        of(&figures, "puts_total"),
        [
            ("result=stored,scope=session", 1),
            ("result=stored,scope=user", 3),
            ("result=unmet,scope=user", 1)
        ]
    );
    assert_eq!(
        of(&figures, "op_duration_seconds"),
        [
            ("op=get", 3),
            ("op=get_many", 1),
            ("op=load", 3),
            ("op=set", 1),
            ("op=set_many", 1),
            ("op=write", 2)
        ]
    );
    assert_eq!(of(&figures, "errors_total"), []);
    // What has not happened is there as zero, so that rates begin where they should.
    assert_eq!(figures["scopecache_removals_total{cause=delete_user}"], 0.0);
}

#[test]
fn removals_are_counted_by_cause() {
    let figures = with_storage(async |storage| {
        let ada = Options::new().with_user("ada");
        let sessions = ["1", "2"].map(|id| Options::new().with_user_session("ada", id));
        for options in [Options::new(), ada, sessions[0], sessions[1]] {
            for key in ["a", "b", "c", "d", "e"] {
                storage.set(key, "1".into(), options).await.expect("room");
            }
        }
        storage.take("a", ada).await.expect("open");
        storage.take("a", ada).await.expect("open");
        storage.delete(ada.with_key("b")).await.expect("open");
        storage.delete_many(&["c", "d", "none"], ada).await.expect("open");
        storage.delete(sessions[0]).await.expect("open");
        storage.delete(ada).await.expect("open");
        storage.delete(Options::new()).await.expect("open");
    });
    assert_eq!(
        of(&figures, "removals_total"),
        [
            ("cause=delete", 3),
            ("cause=delete_global", 5),
            ("cause=delete_session", 5),
            ("cause=delete_user", 6),
            ("cause=take", 1)
        ]
    );
}

#[test]
fn errors_are_counted_by_kind() {
    let figures = with_storage(async |storage| {
        fail_in_every_way(&*storage).await;
        storage.close().await.expect("open");
        storage.get(KEY, Options::new()).await.expect_err("closed");
    });
    assert_eq!(
        of(&figures, "errors_total"),
        [
            ("kind=closed,op=get", 1),
            ("kind=invalid_key,op=get", 1),
            ("kind=invalid_options,op=delete", 1),
            ("kind=invalid_options,op=get", 1),
            ("kind=loader,op=load", 1),
            ("kind=value_too_large,op=set", 1),
        ]
    );
    assert_eq!(of(&figures, "gets_total"), [], "a failed call is neither hit nor miss");
    assert_eq!(of(&figures, "op_duration_seconds").iter().map(|(_, calls)| calls).sum::<u64>(), 7);
}

/// A call that is dropped before it answered, one whose loader panics, and one that never began.
#[test]
fn a_cancelled_call_is_counted_once_if_it_has_begun() {
    let figures = with_storage(async |storage| {
        let ada = Options::new().with_user("ada");
        drop(storage.get("a", ada));
        let mut load: Pin<Box<_>> = storage.load("a", ada, Box::pin(pending()));
        poll_fn(|context| {
            assert!(load.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(load);
        let panics = storage.load("a", ada, Box::pin(async { panic!("a loader that panics") }));
        catch_unwind(AssertUnwindSafe(|| block_on(panics))).expect_err("it panics");
        assert!(storage.get("a", ada).await.expect("open").is_none());
    });
    assert_eq!(of(&figures, "errors_total"), [("kind=cancelled,op=load", 2)]);
    assert_eq!(of(&figures, "op_duration_seconds"), [("op=get", 1), ("op=load", 2)]);
}

#[test]
fn no_name_and_no_label_holds_an_id() {
    let figures = with_storage(async |storage| {
        fail_in_every_way(&*storage).await;
        call_everything(&*storage).await.expect("open");
    });
    for name in figures.keys() {
        assert!(SECRETS.iter().all(|secret| !name.contains(secret)), "{name}");
    }
}

#[test]
fn gauges_are_what_the_stats_say() {
    let cache: Cache = cache();
    let figures = recorded(|| {
        let observed = Observed::named("profiles", Arc::new(cache.clone()));
        let session = Options::new().with_user_session(USER, SESSION).with_ttl(SECOND);
        block_on(observed.set(KEY, VALUE.into(), session)).expect("room");
        observed.record(&cache.stats());
    });
    let stats = cache.stats();
    let expected = [
        ("entries", stats.entries),
        ("users", stats.users),
        ("sessions", stats.sessions),
        ("bytes", stats.live_bytes),
        ("retired_bytes", stats.retired_bytes),
        ("pending_reclaim_bytes", stats.pending_reclaim_bytes),
        ("reclaim_pending", u64::from(stats.reclaim_pending)),
        ("table_bytes", stats.table_bytes),
    ];
    assert!(stats.entries == 1 && stats.live_bytes > 0 && stats.table_bytes > 0);
    for (name, value) in expected {
        assert_eq!(figures[&format!("scopecache_{name}{{storage=profiles}}")], value as f64);
    }
    for name in figures.keys() {
        assert!(name.contains("storage=profiles"), "{name} has the name of its storage");
    }
}

#[test]
fn without_a_recorder_all_goes_on() {
    block_on(call_everything(&super::observed())).expect("open");
}
