//! What the tests share: records, a storage that stops at each call, and what a store says of a session.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use pollster::block_on;
use scopecache::{
    Cache, Capabilities, Condition, Error, ErrorKind, Listing, Maintenance, MockClock, Namespace,
    OnFull, Options, Page, Removed, Result, Storage, StorageItem, Version, WebSessions,
};
use serde_json::json;
use tower_sessions_core_0_15::session::{Id, Record};
use tower_sessions_core_0_15::{ExpiredDeletion, SessionStore};

use crate::every::{Call, stop};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// What a head that was swept has yet to live.
pub(crate) const INSTANT: Duration = Duration::from_millis(1);

pub(crate) fn cache(clock: &MockClock) -> Cache {
    Cache::builder()
        .max_bytes(8 << 20)
        .max_value_bytes(4000)
        .expected_entries(64)
        .shards(1)
        .on_full(OnFull::Reject)
        .maintenance(Maintenance::Manual)
        .clock(clock.clone())
        .build()
        .expect("these options go together")
}

/// A store, and the cache behind it to look into.
pub(crate) fn store() -> (WebSessions, Cache) {
    let cache = cache(&MockClock::new());
    (by_user(Arc::new(cache.clone())), cache)
}

/// The user stands at `data["user"]`.
pub(crate) fn by_user(storage: Arc<dyn Storage>) -> WebSessions {
    WebSessions::new(storage).with_owner(|data| Some(data.get("user")?.as_str()?.to_owned()))
}

/// A record that lives for an hour.
pub(crate) fn record(id: i128, user: Option<&str>, note: &str) -> Record {
    let mut record = Record {
        id: Id(id),
        data: [("note".to_owned(), json!(note))].into(),
        expiry_date: (SystemTime::now() + HOUR).into(),
    };
    if let Some(user) = user {
        record.data.insert("user".to_owned(), json!(user));
    }
    record
}

/// Creates a session under exactly this id.
pub(crate) fn create(store: &WebSessions, record: &Record) {
    let mut created = record.clone();
    block_on(store.create(&mut created)).expect("there is room");
    assert_eq!(created.id, record.id, "the id is free");
}

pub(crate) fn load(store: &WebSessions, id: i128) -> Option<Record> {
    block_on(store.load(&Id(id))).expect("the storage answers")
}

pub(crate) fn user_of(record: &Record) -> Option<&str> {
    record.data.get("user")?.as_str()
}

pub(crate) fn note_of(record: &Record) -> &str {
    record.data["note"].as_str().expect("a text")
}

/// The ids of the user's sessions.
pub(crate) fn listed(store: &WebSessions, user: &str) -> Vec<String> {
    let page = block_on(store.sessions_of(user, Page::new(100))).expect("the storage answers");
    assert_eq!(page.next, None);
    page.sessions.into_iter().map(|session| session.id).collect()
}

/// No session is there twice: a user has it listed exactly if it is loaded as that user's.
pub(crate) fn check_once(store: &WebSessions, id: i128, users: &[&str]) {
    let loaded = load(store, id);
    let owner = loaded.as_ref().and_then(user_of);
    for user in users {
        let is_theirs = listed(store, user).contains(&Id(id).to_string());
        assert_eq!(is_theirs, owner == Some(user), "{user} of {owner:?}");
    }
}

/// The global keys, in ascending order.
pub(crate) fn global_keys(cache: &Cache) -> Vec<Bytes> {
    let mut keys = cache.keys(Namespace::Global).expect("open");
    keys.sort_unstable();
    keys
}

/// Sweeps, and lets the instant pass that what was swept has yet to live.
pub(crate) fn sweep(store: &WebSessions, clock: &MockClock) {
    block_on(store.delete_expired()).expect("open");
    clock.advance(INSTANT);
}

/// What a storage was asked to do that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// Content was put where there was none.
    Bound,
    /// A user was deleted.
    LoggedOut,
    /// A head that was there came to name eve.
    Moved,
    Other,
}

/// Stops before each call, and after it where that is asked for, and tells what it did.
pub(crate) struct Stopping {
    pub(crate) clock: MockClock,
    pub(crate) cache: Cache,
    pub(crate) after_too: bool,
    pub(crate) done: Mutex<Vec<Done>>,
    /// How many calls from now on one fails, and how.
    refused: Mutex<Option<(usize, ErrorKind)>>,
    lists: bool,
}

