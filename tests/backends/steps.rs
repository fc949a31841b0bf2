//! What calls cost, and what they leave behind on the server.

use std::time::Duration;

use bytes::Bytes;
use redis::cmd;
use scopecache::{Options, Page, Storage};

use crate::server::{Proxy, Server, client, until};

const TIMEOUT: Duration = Duration::from_secs(20);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Round trips as `docs/backends.md` has them, counted on the line.
pub(crate) async fn calls_take_the_documented_round_trips(server: &Server) {
    let proxy = Proxy::new(server.port);
    let storage = client(proxy.port, TIMEOUT).await.expect("connects");
    let session = Options::new().with_user_session("ada", "s");
    let ada = Options::new().with_user("ada");
    let names: Vec<String> = (0..1000).map(|index| format!("k{index}")).collect();
    let keys: Vec<&str> = names.iter().map(String::as_str).collect();
    let items: Vec<(&str, Bytes)> = keys.iter().map(|key| (*key, Bytes::from("v"))).collect();
    let sliding = session.with_ttl(Duration::from_millis(4800)).sliding(DAY);

    // Where the server does not know a script yet its call is sent twice.
    storage.set("k", "v".into(), session).await.expect("stored");
    storage.set_many(&items[..1], session).await.expect("stored");
    storage.touch("k", session.with_ttl(DAY)).await.expect("touched");
    storage.take("k", session).await.expect("taken");
    storage.delete(session.with_key("k")).await.expect("deleted");
    storage.delete(session).await.expect("deleted");
    storage.delete(ada).await.expect("deleted");
    storage.set("slides", "v".into(), sliding).await.expect("stored");
    until_renewable(&storage, &["slides"], session).await;

    macro_rules! costs {
        ($turns:expr, $call:expr) => {{
            let before = proxy.turns();
            let answer = $call.await.expect(stringify!($call));
            assert_eq!(proxy.turns() - before, $turns, "round trips of {}", stringify!($call));
            answer
        }};
    }
    costs!(1, storage.set("k", "v".into(), session));
    costs!(1, storage.get("k", session));
    costs!(1, storage.get("absent", session));
    costs!(1, storage.touch("k", session.with_ttl(DAY)));
    costs!(1, storage.take("k", session));
    costs!(1, storage.set_many(&items, session));
    assert_eq!(costs!(1, storage.get_many(&keys, session)).iter().flatten().count(), 1000);
    assert_eq!(costs!(1, storage.delete_many(&keys, session)).entries, 1000);
    costs!(1, storage.set_many(&items, sliding));
    assert_eq!(costs!(1, storage.get_many(&keys, session)).iter().flatten().count(), 1000);
    std::thread::sleep(Duration::from_millis(610)); // an eighth of the TTL: what is awaited is time
    assert_eq!(costs!(2, storage.get_many(&keys, session)).iter().flatten().count(), 1000);
    costs!(1, storage.delete(session));
    for session in 0..64 {
        let id = session.to_string();
        let options = Options::new().with_user_session("ada", &id);
        storage.set("k", "v".into(), options).await.expect("stored");
    }
    assert_eq!(costs!(1, storage.delete(ada)).entries, 64);
}

/// Waits until a read has had something to renew, so that its script is known.
async fn until_renewable(storage: &impl Storage, keys: &[&str], options: Options<'_>) {
    let first = storage.get_many(keys, options).await.expect("read")[0].clone().expect("there");
    loop {
        let again = storage.get_many(keys, options).await.expect("read")[0].clone();
        if again.expect("it slides").expires_at != first.expires_at {
            return;
        }
    }
}

