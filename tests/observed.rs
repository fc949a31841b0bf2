//! What an observed storage tells of its calls, and what it never tells.

#[path = "observed/counted.rs"]
mod counted;
#[path = "observed/noting.rs"]
mod noting;
#[path = "observed/traced.rs"]
mod traced;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pollster::block_on;
use scopecache::{
    Cache, Capabilities, Condition, Maintenance, Observed, Options, Page, Storage, StorageExt,
};

use noting::Noting;

const SECOND: Duration = Duration::from_secs(1);

/// None of these may ever be told.
const USER: &str = "user-marie@curie.example";
const SESSION: &str = "session-4711-of-marie";
const KEY: &str = "key-polonium";
const VALUE: &str = "value-half-life-138-days";
const SECRETS: [&str; 4] = [USER, SESSION, KEY, VALUE];

fn user() -> Options<'static> {
    Options::new().with_user(USER)
}

fn session() -> Options<'static> {
    Options::new().with_user_session(USER, SESSION)
}

fn cache() -> Cache {
    Cache::builder()
        .maintenance(Maintenance::Manual)
        .max_value_bytes(1000)
        .build()
        .expect("these options go together")
}

fn observed() -> Observed {
    Observed::new(Arc::new(cache()))
}

/// Every method once, with all that may not be told.
async fn call_everything(storage: &dyn Storage) -> scopecache::Result<()> {
    let pairs = [(KEY, Bytes::from(VALUE))];
    storage.set(KEY, VALUE.into(), session()).await?;
    storage.get(KEY, session()).await?;
    storage.write(KEY, VALUE.into(), Condition::Present, session()).await?;
    storage.touch(KEY, session().with_ttl(SECOND)).await?;
    storage.get_many(&[KEY], session()).await?;
    storage.set_many(&pairs, session()).await?;
    storage.keys(Page::new(9), session()).await?;
    storage.sessions(USER, Page::new(9)).await?;
    storage.take(KEY, session()).await?;
    storage.load(KEY, session(), Box::pin(async { Ok(VALUE.into()) })).await?;
    storage.delete_many(&[KEY], session()).await?;
    storage.delete(session().with_key(KEY)).await?;
    storage.delete(user()).await?;
    storage.close().await
}

/// Calls that fail, each for a reason of its own.
async fn fail_in_every_way(storage: &dyn Storage) {
    let long = VALUE.repeat(100);
    let loader = async { Err::<Bytes, _>(format!("no {VALUE} of {USER}")) };
    let errors = [
        storage.get(KEY, user().with_ttl(SECOND)).await.err(),
        storage.get(&KEY.repeat(100), user()).await.err(),
        storage.set(KEY, long.into(), user()).await.err(),
        storage.get_or_load(KEY, user(), loader).await.err(),
        storage.delete(user().with_user_session(USER, SESSION)).await.err(),
    ];
    for error in errors {
        error.expect("each is refused");
    }
}

#[test]
fn each_method_reaches_the_storage_as_itself() {
    let noting = Arc::new(Noting::default());
    let storage = Observed::new(noting.clone());
    block_on(call_everything(&storage)).expect("open");
    let called = noting.called.lock().expect("no panic").clone();
    assert_eq!(
        called,
        [
            "set",
            "get",
            "write",
            "touch",
            "get_many",
            "set_many",
            "keys",
            "sessions",
            "take",
            "load",
            "delete_many",
            "delete",
            "delete",
            "close"
        ]
    );
    let mut capabilities = Capabilities::none();
    capabilities.durable = true;
    assert_eq!(storage.capabilities(), capabilities, "those of the storage");
}
