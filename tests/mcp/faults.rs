//! A storage that fails: the client is told so, learns nothing of it, and keeps its session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use scopecache::{
    Cache, Capabilities, Condition, Error, ErrorKind, Listing, MockClock, Options, Page, Removed,
    Result, Storage, StorageItem, Version,
};
use serde_json::json;

use crate::app::{self, Mode, Running};
use crate::client::{Client, SESSION_ID, initialize_request};
use crate::common::{
    ADA, Events, Steps, block_on, cache, listen, sessions, soon, status, steps_request,
};

/// Of whose words nothing may be told.
const SECRET: &str = "password of the database";

/// A storage that fails so many calls of a kind, after so many that it lets pass.
pub(crate) struct Failing {
    cache: Cache,
    gets: Plan,
    sets: Plan,
    deletes: Plan,
}

#[derive(Default)]
struct Plan {
    pass: AtomicU32,
    fail: AtomicU32,
}

impl Plan {
    fn fail(&self, after: u32, number: u32) {
        self.pass.store(after, Ordering::SeqCst);
        self.fail.store(number, Ordering::SeqCst);
    }

    fn check(&self) -> Result<()> {
        let one_less = |left: u32| left.checked_sub(1);
        let failing = self.fail.load(Ordering::SeqCst) > 0;
        if !failing || self.pass.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
        {
            return Ok(());
        }
        match self.fail.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less) {
            Ok(_) => Err(Error::with_source(ErrorKind::Unavailable, SECRET)),
            Err(_) => Ok(()),
        }
    }
}

impl Failing {
    fn new() -> Arc<Self> {
        let cache = cache(&MockClock::new());
        let (gets, sets, deletes) = (Plan::default(), Plan::default(), Plan::default());
        Arc::new(Self { cache, gets, sets, deletes })
    }
}

#[async_trait]
impl Storage for Failing {
    async fn get(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        self.gets.check()?;
        Storage::get(&self.cache, key, options).await
    }

    async fn set(&self, key: &str, data: Bytes, options: Options<'_>) -> Result<Version> {
        self.sets.check()?;
        Storage::set(&self.cache, key, data, options).await
    }

    async fn delete(&self, options: Options<'_>) -> Result<Removed> {
        self.deletes.check()?;
        Storage::delete(&self.cache, options).await
    }

    async fn close(&self) -> Result<()> {
        Storage::close(&self.cache).await
    }

    async fn write(
        &self,
        key: &str,
        data: Bytes,
        condition: Condition,
        options: Options<'_>,
    ) -> Result<Option<Version>> {
        Storage::write(&self.cache, key, data, condition, options).await
    }

    async fn take(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        Storage::take(&self.cache, key, options).await
    }

    async fn touch(&self, key: &str, options: Options<'_>) -> Result<bool> {
        Storage::touch(&self.cache, key, options).await
    }

    async fn keys(&self, page: Page<'_>, options: Options<'_>) -> Result<Listing> {
        Storage::keys(&self.cache, page, options).await
    }

    async fn sessions(&self, user: &str, page: Page<'_>) -> Result<Listing> {
        Storage::sessions(&self.cache, user, page).await
    }

    fn capabilities(&self) -> Capabilities {
        Storage::capabilities(&self.cache)
    }
}

/// Two servers over a storage that fails when told to.
async fn servers() -> (Arc<Failing>, [Running; 2]) {
    let storage = Failing::new();
    let mut servers = Vec::new();
    for _ in 0..2 {
        let server =
            app::start(&sessions(storage.clone()), storage.clone(), Mode::Guarded, 0).await;
        servers.push(server.expect("a free port"));
    }
    (storage, servers.try_into().unwrap_or_else(|_| unreachable!("two")))
}

/// Is served in the end, and meanwhile told to try again: a request can meet the restoration that failed
/// before it, since rmcp forgets one a moment after it has answered it.
async fn is_served(client: &Client, session: &str) {
    soon(async {
        loop {
            match status(client, session).await {
                200 => return,
                other => assert_eq!(other, 503),
            }
        }
    })
    .await;
}

#[test]
fn a_session_that_cannot_be_stored_is_none() {
    block_on(async {
        let (storage, [first, _]) = servers().await;
        let ada = Client::new(&first.url, ADA);
        storage.sets.fail(0, 1);
        let answer = ada.send(None, &initialize_request()).await.expect("an answer");
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        assert!(!answer.headers().contains_key(SESSION_ID));
        let words = answer.text().await.expect("text");
        assert!(words.contains("try again") && !words.contains(SECRET), "{words}");
        // It does so.
        let id = ada.initialize().await.expect("a session");
        assert_eq!(status(&ada, &id).await, 200);
    });
}

#[test]
fn a_session_outlives_a_storage_that_fails() {
    block_on(async {
        let (storage, [first, second]) = servers().await;
        let [ada, there] = [&first, &second].map(|server| Client::new(&server.url, ADA));
        let id = ada.initialize().await.expect("a session");
        // The look-up of the guard, and that of rmcp for the restoration, which the other server needs.
        for after in 0..2 {
            storage.gets.fail(after, 1);
            assert_eq!(status(&there, &id).await, 503, "the get after {after} others fails");
        }
        is_served(&there, &id).await;
        storage.gets.fail(0, 1);
        assert_eq!(status(&ada, &id).await, 503);
        assert_eq!(status(&ada, &id).await, 200);
    });
}

