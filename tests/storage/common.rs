//! What the tests share: storages, every call by name, and what a cache holds.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use pollster::block_on;
use scopecache::{
    Cache, Capabilities, Condition, ErrorKind, Listing, Maintenance, MockClock, Namespace, Options,
    Page, Removed, Result, Storage, StorageExt, StorageItem, Version,
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A cache as a storage, and by itself to look into it.
pub(crate) struct Memory {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) cache: Cache,
    pub(crate) clock: MockClock,
}

pub(crate) fn memory() -> Memory {
    let clock = MockClock::new();
    let cache: Cache = Cache::builder()
        .max_bytes(8 << 20)
        .max_value_bytes(1000)
        .maintenance(Maintenance::Manual)
        .clock(clock.clone())
        .build()
        .expect("these options go together");
    Memory { storage: Arc::new(cache.clone()), cache, clock }
}

/// As above, but with the provided bodies of the trait, as a simple backend has them.
pub(crate) fn simple() -> Memory {
    let memory = memory();
    Memory { storage: Arc::new(Simple(memory.cache.clone())), ..memory }
}

struct Simple(Cache);

#[async_trait]
impl Storage for Simple {
    async fn get(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        Storage::get(&self.0, key, options).await
    }

    async fn set(&self, key: &str, data: Bytes, options: Options<'_>) -> Result<Version> {
        Storage::set(&self.0, key, data, options).await
    }

    async fn delete(&self, options: Options<'_>) -> Result<Removed> {
        Storage::delete(&self.0, options).await
    }

    async fn close(&self) -> Result<()> {
        Storage::close(&self.0).await
    }

    async fn write(
        &self,
        key: &str,
        data: Bytes,
        condition: Condition,
        options: Options<'_>,
    ) -> Result<Option<Version>> {
        Storage::write(&self.0, key, data, condition, options).await
    }

    async fn take(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        Storage::take(&self.0, key, options).await
    }

    async fn touch(&self, key: &str, options: Options<'_>) -> Result<bool> {
        Storage::touch(&self.0, key, options).await
    }

    async fn keys(&self, page: Page<'_>, options: Options<'_>) -> Result<Listing> {
        Storage::keys(&self.0, page, options).await
    }

    async fn sessions(&self, user: &str, page: Page<'_>) -> Result<Listing> {
        Storage::sessions(&self.0, user, page).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::none()
    }
}

/// Every call of the interface, to be made with any options and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Get,
    Set,
    Write,
    Take,
    Touch,
    Delete,
    Keys,
    Load,
    GetMany,
    SetMany,
    DeleteMany,
    Update,
}

pub(crate) const CALLS: [Call; 12] = [
    Call::Get,
    Call::Set,
    Call::Write,
    Call::Take,
    Call::Touch,
    Call::Delete,
    Call::Keys,
    Call::Load,
    Call::GetMany,
    Call::SetMany,
    Call::DeleteMany,
    Call::Update,
];

/// Calls that write a value.
pub(crate) const WRITES: [Call; 5] =
    [Call::Set, Call::Write, Call::Load, Call::SetMany, Call::Update];

impl Call {
    /// Makes the call with these options as they are.
    pub(crate) async fn make(
        self,
        storage: &dyn Storage,
        key: &str,
        options: Options<'_>,
    ) -> Result<()> {
        let data = Bytes::from_static(b"new");
        match self {
            Self::Get => storage.get(key, options).await.map(drop),
            Self::Set => storage.set(key, data, options).await.map(drop),
            Self::Write => storage.write(key, data, Condition::Present, options).await.map(drop),
            Self::Take => storage.take(key, options).await.map(drop),
            Self::Touch => storage.touch(key, options).await.map(drop),
            Self::Delete => storage.delete(options).await.map(drop),
            Self::Keys => storage.keys(Page::new(10), options).await.map(drop),
            Self::Load => storage.load(key, options, Box::pin(async { Ok(data) })).await.map(drop),
            Self::GetMany => storage.get_many(&["other", key], options).await.map(drop),
            Self::SetMany => {
                storage.set_many(&[("other", data.clone()), (key, data)], options).await.map(drop)
            }
            Self::DeleteMany => storage.delete_many(&["other", key], options).await.map(drop),
            Self::Update => storage.update(key, options, |_| "new").await.map(drop),
        }
    }

    /// The options with what this call needs to be valid, for this key.
    pub(crate) fn valid<'a>(self, key: &'a str, options: Options<'a>) -> Options<'a> {
        match self {
            Self::Touch => options.with_ttl(SECOND),
            Self::Delete => options.with_key(key),
            _ => options,
        }
    }
}

/// One entry: namespace, key, value, version, end.
pub(crate) type Entry = (String, Bytes, Vec<u8>, Version, Option<SystemTime>);

/// All that a cache holds.
pub(crate) fn contents(cache: &Cache) -> Vec<Entry> {
    let mut entries = contents_of(cache, Namespace::Global);
    for user in cache.users().expect("open") {
        entries.extend(contents_of(cache, Namespace::User { user: &user }));
        for session in cache.sessions(&user).expect("open") {
            entries
                .extend(contents_of(cache, Namespace::Session { user: &user, session: &session }));
        }
    }
    entries.sort_unstable_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    entries
}

fn contents_of(cache: &Cache, namespace: Namespace<'_>) -> Vec<Entry> {
    let keys = cache.keys(namespace).expect("open").into_iter();
    keys.filter_map(|key| {
        let item = cache.peek(namespace, &key).expect("open")?;
        let value = item.data().to_vec();
        Some((format!("{namespace:?}"), key, value, item.version(), item.expires_at()))
    })
    .collect()
}

/// The kind and the words of a refusal.
pub(crate) fn refused<T>(result: Result<T>) -> (ErrorKind, String) {
    let error = result.err().expect("refused");
    (error.kind(), error.to_string())
}

pub(crate) fn data_of(storage: &dyn Storage, key: &str, options: Options<'_>) -> Option<Bytes> {
    block_on(storage.get(key, options)).expect("valid").map(|item| item.data)
}

/// Counts how often it was woken.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        // Relaxed: a count.
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A future that is polled by hand.
pub(crate) struct Polled<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
    wakes: Arc<Wakes>,
}

impl<'a, T> Polled<'a, T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'a) -> Self {
        Self { future: Box::pin(future), wakes: Arc::default() }
    }

    pub(crate) fn poll(&mut self) -> Poll<T> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Polls, whether woken or not, until there is an answer.
    pub(crate) fn drive(mut self) -> T {
        let started = Instant::now();
        while started.elapsed() < 30 * SECOND {
            if let Poll::Ready(answer) = self.poll() {
                return answer;
            }
            std::thread::yield_now();
        }
        panic!("no answer after 30 seconds of polling");
    }

    pub(crate) fn wakes(&self) -> usize {
        // Relaxed: a count.
        self.wakes.0.load(Ordering::Relaxed)
    }
}