impl Stopping {
    pub(crate) fn new(after_too: bool) -> Arc<Self> {
        Arc::new(Self::plain(after_too))
    }

    /// One that cannot list keys.
    pub(crate) fn without_lists() -> Arc<Self> {
        Arc::new(Self { lists: false, ..Self::plain(false) })
    }

    fn plain(after_too: bool) -> Self {
        let clock = MockClock::new();
        let (cache, done) = (cache(&clock), Mutex::default());
        Self { clock, cache, after_too, done, refused: Mutex::default(), lists: true }
    }

    /// Lets one call fail, after so many that do not.
    pub(crate) fn refuse(&self, after: usize, kind: ErrorKind) {
        *self.refused.lock().expect("no panic") = Some((after, kind));
    }

    /// Whether a call has failed that was to.
    pub(crate) fn has_refused(&self) -> bool {
        self.refused.lock().expect("no panic").is_none()
    }

    async fn call<T>(&self, done: Done, call: impl Future<Output = Result<T>>) -> Result<T> {
        stop().await;
        self.check()?;
        let answer = call.await;
        self.done.lock().expect("no panic").push(done);
        if self.after_too {
            stop().await;
        }
        answer
    }

    fn check(&self) -> Result<()> {
        let mut refused = self.refused.lock().expect("no panic");
        match &mut *refused {
            None => Ok(()),
            Some((0, kind)) => {
                let kind = *kind;
                *refused = None;
                Err(Error::new(kind))
            }
            Some((after, _)) => {
                *after -= 1;
                Ok(())
            }
        }
    }
}

#[async_trait]
impl Storage for Stopping {
    async fn get(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        self.call(Done::Other, Storage::get(&self.cache, key, options)).await
    }

    async fn set(&self, key: &str, data: Bytes, options: Options<'_>) -> Result<Version> {
        self.call(Done::Other, Storage::set(&self.cache, key, data, options)).await
    }

    async fn delete(&self, options: Options<'_>) -> Result<Removed> {
        let is_user = options == Options::new().with_user("ada");
        let done = if is_user { Done::LoggedOut } else { Done::Other };
        self.call(done, Storage::delete(&self.cache, options)).await
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
        let in_a_session = format!("{options:?}").contains("session");
        let is_new = in_a_session && condition == Condition::Absent;
        let done = if is_new { Done::Bound } else { Done::Other };
        let is_move = !in_a_session
            && matches!(condition, Condition::Version(_))
            && options != Options::new().with_ttl(INSTANT)
            && data.windows(5).any(|part| part == b"\"eve\"");
        let write = Storage::write(&self.cache, key, data, condition, options);
        let stored = self.call(done, write).await?;
        if is_move && stored.is_some() {
            self.done.lock().expect("no panic").push(Done::Moved);
        }
        Ok(stored)
    }

    async fn take(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        self.call(Done::Other, Storage::take(&self.cache, key, options)).await
    }

    async fn touch(&self, key: &str, options: Options<'_>) -> Result<bool> {
        self.call(Done::Other, Storage::touch(&self.cache, key, options)).await
    }

    async fn keys(&self, page: Page<'_>, options: Options<'_>) -> Result<Listing> {
        self.call(Done::Other, Storage::keys(&self.cache, page, options)).await
    }

    async fn sessions(&self, user: &str, page: Page<'_>) -> Result<Listing> {
        Storage::sessions(&self.cache, user, page).await
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Storage::capabilities(&self.cache);
        capabilities.lists_keys = self.lists;
        capabilities
    }
}

/// What is done to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A save with this user.
    Save(Option<&'static str>),
    /// A creation with this user.
    Create(Option<&'static str>),
    Load,
    Delete,
    LogOut,
    Sweep,
}

impl Step {
    /// Begins it, for the session 1 and the user ada.
    pub(crate) fn begin(self, store: WebSessions) -> Call {
        Box::pin(async move {
            match self {
                Self::Save(user) => store.save(&record(1, user, "saved")).await.expect("room"),
                Self::Create(user) => {
                    store.create(&mut record(1, user, "created")).await.expect("room");
                }
                Self::Load => drop(store.load(&Id(1)).await.expect("sound")),
                Self::Delete => store.delete(&Id(1)).await.expect("open"),
                Self::Sweep => store.delete_expired().await.expect("open"),
                Self::LogOut => drop(store.logout_everywhere("ada").await.expect("open")),
            }
        })
    }
}