/// A worker takes nothing else before its handshake is over: requests beside it wait.
#[test]
fn a_session_is_restored_by_many_requests_at_a_time() {
    block_on(async {
        let (_, [first, second]) = servers().await;
        let mut served = 0;
        for _ in 0..20 {
            let ada = Client::new(&first.url, ADA);
            let id = ada.initialize().await.expect("a session");
            let requests = (0..8).map(|number| {
                let (there, id, url) =
                    (Client::new(&second.url, ADA), id.clone(), second.url.clone());
                tokio::spawn(async move {
                    match number {
                        0 => listen(&url, ADA, &id, None).await.status().as_u16(),
                        _ => soon(status(&there, &id)).await,
                    }
                })
            });
            for request in requests.collect::<Vec<_>>() {
                let status = request.await.expect("no panic");
                // Who is late finds it restored by another, which rmcp takes for an error: it passes.
                assert!(status == 200 || status == 503, "{status}");
                served += usize::from(status == 200);
            }
        }
        assert!(served >= 150, "{served} of 160");
    });
}

/// rmcp lets one request restore a session, and the others wait: its failure must not look like an end.
#[test]
fn no_request_beside_a_failed_restoration_is_told_of_an_end() {
    block_on(async {
        let (storage, [first, second]) = servers().await;
        for round in 0..40 {
            let ada = Client::new(&first.url, ADA);
            let id = ada.initialize().await.expect("a session");
            storage.gets.fail(round % 20, 1);
            let requests = (0..8).map(|_| {
                let (there, id) = (Client::new(&second.url, ADA), id.clone());
                tokio::spawn(async move { soon(status(&there, &id)).await })
            });
            for request in requests.collect::<Vec<_>>() {
                let status = request.await.expect("no panic");
                assert!(status == 200 || status == 503, "{status}");
            }
            storage.gets.fail(0, 0);
            is_served(&Client::new(&second.url, ADA), &id).await;
        }
    });
}

#[test]
fn an_end_that_has_not_come_is_not_told() {
    block_on(async {
        let (storage, [first, second]) = servers().await;
        let [ada, there] = [&first, &second].map(|server| Client::new(&server.url, ADA));
        let id = ada.initialize().await.expect("a session");
        storage.deletes.fail(0, 1);
        assert_eq!(ada.delete(&id).await.expect("an answer"), 503);
        assert_eq!(status(&there, &id).await, 200, "it is alive");
        assert_eq!(ada.delete(&id).await.expect("an answer"), 202);
        assert_eq!(status(&there, &id).await, 404);
    });
}

/// An event that cannot be stored is sent all the same; only asking for it again is of no use.
#[test]
fn an_answer_that_cannot_be_kept_is_given() {
    block_on(async {
        let storage = Failing::new();
        let steps = Steps::new();
        let server = steps.start(&sessions(storage.clone())).await;
        let ada = Client::new(&server.url, ADA);
        let id = ada.initialize().await.expect("a session");
        let stream = ada.send(Some(&id), &steps_request(1, 2, 10)).await.expect("an answer");
        let mut stream = Events::new(stream);
        let first = stream.next().await.expect("the priming").id;
        assert_eq!(stream.next().await.expect("a step").step(), Some(0));
        storage.sets.fail(0, 2);
        steps.go_on.add_permits(1);
        let rest = stream.rest().await;
        let told: Vec<Option<u64>> = rest.iter().map(|event| event.step()).collect();
        assert_eq!(told, [Some(1), Some(2), None], "all of it");
        // A replay tells what came before what is missing, and ends there.
        let again = Events::new(listen(&server.url, ADA, &id, first.as_deref()).await).rest().await;
        assert_eq!(again.iter().map(|event| event.step()).collect::<Vec<_>>(), [Some(0)]);

        // The answer itself is missing: a replay does not wait for it, once anything is stored again.
        let stream = ada.send(Some(&id), &steps_request(0, 0, 0)).await.expect("an answer");
        let mut stream = Events::new(stream);
        let first = stream.next().await.expect("the priming").id;
        storage.sets.fail(0, 1);
        steps.go_on.add_permits(1);
        assert!(stream.next().await.expect("the answer").is_answer());
        assert_eq!(status(&ada, &id).await, 200);
        let again = Events::new(listen(&server.url, ADA, &id, first.as_deref()).await).rest().await;
        assert_eq!(again, []);
    });
}

#[test]
fn a_storage_that_is_closed_serves_nobody() {
    block_on(async {
        let (storage, [first, _]) = servers().await;
        let ada = Client::new(&first.url, ADA);
        let id = ada.initialize().await.expect("a session");
        Storage::close(&*storage).await.expect("open");
        assert_eq!(status(&ada, &id).await, 503);
        let answer = ada.call(&id, "cart_new", json!({})).await.expect("an answer");
        assert_eq!(answer.status, 503);
    });
}
