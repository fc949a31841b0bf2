//! Servers that take no writes, and others that take their place.

use std::sync::Arc;
use std::time::Duration;

use scopecache::{Error, ErrorKind, Options, Storage};

use crate::faults::judge;
use crate::load::{Load, PASSWORD};
use crate::own::{Own, Setup};
use crate::proxy::Proxy;
use crate::server::{Raw, Server, kinds, on_kinds, until};

const TIMEOUT: Duration = Duration::from_secs(2);

/// Each of its transactions is on the disks of both servers before it is acknowledged.
const IN_STEP: &[&str] = &["-c", "synchronous_standby_names=*"];

/// Lets a server take no writes, or writes again.
async fn set_read_only(server: &Server, raw: &mut Raw, is_read_only: bool) {
    let word = if is_read_only { "on" } else { "off" };
    let statements = match (server.is_postgres(), &*server.name) {
        (true, _) => vec![
            "SET default_transaction_read_only = off".to_owned(),
            format!("ALTER SYSTEM SET default_transaction_read_only = {word}"),
            "SELECT pg_reload_conf()".to_owned(),
        ],
        (_, "mysql-9") => vec![format!("SET GLOBAL super_read_only = {word}")]
            .into_iter()
            .chain((!is_read_only).then(|| "SET GLOBAL read_only = off".to_owned()))
            .collect(),
        _ => vec![format!("SET GLOBAL read_only = {word}")],
    };
    for statement in statements {
        raw.run(&statement).await.expect("it runs");
    }
}

/// The address of somebody who may do what the docs ask for, and no more.
async fn url_of_a_user(server: &Server, raw: &mut Raw) -> String {
    let statements = if server.is_postgres() {
        vec![
            format!("CREATE USER app PASSWORD '{PASSWORD}'"),
            "GRANT CREATE, USAGE ON SCHEMA public TO app".to_owned(),
        ]
    } else {
        vec![
            format!("CREATE USER app IDENTIFIED BY '{PASSWORD}'"),
            "GRANT ALL ON scopecache.* TO app".to_owned(),
        ]
    };
    for statement in statements {
        raw.run(&statement).await.expect("it runs");
    }
    let (scheme, rest) = server.url.split_once("://").expect("an address");
    let (_, place) = rest.split_once('@').expect("it has a user");
    // MySQL takes passwords through TLS alone.
    let place = place.split('?').next().expect("it is there");
    format!("{scheme}://app:{PASSWORD}@{place}")
}

fn assert_is_told(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("connect to the primary"), "{error}");
    assert!(!format!("{error:?}").contains(PASSWORD), "{error:?}");
}

#[test]
fn a_server_that_is_read_only_for_a_while_loses_nothing() {
    on_kinds(&kinds(), async |kind| {
        let own = Own::start(kind, "read-only", Setup::default()).await;
        let server = &own.server;
        let mut raw = server.raw().await;
        let url = url_of_a_user(server, &mut raw).await;
        let options = server.options().timeout(TIMEOUT);
        let storage = Arc::new(options.clone().connect(&url).await.expect("it runs"));
        let load = Load::start(&storage);
        load.more(100).await;
        set_read_only(server, &mut raw, true).await;
        load.failed(ErrorKind::Unavailable).await;
        // Nor does it read: a server that takes no writes may be one whose data are out of date.
        let is_left = async || storage.get("k", Options::new()).await.is_err();
        until("it is left", is_left).await;
        assert_is_told(&storage.get("k", Options::new()).await.expect_err("it is read-only"));
        let write = storage.set("k", "v".into(), Options::new()).await;
        assert_is_told(&write.expect_err("it is read-only"));
        assert_is_told(&options.connect(&url).await.expect_err("it is read-only"));
        set_read_only(server, &mut raw, false).await;
        let recovery = load.more(50).await;
        judge("read-only, back", server, load, recovery).await;
    });
}

/// A client that only reads leaves a server that takes no more writes, too.
#[test]
fn who_only_reads_leaves_a_server_that_was_demoted() {
    on_kinds(&kinds(), async |kind| {
        let own = Own::start(kind, "demoted", Setup::default()).await;
        let storage = own.server.connect().await.expect("it runs");
        storage.set("k", "v".into(), Options::new()).await.expect("it runs");
        set_read_only(&own.server, &mut own.server.raw().await, true).await;
        let read = async || storage.get("k", Options::new()).await.is_err();
        until("it is left", read).await;
        assert_is_told(&storage.get("k", Options::new()).await.expect_err("it is read-only"));
    });
}

/// Killed or demoted, the primary gives way to a standby that has all that was acknowledged.
#[test]
fn a_standby_in_step_takes_over_and_nothing_is_lost() {
    on_kinds(&["postgresql-15"], async |kind| {
        for is_killed in [true, false] {
            let mut primary =
                Own::start(kind, "primary", Setup { options: IN_STEP, ..Setup::default() }).await;
            let follows = Some(primary.server.port());
            let standby = Own::start(kind, "standby", Setup { follows, ..Setup::default() }).await;
            let mut raw = primary.server.raw().await;
            let in_step = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
            until("it is in step", async || raw.number(in_step).await == 1).await;
            let proxy = Proxy::new(primary.server.port());
            let options = primary.server.options().timeout(TIMEOUT);
            let url = proxy.url(&primary.server.url);
            let load =
                Load::start(&Arc::new(options.clone().connect(&url).await.expect("it runs")));
            load.more(200).await;
            let at_standby = options.clone().connect(&standby.server.url).await;
            assert_is_told(&at_standby.expect_err("it is a standby"));

            if is_killed {
                primary.kill();
                load.failed(ErrorKind::Unavailable).await;
            } else {
                set_read_only(&primary.server, &mut raw, true).await;
            }
            proxy.lead_to(standby.server.port());
            let mut raw = standby.server.raw().await;
            raw.run("SELECT pg_promote()").await.expect("it is a standby");
            let recovery = load.more(50).await;
            let fault = if is_killed { "primary killed" } else { "primary demoted" };
            let other = options.connect(&standby.server.url).await.expect("it is the primary now");
            let outcome = load.end(fault, kind, &other, recovery).await;
            println!("{outcome}");
            assert!(outcome.passed(), "{outcome}");
        }
    });
}
