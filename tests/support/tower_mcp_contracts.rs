//! The contracts that tower-mcp ships for stores of others, told check by check.

use std::sync::Mutex;

use scopecache::TowerMcpStore;
use tower_mcp::testing::store_contracts::{event_store_contract, session_store_contract};

/// What the contract of session stores checks, in its order; each on a store of its own.
pub(crate) const OF_SESSIONS: [&str; 8] = [
    "round_trip",
    "principal_round_trip",
    "create_keeps_colliding_ids_apart",
    "save_is_an_upsert",
    "overwrite_replaces_the_record",
    "unknown_sessions",
    "expired_sessions",
    "delete_is_scoped_and_idempotent",
];

/// The same of event stores.
pub(crate) const OF_EVENTS: [&str; 6] = [
    "replay_is_strictly_after_and_ordered",
    "payloads_are_preserved",
    "replay_does_not_consume",
    "unknown_sessions_replay_empty",
    "sessions_are_isolated",
    "purge_removes_the_session_log",
];

/// Runs the contract on these stores, which are empty.
///
/// # Panics
///
/// With the rule that is broken.
pub(crate) async fn of_sessions(place: &str, stores: Vec<TowerMcpStore>) {
    let stores = Mutex::new(stores);
    session_store_contract(|| next(&stores)).await;
    tell("SessionStore", place, &OF_SESSIONS, &stores);
}

/// As for sessions.
pub(crate) async fn of_events(place: &str, stores: Vec<TowerMcpStore>) {
    let stores = Mutex::new(stores);
    event_store_contract(|| next(&stores)).await;
    tell("EventStore", place, &OF_EVENTS, &stores);
}

fn next(stores: &Mutex<Vec<TowerMcpStore>>) -> TowerMcpStore {
    stores.lock().expect("no panic").pop().expect("a store for each check")
}

fn tell(contract: &str, place: &str, checks: &[&str], rest: &Mutex<Vec<TowerMcpStore>>) {
    assert!(rest.lock().expect("no panic").is_empty(), "fewer checks than there are names");
    for check in checks {
        println!("tower-mcp's contract of {contract} on {place}: {check} ... ok");
    }
}
