//! What the tests share: records, caches, and what a store says of a session.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use scopecache::{Cache, Maintenance, MockClock, OnFull, TowerMcpStore};
use tower_mcp::event_store::{EventRecord, EventStore};
use tower_mcp::session_store::{SessionRecord, SessionStore};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// No event.
pub(crate) const NONE: [u64; 0] = [];

/// How much longer than its session a head lives.
pub(crate) const AFTERLIFE: Duration = Duration::from_secs(120);

pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a thread").block_on(test)
}

pub(crate) fn cache(clock: &MockClock) -> Cache {
    Cache::builder()
        .max_bytes(8 << 20)
        .max_value_bytes(8000)
        .expected_entries(64)
        .shards(1)
        .on_full(OnFull::Reject)
        .maintenance(Maintenance::Manual)
        .clock(clock.clone())
        .build()
        .expect("these options go together")
}

/// A store, the cache behind it to look into, and its clock.
pub(crate) fn store() -> (TowerMcpStore, Cache, MockClock) {
    let clock = MockClock::new();
    let cache = cache(&clock);
    (TowerMcpStore::new(Arc::new(cache.clone())), cache, clock)
}

/// A record made just now, which lives for an hour.
pub(crate) fn record(id: &str, principal: Option<&str>) -> SessionRecord {
    let mut record = SessionRecord::new(id, "2025-11-25", HOUR);
    record.principal = principal.map(str::to_owned);
    record
}

/// One that was made so long ago, and used just now.
pub(crate) fn aged(id: &str, principal: Option<&str>, age: Duration) -> SessionRecord {
    let mut record = record(id, principal);
    record.created_at = SystemTime::now() - age;
    record
}

/// Creates a session under exactly this id.
pub(crate) async fn create(store: &TowerMcpStore, id: &str, principal: Option<&str>) {
    let mut created = record(id, principal);
    store.create(&mut created).await.expect("there is room");
    assert_eq!(created.id, id, "the id is free");
}

/// Whose session it is, if it is there.
pub(crate) async fn owner(store: &TowerMcpStore, id: &str) -> Option<Option<String>> {
    store.load(id).await.expect("the storage answers").map(|record| record.principal)
}

pub(crate) async fn append(store: &TowerMcpStore, id: &str, event: u64) {
    store.append(id, EventRecord::new(event, format!("event {event}"))).await.expect("room");
}

/// The ids of the session's events.
pub(crate) async fn events(store: &TowerMcpStore, id: &str) -> Vec<u64> {
    let events = store.replay_after(id, 0).await.expect("the storage answers");
    events.into_iter().map(|event| event.id).collect()
}

pub(crate) fn sessions_of(cache: &Cache, user: &str) -> Vec<String> {
    cache.sessions(user).expect("open")
}
