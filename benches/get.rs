//! Hits on a million entries, beside other caches and maps.
//!
//! Rows are `get/<subject>/<distribution>/<threads>`:
//!
//! | subject | what is timed |
//! |---|---|
//! | `scope` | `Scope::get` of a scope made before, one for each session |
//! | `scope-ref` | `Scope::get_ref` under a guard that is held for 32 gets |
//! | `scope-ttl` | as `scope`, entries with a TTL, which costs a look at the clock |
//! | `raw` | `Cache::get` with user and session id |
//! | the others | see `support/peers.rs`; of them only moka has a TTL |
//!
//! A request is a number, drawn beforehand. What a connection would have at hand stands in an
//! array by session: for `scope*` the scope, for all others the two ids; reading it is part of
//! the time, and so is a look at the first byte of the value. With two threads both request all
//! the time, and a row is the time of one request of one thread.

mod support;

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main,
};
use scopecache::{Cache, Namespace};

use crate::support::data::{Distribution, MILLION, Names, Requests, VALUE};
use crate::support::ours::Ours;
use crate::support::peers::{DashMap, Moka, Papaya, Peer, QuickCache};
use crate::support::run::{one_by_one, time};

/// Gets under one guard in `scope-ref`.
const BATCH: u64 = 32;
const ONE_HOUR: Duration = Duration::from_secs(3600);

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .sample_size(15)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_millis(1500));
    targets = get
}
criterion_main!(benches);

fn get(criterion: &mut Criterion) {
    let names = &Names::new(MILLION, "state");
    let order = names.entries_shuffled();
    let ours = Ours::fill(&order, names, None);
    let with_ttl = Ours::fill(&order, names, Some(ONE_HOUR));
    let dashmap = DashMap::fill(&order, names, &VALUE);
    let papaya = Papaya::fill(&order, names, &VALUE);
    let quick_cache = QuickCache::fill(&order, names, &VALUE);
    let moka = Moka::fill(&order, names, &VALUE);

    let mut group = criterion.benchmark_group("get");
    // Every sample makes the same number of requests.
    group.sampling_mode(SamplingMode::Flat);
    for distribution in Distribution::ALL {
        let mut sequences = [1, 2].map(|seed| distribution.requests(names.entries(), seed));
        for threads in [1, 2] {
            let mut rows = Rows {
                group: &mut group,
                parameter: format!("{}/{threads}", distribution.name()),
                sequences: &mut sequences[..threads],
            };
            rows.row("scope", one_by_one(|entry| get_in_scope(&ours, names, entry)));
            rows.row("scope-ref", |requests: &mut Requests, ops| {
                get_refs(&ours, names, requests, ops)
            });
            rows.row("scope-ttl", one_by_one(|entry| get_in_scope(&with_ttl, names, entry)));
            rows.row("raw", one_by_one(|entry| get_raw(&ours.cache, names, entry)));
            rows.row("dashmap", one_by_one(|entry| find(&dashmap, names, entry)));
            rows.row("papaya", one_by_one(|entry| find(&papaya, names, entry)));
            rows.row("quick_cache", one_by_one(|entry| find(&quick_cache, names, entry)));
            rows.row("moka", one_by_one(|entry| find(&moka, names, entry)));
        }
    }
    group.finish();
}

struct Rows<'a, 'g> {
    group: &'a mut BenchmarkGroup<'g, WallTime>,
    parameter: String,
    sequences: &'a mut [Requests],
}

impl Rows<'_, '_> {
    fn row(&mut self, subject: &str, run: impl Fn(&mut Requests, u64) -> u64 + Sync) {
        let id = BenchmarkId::new(subject, &self.parameter);
        self.group.bench_function(id, |bencher| {
            bencher.iter_custom(|ops| time(self.sequences, ops, &run));
        });
    }
}

/// One get after another, 32 under one guard.
fn get_refs(ours: &Ours, names: &Names, requests: &mut Requests, ops: u64) -> u64 {
    let mut sum = 0;
    for done in (0..ops).step_by(BATCH as usize) {
        let guard = ours.cache.pin();
        for _ in 0..BATCH.min(ops - done) {
            let (session, key) = names.split(requests.next());
            let entry = ours.scopes[session].get_ref(names.key(key), &guard).expect("open");
            sum += u64::from(entry.expect("a hit").data()[0]);
        }
    }
    sum
}

#[inline]
fn get_raw(cache: &Cache, names: &Names, entry: u32) -> u8 {
    let name = names.of_entry(entry);
    let namespace = Namespace::Session { user: name.user, session: name.session };
    cache.get(namespace, name.key).expect("open").expect("a hit").data()[0]
}

#[inline]
fn get_in_scope(ours: &Ours, names: &Names, entry: u32) -> u8 {
    ours.get(names, entry).expect("a hit").data()[0]
}

#[inline]
fn find(peer: &impl Peer, names: &Names, entry: u32) -> u8 {
    peer.find(names.of_entry(entry)).expect("a hit")[0]
}