/// A sweeper that dies leaves nothing for ever, though its user was written anew.
pub(crate) async fn others_finish_what_a_dead_client_left(server: &Server) {
    const SESSIONS: u64 = 1000;
    let healthy = client(server.port, TIMEOUT).await.expect("connects");
    for session in 0..SESSIONS {
        let id = session.to_string();
        let options = Options::new().with_user_session("bob", &id);
        healthy.set("k", "v".into(), options).await.expect("stored");
    }

    // The answer to the second step never comes, nor does anything else get through.
    let proxy = Proxy::new(server.port);
    let doomed = client(proxy.port, TIMEOUT).await.expect("connects");
    doomed.delete(Options::new().with_user("nobody")).await.expect("its script is known");
    proxy.die();
    let removed = doomed.delete(Options::new().with_user("bob")).await;
    let left = || server.ask::<Vec<Vec<u8>>>(cmd("KEYS").arg("t:{bob}*")).len();
    // What the caller was told depends on which answer was cut; the user is gone either way.
    assert!(removed.is_err() || removed.is_ok_and(|removed| removed.entries < SESSIONS));
    until("the deletion is carried out", || server.ask::<u64>(cmd("EXISTS").arg("t:{bob}g")) == 0);
    let bob = Options::new().with_user_session("bob", "999");
    assert_eq!(healthy.get("k", bob).await.expect("read"), None);
    assert!(left() > 900, "the sweep was cut short");

    // Written anew, into a session that still waits and into another.
    healthy.set("k", "new".into(), bob).await.expect("stored");
    healthy.set("k", "new".into(), Options::new().with_user("bob")).await.expect("stored");
    assert_eq!(healthy.delete(Options::new().with_user("eve")).await.expect("deleted").entries, 0);
    assert!(left() > 900, "others wait until nobody works on it");

    // Whoever begins or deletes anything does a step, ten seconds later.
    let mut steps = 0;
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        until("nothing is left of the dead incarnation", || {
            steps += 1;
            let eve = Options::new().with_user("eve");
            runtime.block_on(async {
                match steps % 3 {
                    0 => healthy.delete(eve).await.map(drop),
                    1 => healthy.set("k", "v".into(), eve).await.map(drop),
                    _ => {
                        healthy.delete(Options::new().with_user_session("eve", "s")).await.map(drop)
                    }
                }
                .expect("done");
            });
            server.ask::<u64>(cmd("EXISTS").arg("t:{%}w")) == 0
        });
    });
    healthy.delete(Options::new().with_user("eve")).await.expect("deleted");

    let sessions = healthy.sessions("bob", Page::new(2000)).await.expect("listed").names;
    assert_eq!(sessions, ["999"], "the sessions of the new incarnation");
    assert_eq!(healthy.get("k", bob).await.expect("read").expect("there").data, "new");
    let removed = healthy.delete(Options::new().with_user("bob")).await.expect("deleted");
    assert_eq!(removed.entries, 2, "what was written anew, and nothing else");
    assert_eq!(left(), 0, "keys on the server");
}

/// Sessions that end by themselves do not stay in the set of a user who goes on.
pub(crate) async fn sessions_that_ended_are_forgotten(server: &Server) {
    let storage = client(server.port, TIMEOUT).await.expect("connects");
    let short = Duration::from_millis(50);
    for session in 0..60 {
        let id = session.to_string();
        let options = Options::new().with_user_session("cat", &id).with_ttl(short);
        storage.set("k", "v".into(), options).await.expect("stored");
    }
    let forgettable = || {
        let (seconds, _): (u64, u64) = server.ask(&cmd("TIME"));
        let before = (seconds - 1) * 1000 - 1;
        server.ask::<u64>(cmd("ZCOUNT").arg("t:{cat}x").arg("-inf").arg(before))
    };
    tokio::task::block_in_place(|| {
        until("all ended a second ago", || {
            server.ask::<u64>(cmd("ZCARD").arg("t:{cat}x")) == forgettable()
        });
    });
    for session in 100..115 {
        let id = session.to_string();
        let options = Options::new().with_user_session("cat", &id).with_ttl(DAY);
        storage.set("k", "v".into(), options).await.expect("stored");
    }
    assert_eq!(server.ask::<u64>(cmd("ZCARD").arg("t:{cat}x")), 15, "each has taken some along");
    storage.delete(Options::new().with_user("cat")).await.expect("deleted");
}

/// A session whose first fields have expired is listed as long as another has not.
pub(crate) async fn what_expired_hides_no_session(server: &Server) {
    let storage = client(server.port, TIMEOUT).await.expect("connects");
    let session = Options::new().with_user_session("dan", "s");
    let names: Vec<String> = (0..2000).map(|index| format!("k{index}")).collect();
    // Large enough that the server does not keep the hash in one piece.
    let items: Vec<(&str, Bytes)> =
        names.iter().map(|key| (key.as_str(), Bytes::from(vec![b'v'; 100]))).collect();
    storage.set_many(&items, session.with_ttl(Duration::from_millis(1))).await.expect("stored");
    storage.set("lives", "v".into(), session).await.expect("stored");
    let listed = storage.sessions("dan", Page::new(10)).await.expect("listed").names;
    assert_eq!(listed, ["s"]);
    let keys = storage.keys(Page::new(10), session).await.expect("listed").names;
    assert_eq!(keys, ["lives"]);
    // Listing has taken away what expired, so nothing but the one is counted, unless the server hides
    // what it is about to take away itself.
    let removed = storage.delete(Options::new().with_user("dan")).await.expect("deleted").entries;
    assert!(removed == 1 || (server.name() == "redis-8.2" && removed > 1), "{removed} removed");
    assert_eq!(storage.sessions("dan", Page::new(10)).await.expect("listed").names, [""; 0]);
}

/// Closing ends the connection.
pub(crate) async fn closing_gives_the_connection_up(server: &Server) {
    let count = || {
        let all: String = server.ask(cmd("CLIENT").arg("LIST"));
        all.lines().count()
    };
    // The asking connection is one.
    tokio::task::block_in_place(|| until("nobody else is connected", || count() == 1));
    let storage = client(server.port, TIMEOUT).await.expect("connects");
    assert!(count() > 1);
    storage.close().await.expect("closed");
    tokio::task::block_in_place(|| until("the connection ends", || count() == 1));
    drop(storage);
}
