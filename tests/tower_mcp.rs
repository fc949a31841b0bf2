//! Sessions and events of tower-mcp: its own contracts, deletions in every order and cut off at every place,
//! and two of its servers with one storage.

#[path = "tower_mcp/common.rs"]
mod common;
#[path = "support/tower_mcp_contracts.rs"]
mod contracts;
#[path = "tower_mcp/events.rs"]
mod events;
#[path = "support/orders.rs"]
mod every;
#[path = "tower_mcp/orders.rs"]
mod orders;
#[path = "tower_mcp/servers.rs"]
mod servers;
#[path = "tower_mcp/sessions.rs"]
mod sessions;

use std::sync::Arc;

use common::{block_on, cache};
use scopecache::{MockClock, TowerMcpStore};

/// An empty one; its clock stands, so that what has expired is found by the record's own date.
fn empty() -> TowerMcpStore {
    TowerMcpStore::new(Arc::new(cache(&MockClock::new())))
}

#[test]
fn session_store_contract_of_tower_mcp() {
    let stores = std::iter::repeat_with(empty).take(contracts::OF_SESSIONS.len()).collect();
    block_on(contracts::of_sessions("the engine in memory", stores));
}

#[test]
fn event_store_contract_of_tower_mcp() {
    let stores = std::iter::repeat_with(empty).take(contracts::OF_EVENTS.len()).collect();
    block_on(contracts::of_events("the engine in memory", stores));
}
