//! The contracts of tower-mcp's stores on a server, and a user who is deleted there.

use std::sync::Arc;
use std::time::Duration;

use ::tower_mcp::event_store::{EventRecord, EventStore};
use ::tower_mcp::session_store::{SessionRecord, SessionStore};
use scopecache::conformance::Lab;
use scopecache::{Options, Page, Storage, TowerMcpStore};

use crate::contracts;

pub(crate) fn contracts_hold(name: &str, lab: &dyn Lab) {
    lab.block_on(Box::pin(async {
        let (sessions, events) = (contracts::OF_SESSIONS.len(), contracts::OF_EVENTS.len());
        let (_, stores) = places(lab, sessions).await;
        contracts::of_sessions(name, stores).await;
        let (_, stores) = places(lab, events).await;
        contracts::of_events(name, stores).await;
        let (storages, stores) = places(lab, 1).await;
        the_deleted_stay_so(&*storages[0], &stores[0]).await;
    }));
}

/// Empty places on the server, and stores there.
async fn places(lab: &dyn Lab, count: usize) -> (Vec<Arc<dyn Storage>>, Vec<TowerMcpStore>) {
    let mut storages = Vec::with_capacity(count);
    for _ in 0..count {
        let place = lab.store().expect("a place of its own");
        storages.push(place.client().await.expect("connects"));
    }
    let stores = storages.iter().map(|storage| TowerMcpStore::new(storage.clone())).collect();
    (storages, stores)
}

/// Saves and events among the deletion of their user bring nothing back.
async fn the_deleted_stay_so(storage: &dyn Storage, store: &TowerMcpStore) {
    let hour = Duration::from_secs(3600);
    for round in 0..10 {
        let mut record = SessionRecord::new(format!("s{round}"), "2025-11-25", hour);
        record.principal = Some("ada".to_owned());
        store.create(&mut record).await.expect("stored");
        let saves = async {
            for id in 0..5 {
                store.save(&record).await.expect("stored or dead");
                store.append(&record.id, EventRecord::new(id, "said")).await.expect("kept or dead");
            }
        };
        let deletion = async {
            tokio::time::sleep(Duration::from_millis(round)).await;
            storage.delete(Options::new().with_user("ada")).await.expect("deleted");
        };
        tokio::join!(saves, deletion);
        store.save(&record).await.expect("does nothing");
        assert!(store.load(&record.id).await.expect("answers").is_none());
        assert!(store.replay_after(&record.id, 0).await.expect("answers").is_empty());
        let left = storage.sessions("ada", Page::new(10)).await.expect("answers");
        assert!(left.names.is_empty(), "{:?}", left.names);
    }
}
