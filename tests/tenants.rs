//! Tenants: byte quotas of users, whom they protect, and figures that are exact.

#[path = "tenants/evicting.rs"]
mod evicting;
#[path = "tenants/exact.rs"]
mod exact;
#[path = "tenants/neighbours.rs"]
mod neighbours;
#[path = "support/pressure.rs"]
mod pressure;
#[path = "tenants/rejecting.rs"]
mod rejecting;
#[path = "tenants/rows.rs"]
mod rows;
#[path = "support/same_hash.rs"]
mod same_hash;

use std::time::Duration;

use scopecache::{Blob, Cache, CacheBuilder, ErrorKind, Maintenance, OnFull, Scope};

/// After this a test that waits for another thread gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// The epochs are those of the process: a test that holds a guard must not make the others fail.
fn builder() -> CacheBuilder<Blob> {
    Cache::builder().maintenance(Maintenance::Manual).max_retired_bytes(1 << 30)
}

/// A cache that refuses what does not fit.
fn store() -> CacheBuilder<Blob> {
    builder().on_full(OnFull::Reject)
}

/// What an entry with a value of so many bytes counts for, under a key of so many.
fn entry_bytes(key: usize, value: usize) -> u64 {
    let cache = store().build().expect("valid");
    let user = cache.user("u").expect("valid");
    user.set(vec![b'k'; key], vec![7; value]).expect("there is room");
    user.usage().expect("open").bytes
}

#[track_caller]
fn assert_refused<T>(answer: scopecache::Result<T>) {
    match answer {
        Ok(_) => panic!("it should have been refused"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error}"),
    }
}

/// The keys of a scope, in ascending order.
fn keys(scope: &Scope) -> Vec<String> {
    let keys = scope.keys().expect("open").into_iter();
    let mut keys: Vec<_> = keys.map(|key| String::from_utf8(key.to_vec()).expect("text")).collect();
    keys.sort_unstable();
    keys
}
