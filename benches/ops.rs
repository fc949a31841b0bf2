//! Everything but hits: writes, misses, deletes, whole namespaces, many gets at once.
//!
//! Rows are `<operation>/<subject>/<parameters>`, one thread, a million entries requested
//! uniformly unless something else is said. Subjects as in `get.rs`.

mod support;

use std::{
    fs,
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main,
};
use scopecache::{Cache, Namespace, SetOptions};

use crate::support::data::{Distribution, MILLION, Names, Requests, Shape, VALUE};
use crate::support::ours::Ours;
use crate::support::peers::{DashMap, Moka, Papaya, Peer, QuickCache};

/// Keys of one `get_many`.
const BATCH: usize = 32;
/// Four million entries in sessions of one batch each: no processor's cache holds their lines.
const FOUR_MILLION: Shape = Shape { users: 12_500, sessions_a_user: 10, keys_a_session: BATCH };
const FOUR_MILLION_NEED_BYTES: u64 = 3 << 30;
/// Keys that are stored and deleted again in one go.
const ROUND: u64 = 50_000;

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .sample_size(15)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_millis(1000));
    targets = single_keys, delete_namespace, get_many
}
criterion_main!(benches);

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> Group<'a> {
    let mut group = criterion.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat);
    group
}

/// What a subject does with one entry.
trait Subject {
    fn get(&self, names: &Names, entry: u32) -> bool;
    fn set(&self, names: &Names, entry: u32);
    fn delete(&self, names: &Names, entry: u32) -> bool;
}

impl Subject for Ours {
    fn get(&self, names: &Names, entry: u32) -> bool {
        Ours::get(self, names, entry).is_some()
    }

    fn set(&self, names: &Names, entry: u32) {
        Ours::set(self, names, entry);
    }

    fn delete(&self, names: &Names, entry: u32) -> bool {
        Ours::delete(self, names, entry)
    }
}

impl<P: Peer> Subject for P {
    fn get(&self, names: &Names, entry: u32) -> bool {
        self.find(names.of_entry(entry)).is_some()
    }

    fn set(&self, names: &Names, entry: u32) {
        Peer::set(self, names.of_entry(entry), &VALUE);
    }

    fn delete(&self, names: &Names, entry: u32) -> bool {
        Peer::delete(self, names.of_entry(entry))
    }
}

fn single_keys(criterion: &mut Criterion) {
    let names = &Names::new(MILLION, "state");
    let order = &names.entries_shuffled();
    let ours = Ours::fill(order, names, None);
    rows(criterion, "scope", &ours, names, order);
    drop(ours);
    rows(criterion, "dashmap", &DashMap::fill(order, names, &VALUE), names, order);
    rows(criterion, "papaya", &Papaya::fill(order, names, &VALUE), names, order);
    rows(criterion, "quick_cache", &QuickCache::fill(order, names, &VALUE), names, order);
    rows(criterion, "moka", &Moka::fill(order, names, &VALUE), names, order);
}

fn rows(
    criterion: &mut Criterion,
    name: &str,
    subject: &impl Subject,
    names: &Names,
    order: &[u32],
) {
    // The same sessions, other keys: what is asked for with these names is not there.
    let absent = &Names::new(MILLION, "other");
    let mut requests = Distribution::Uniform.requests(names.entries(), 1);

    group(criterion, "set-overwrite").bench_function(name, |bencher| {
        bencher.iter(|| subject.set(names, requests.next()));
    });
    group(criterion, "get-miss").bench_function(name, |bencher| {
        bencher.iter(|| subject.get(absent, requests.next()));
    });
    group(criterion, "set-new").bench_function(name, |bencher| {
        bencher.iter_custom(|ops| set_and_delete(subject, absent, order, ops).0);
    });
    group(criterion, "delete").bench_function(name, |bencher| {
        bencher.iter_custom(|ops| set_and_delete(subject, absent, order, ops).1);
    });
}

/// Stores `ops` new entries and deletes them again; returns how long either took.
fn set_and_delete(
    subject: &impl Subject,
    names: &Names,
    order: &[u32],
    ops: u64,
) -> (Duration, Duration) {
    let mut took = (Duration::ZERO, Duration::ZERO);
    let mut rounds = order.chunks(ROUND as usize).cycle();
    let mut left = ops;
    while left > 0 {
        let round = rounds.next().expect("a cycle has no end");
        let round = &round[..left.min(round.len() as u64) as usize];
        let start = Instant::now();
        round.iter().for_each(|&entry| subject.set(names, entry));
        let middle = Instant::now();
        round.iter().for_each(|&entry| assert!(subject.delete(names, entry)));
        took.0 += middle - start;
        took.1 += middle.elapsed();
        left -= round.len() as u64;
    }
    took
}

/// How long until a user's entries are invisible. There is no row of a peer: none can do this.
fn delete_namespace(criterion: &mut Criterion) {
    let cache: Cache = Cache::builder().build().expect("the settings are valid");
    let mut group = group(criterion, "delete_namespace");
    for entries in [10, 100_000] {
        group.bench_function(BenchmarkId::new("user", entries), |bencher| {
            bencher.iter_custom(|ops| (0..ops).map(|_| delete_user(&cache, entries)).sum());
        });
    }
}

/// The time of deleting a user that holds so many entries in one session.
fn delete_user(cache: &Cache, entries: u32) -> Duration {
    const USER: Namespace<'_> = Namespace::User { user: "user" };
    let session = Namespace::Session { user: "user", session: "session" };
    for key in 0..entries {
        let key = key.to_le_bytes();
        cache.set(session, key, &key, &SetOptions::new()).expect("there is room");
    }
    // The directory is warm: what is timed is not how cold the filling left it.
    assert_eq!(cache.usage(USER).expect("open").entries, u64::from(entries));
    let start = Instant::now();
    cache.delete_namespace(USER).expect("open");
    let took = start.elapsed();
    assert!(cache.get(session, 0u32.to_le_bytes()).expect("open").is_none());
    while cache.stats().reclaim_pending {
        cache.maintain(1 << 16);
    }
    took
}

/// A row is the time of 32 keys of one session.
fn get_many(criterion: &mut Criterion) {
    if available_bytes().is_some_and(|bytes| bytes < FOUR_MILLION_NEED_BYTES) {
        eprintln!("get_many: left out, it needs {} GiB", FOUR_MILLION_NEED_BYTES >> 30);
        return;
    }
    let names = &Names::new(FOUR_MILLION, "state");
    let ours = Ours::fill(&names.entries_shuffled(), names, None);
    let mut sessions: Requests = Distribution::Uniform.requests(names.sessions(), 1);
    let mut group = group(criterion, "get_many");
    group.bench_function("batch/32", |bencher| {
        bencher.iter(|| {
            let scope = &ours.scopes[sessions.next() as usize];
            scope.get_many(names.keys()).expect("open")
        });
    });
    group.bench_function("serial/32", |bencher| {
        bencher.iter(|| {
            let scope = &ours.scopes[sessions.next() as usize];
            for key in names.keys() {
                black_box(scope.get(key).expect("open"));
            }
        });
    });
}

/// Memory that can be had without swapping, where the system tells.
fn available_bytes() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse().ok().map(|kib: u64| kib << 10)
}
