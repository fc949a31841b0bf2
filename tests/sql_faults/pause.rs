//! Servers that stand still.

use std::sync::Arc;
use std::time::{Duration, Instant};

use scopecache::{ErrorKind, Options, Storage};

use crate::server::{Server, on_each, until};

#[test]
fn a_server_that_stands_still_gives_timeouts_and_no_pile() {
    const CONNECTIONS: usize = 3;
    const TIMEOUT: Duration = Duration::from_millis(400);
    on_each(async |server: &Server| {
        let others = server.open_connections();
        let options = server.options().max_connections(CONNECTIONS).timeout(TIMEOUT);
        let storage = Arc::new(options.connect(&server.url).await.expect("it runs"));
        let user = Options::new().with_user("ada");
        storage.set("k", "v".into(), user).await.expect("it runs");
        let paused = server.pause();
        let mut longest = Duration::ZERO;
        for _ in 0..4 {
            let calls: Vec<_> = (0..20)
                .map(|call| {
                    let storage = Arc::clone(&storage);
                    tokio::spawn(async move {
                        let (started, user) = (Instant::now(), Options::new().with_user("ada"));
                        let error = if call % 2 == 0 {
                            storage.get("k", user).await.expect_err("nobody answers")
                        } else {
                            let set = storage.set("k", "w".into(), user);
                            set.await.expect_err("nobody answers")
                        };
                        (error.kind(), started.elapsed())
                    })
                })
                .collect();
            for call in calls {
                let (kind, took) = call.await.expect("it does not panic");
                assert_eq!(kind, ErrorKind::Timeout);
                longest = longest.max(took);
            }
            let open = server.open_connections().saturating_sub(others);
            assert!(open <= CONNECTIONS, "{open} connections are open");
        }
        assert!(longest < TIMEOUT + Duration::from_secs(1), "a timeout took {longest:?}");
        drop(paused);
        until("it goes on", async || storage.get("k", user).await.is_ok()).await;
        let figures = storage.figures();
        println!("{}: timeouts of {TIMEOUT:?} took {longest:?} at most; {figures:?}", server.name);
    });
}
