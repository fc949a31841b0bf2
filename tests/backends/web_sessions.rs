//! Web sessions on a server: of those that were logged out nothing is left, of the others everything.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use scopecache::conformance::Store;
use scopecache::{Options, Page, Storage, WebSessions};
use serde_json::json;
use tower_sessions_core_0_15::session::{Id, Record};
use tower_sessions_core_0_15::{ExpiredDeletion, SessionStore};

const HOUR: Duration = Duration::from_secs(3600);

/// Two servers of an application, which have the sessions of one storage.
pub(crate) async fn nothing_is_left_of_the_logged_out(store: Arc<dyn Store>) {
    let storage = store.client().await.expect("connects");
    let here = by_user(storage.clone());
    let there = by_user(store.client().await.expect("connects"));
    storage.set("a key of the application", "v".into(), Options::new()).await.expect("stored");
    for id in 1..=8 {
        here.create(&mut record(id, Some("eve"))).await.expect("stored");
        here.create(&mut record(id + 10, None)).await.expect("stored");
    }
    let before = global_keys(&*storage).await;
    for round in 0..3 {
        for id in 100..140 {
            here.create(&mut record(id + 100 * round, Some("ada"))).await.expect("stored");
            here.create(&mut record(id + 100 * round + 50, Some("bob"))).await.expect("stored");
        }
        assert_eq!(global_keys(&*storage).await.len(), before.len() + 80);
        there.logout_everywhere("ada").await.expect("deleted");
        storage.delete(Options::new().with_user("bob")).await.expect("deleted");
        // One goes as it is asked for, the others with the sweeps of both.
        assert!(here.load(&Id(100 + 100 * round)).await.expect("answers").is_none());
        let sweeps = [here.clone(), there.clone()].map(|server| {
            tokio::spawn(async move { server.delete_expired().await.expect("swept") })
        });
        for sweep in sweeps {
            sweep.await.expect("no panic");
        }
        store.pass(store.grain()).await;
        assert_eq!(global_keys(&*storage).await, before);
    }
    for id in 1..=8 {
        assert!(there.load(&Id(id)).await.expect("answers").is_some());
        assert!(there.load(&Id(id + 10)).await.expect("answers").is_some());
    }
    moves_are_kept(&*store, &here, &there).await;
}

/// Sessions that move to another user while the one before is logged out everywhere, and both servers sweep.
async fn moves_are_kept(store: &dyn Store, here: &WebSessions, there: &WebSessions) {
    const IDS: std::ops::Range<i128> = 1000..1030;
    for id in IDS {
        here.create(&mut record(id, Some("ada"))).await.expect("stored");
    }
    let (mover, sweeper, other) = (here.clone(), here.clone(), there.clone());
    let moved = tokio::spawn(async move {
        for id in IDS {
            mover.save(&record(id, Some("eve"))).await.expect("moved or dead");
        }
    });
    let swept = tokio::spawn(async move {
        for _ in 0..5 {
            sweeper.delete_expired().await.expect("swept");
        }
    });
    other.logout_everywhere("ada").await.expect("deleted");
    moved.await.expect("no panic");
    swept.await.expect("no panic");
    there.delete_expired().await.expect("swept");
    store.pass(store.grain()).await;
    let listed = there.sessions_of("eve", Page::new(1000)).await.expect("answers").sessions;
    let keys = global_keys(&*store.client().await.expect("connects")).await;
    for id in IDS {
        let alive = here.load(&Id(id)).await.expect("answers").is_some();
        assert_eq!(listed.iter().any(|session| session.id == Id(id).to_string()), alive, "{id}");
        assert_eq!(keys.contains(&format!("web-session:{}", Id(id))), alive, "{id}");
    }
}

fn by_user(storage: Arc<dyn Storage>) -> WebSessions {
    WebSessions::new(storage).with_owner(|data| Some(data.get("user")?.as_str()?.to_owned()))
}

fn record(id: i128, user: Option<&str>) -> Record {
    let mut data = std::collections::HashMap::new();
    if let Some(user) = user {
        data.insert("user".to_owned(), json!(user));
    }
    Record { id: Id(id), data, expiry_date: (SystemTime::now() + HOUR).into() }
}

/// In ascending order.
async fn global_keys(storage: &dyn Storage) -> Vec<String> {
    let listing = storage.keys(Page::new(10_000), Options::new()).await.expect("answers");
    assert_eq!(listing.next, None);
    let mut keys = listing.names;
    keys.sort_unstable();
    keys
}
