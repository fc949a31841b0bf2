//! Servers whose clock is not that of their clients.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use scopecache::{Options, Storage};

use crate::faults::judge;
use crate::load::Load;
use crate::own::{Own, Setup};
use crate::server::on_kinds;

/// What counts is how long things live; the deadlines are the server's.
#[test]
fn a_clock_that_is_an_hour_off_ends_nothing_early_or_late() {
    // MySQL and the library that makes a clock wrong wait for each other.
    on_kinds(&["postgresql-15", "mariadb-10.11"], async |kind| {
        for (skew, fault) in [("+1h", "clock an hour ahead"), ("-1h", "clock an hour behind")] {
            let setup = Setup { skew: Some(skew), ..Setup::default() };
            let own = Own::start(kind, "clock", setup).await;
            let storage = Arc::new(own.server.connect().await.expect("it runs"));
            let load = Load::start(&storage);
            load.more(50).await;
            let session = Options::new().with_user_session("clock", "s");
            let ttl = Duration::from_millis(1500);
            let begun = Instant::now();
            storage.set("ends", "v".into(), session.with_ttl(ttl)).await.expect("it runs");
            let stored = Instant::now();
            let slides = session.with_ttl(ttl).sliding(ttl * 10);
            storage.set("slides", "v".into(), slides).await.expect("it runs");
            let item = storage.get("ends", session).await.expect("it runs");
            let item = item.expect("it has just begun");
            assert_eq!(item.expires_at, Some(item.created_at + ttl));
            // The item's times are the server's, and so an hour away from ours.
            let away = match item.created_at.duration_since(SystemTime::now()) {
                Ok(ahead) => ahead,
                Err(behind) => behind.duration(),
            };
            assert!(away > Duration::from_secs(3500), "the server's clock is right: {away:?}");
            let mut seen = begun;
            loop {
                let asked = Instant::now();
                let slides = storage.get("slides", session).await.expect("it runs");
                assert!(slides.is_some(), "each hit renews it");
                if storage.get("ends", session).await.expect("it runs").is_none() {
                    assert!(begun.elapsed() >= ttl, "it ended early");
                    break;
                }
                seen = asked;
            }
            assert!(seen <= stored + ttl, "it was returned {:?} too late", seen - stored - ttl);
            // Nothing that lives is cleaned away by another's clock.
            storage.clean().await.expect("it runs");
            assert!(storage.get("slides", session).await.expect("it runs").is_some());
            let recovery = load.more(1).await;
            judge(fault, &own.server, load, recovery).await;
        }
    });
}
