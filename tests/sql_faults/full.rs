//! Disks that are full.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use scopecache::{Error, ErrorKind, Options, SqlStorage, Storage};

use crate::faults::judge;
use crate::load::Load;
use crate::own::{Own, Setup};
use crate::server::{kinds, on_kinds, until};

/// Of one that fits a page of the server: MariaDB 10.11 itself dies of many a larger one on a full disk.
const VALUE_BYTES: usize = 1 << 12;

/// All that the server writes lies on a disk that is full for a while, its log included.
#[test]
fn a_full_disk_refuses_writes_and_loses_nothing() {
    on_kinds(&kinds(), async |kind| {
        let options: &[&str] = match kind {
            "postgresql-15" => &["-c", "max_wal_size=32MB", "-c", "min_wal_size=32MB"],
            "mariadb-10.11" => &["--innodb-log-file-size=8M"],
            _ => &["--innodb-redo-log-capacity=32M"],
        };
        let setup = Setup { options, disk_mib: Some(256), ..Setup::default() };
        let own = Own::start(kind, "full", setup).await;
        let storage = Arc::new(own.server.connect().await.expect("it runs"));
        let keep = Options::new().with_user_session("keep", "s");
        storage.set("k", "v".into(), keep).await.expect("it runs");
        let load = Load::start(&storage);
        load.more(50).await;
        own.disk().fill();
        let error = fill(&storage).await;
        assert_eq!(error.kind(), ErrorKind::CapacityExceeded, "{error:?}");
        assert!(error.to_string().contains("free some"), "{error}");
        // The first of another session, several at once: none of them is stored.
        let names: Vec<String> = (0..64).map(|number| format!("many {number}")).collect();
        let value = value();
        let items: Vec<_> = names.iter().map(|name| (&**name, value.clone())).collect();
        let error = storage.set_many(&items, keep).await.expect_err("there is no room");
        assert_eq!(error.kind(), ErrorKind::CapacityExceeded, "{error:?}");
        assert_eq!(storage.get("many 0", keep).await.expect("reads go on"), None);
        let kept = storage.get("k", keep).await.expect("reads go on").expect("it is kept");
        assert_eq!(kept.data, "v");
        // Who has to make room can.
        storage.delete(Options::new().with_user("large")).await.expect("deletes go on");
        own.disk().free();
        let begun = Instant::now();
        storage.set_many(&items, keep).await.expect("there is room");
        let recovery = begun.elapsed() + load.more(50).await;
        judge("disk full", &own.server, load, recovery).await;
    });
}

/// PostgreSQL ends where it cannot write its log, and starts no more until there is room.
#[test]
fn a_full_log_ends_the_server_and_loses_nothing() {
    on_kinds(&["postgresql-15"], async |kind| {
        let options = &["-c", "max_wal_size=32MB", "-c", "min_wal_size=32MB"];
        let setup = Setup { options, disk_mib: Some(256), ..Setup::default() };
        let mut own = Own::start(kind, "log", setup).await;
        let load = Load::start(&Arc::new(own.server.connect().await.expect("it runs")));
        load.more(100).await;
        own.disk().fill();
        let mut raw = own.server.raw().await;
        let log = "SELECT pg_logical_emit_message(false, '', repeat('x', 1000000))";
        let is_refused = async || raw.run(log).await.is_err();
        until("the log is full", is_refused).await;
        load.failed(ErrorKind::Unavailable).await;
        until("the server gives up", async || own.has_ended()).await;
        own.disk().free();
        own.start_again().await;
        let recovery = load.more(50).await;
        judge("log full, restarted", &own.server, load, recovery).await;
    });
}

/// Stores large values until there is no room for one more; the error.
async fn fill(storage: &SqlStorage) -> Error {
    let place = Options::new().with_user("large").with_timeout(Duration::from_secs(30));
    for number in 0..10_000 {
        if let Err(error) = storage.set(&number.to_string(), value(), place).await {
            return error;
        }
    }
    panic!("a full disk takes ten thousand values");
}

/// One that no server makes smaller.
fn value() -> Bytes {
    let mut state = 1_u64;
    let next = || {
        // The steps of Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(VALUE_BYTES).collect()
}
