//! Who gets to a server, by which way, and what those are told who do not.

use std::time::Duration;

use redis::cmd;
use scopecache::{ErrorKind, Options, Page, RedisOptions, RedisStorage, Storage};

use crate::load::PASSWORD;
use crate::ports::free_port;
use crate::server::{Certificate, Server, client, url};

const PATIENCE: Duration = Duration::from_secs(20);

/// What `docs/backends.md` asks for.
pub(crate) const RIGHTS: [&str; 6] =
    ["+@read", "+@write", "+@scripting", "+@connection", "+time", "-@dangerous"];

/// Through TLS with a certificate that nobody else knows: it is asked for, and nothing else passes.
pub(crate) async fn through_tls(name: &str) {
    let (certificate, port) = (Certificate::new(name), free_port());
    let args = certificate.args(port);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let _server = Server::start(name, "tls", &args);
    let url = url(port).replace("redis:", "rediss:");
    let storage = by_certificate(&url, &certificate).await;
    let session = Options::new().with_user_session("ada", "s");
    let items: Vec<_> = (0..500).map(|_| ("k", vec![7; 10_000].into())).collect();
    storage.set_many(&items, session).await.expect("stored");
    assert_eq!(storage.get("k", session).await.expect("read").expect("there").data.len(), 10_000);
    assert_eq!(storage.delete(Options::new().with_user("ada")).await.expect("deleted").entries, 1);
}

/// A client by this certificate, without which nobody gets there.
pub(crate) async fn by_certificate(url: &str, certificate: &Certificate) -> RedisStorage {
    let options = RedisOptions::new().timeout(PATIENCE);
    // The system does not trust it, and it is not another's.
    let other = Certificate::new("another").pem();
    for options in [options.clone(), options.clone().root_certificate(other)] {
        let Err(error) = options.connect(url).await else { panic!("any certificate passes") };
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("TLS") && !format!("{error:?}").contains(PASSWORD));
    }
    options.root_certificate(certificate.pem()).connect(url).await.expect("connects")
}

/// The rights that `docs/backends.md` names are enough for every call.
pub(crate) async fn documented_rights_suffice(server: &Server) {
    let mut acl = cmd("ACL");
    acl.arg("SETUSER").arg("shop").arg("on").arg(">pass").arg("resetkeys").arg("~t:*");
    acl.arg(&RIGHTS);
    server.ask::<()>(&acl);
    let url = format!("redis://shop:pass@127.0.0.1:{}", server.port);
    let storage = RedisOptions::new().prefix("t:").connect(&url).await.expect("connects");
    let session = Options::new().with_user_session("acl", "s");
    let ttl = session.with_ttl(Duration::from_secs(60));
    storage.set("k", "v".into(), ttl.sliding(Duration::from_secs(99))).await.expect("stored");
    storage.touch("k", ttl).await.expect("touched");
    storage.get_many(&["k", "l"], session).await.expect("read");
    storage.keys(Page::new(9), session).await.expect("listed");
    storage.take("k", session).await.expect("taken").expect("there");
    for number in 0..100 {
        let id = number.to_string();
        let session = Options::new().with_user_session("acl", &id);
        storage.set_many(&[("k", "v".into()), ("l", "v".into())], session).await.expect("stored");
    }
    assert_eq!(storage.sessions("acl", Page::new(200)).await.expect("listed").names.len(), 100);
    storage.delete(Options::new().with_user_session("acl", "0")).await.expect("deleted");
    storage
        .delete(Options::new().with_user_session("acl", "1").with_key("k"))
        .await
        .expect("deleted");
    let removed = storage.delete(Options::new().with_user("acl")).await.expect("deleted");
    assert_eq!(removed.entries, 197);
    // Other programs' keys are out of reach, and the error says so.
    let other = RedisOptions::new().prefix("other:").connect(&url).await.expect("connects");
    let error = other.set("k", "v".into(), Options::new()).await.expect_err("forbidden");
    assert!(error.to_string().contains("ACL"), "{error}");
}

/// Who is refused is told why, without the password.
pub(crate) async fn refusals_say_what_to_do(server: Server) {
    let port = server.port;
    let wrong = url(port).replace(PASSWORD, "another-secret");
    let Err(error) = scopecache::connect(&wrong).await else { panic!("a wrong password passes") };
    assert_eq!(error.kind(), ErrorKind::Backend);
    assert!(error.to_string().contains("credentials") && !format!("{error:?}").contains("secret"));
    drop(server);
    let Err(error) = client(port, PATIENCE).await else { panic!("nobody is there") };
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
    assert!(!format!("{error:?}").contains(PASSWORD));
}
