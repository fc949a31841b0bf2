//! The portable interface: one object-safe trait that every backend obeys alike.
//!
//! ```text
//!   StorageExt (closures), Typed (types)      for whoever uses a storage
//!        |
//!   Storage (bytes, Options, Page)            the contract
//!        |
//!   backend::memory, a database, ..           whoever keeps the bytes
//! ```
//!
//! It knows no backend. What a backend must do itself are the required methods; the provided
//! ones are right for any backend, and a backend that can do better overrides them.

mod answer;
#[cfg(feature = "conformance")]
pub mod conformance;
mod deadline;
mod ext;
mod options;
mod page;
#[cfg(feature = "json")]
mod serde;
mod typed;

use std::error::Error as StdError;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;

pub use self::answer::{Capabilities, StorageItem};
pub(crate) use self::deadline::Deadline;
pub use self::ext::StorageExt;
pub use self::options::{Checked, Expiry, Operation, Options};
pub use self::page::{Listing, Page};
#[cfg(feature = "json")]
pub use self::serde::{Compression, Serde};
pub use self::typed::{Codec, Text, Typed};
use crate::error::{Error, ErrorKind, Result};
use crate::item::{Removed, Version};
use crate::namespace::check_key;
use crate::options::Condition;

/// What a loader ends with: the bytes to store, or why there are none.
pub type Loaded = std::result::Result<Bytes, Box<dyn StdError + Send + Sync>>;

/// The loader of a [`Storage::load`]: a future that is polled only where it is needed.
pub type Loader<'a> = Pin<Box<dyn Future<Output = Loaded> + Send + 'a>>;

/// A place to keep data that belongs to somebody: the same contract in memory and remote.
///
/// [`Cache`](crate::Cache) implements it. It is object safe: hold an `Arc<dyn Storage>` and the
/// program does not know where its data lies. Closures and types come with
/// [`StorageExt`], which every storage has.
///
/// # Consistency
///
/// Calls for one key are atomic, each on its own. Deleting a namespace removes everything in
/// it, a user with all its sessions; [`capabilities`](Self::capabilities) tells what a backend
/// guarantees beyond that.
///
/// # Errors
///
/// Every call fails with
///
/// - `InvalidOptions` where its [`Options`] do not go together, and the message says which;
/// - `InvalidKey` for an id that is not 1 to 256 bytes long, or a key that is not 1 to 512
///   bytes long;
/// - `Timeout` where the time given by [`Options::with_timeout`] ran out;
/// - `Closed` after [`close`](Self::close);
/// - `Unavailable` and `Backend` where a remote storage cannot be reached or fails.
///
/// With the first two nothing was touched. That a key is absent is never an error.
///
/// # Cancel safety
///
/// A call of one item that is dropped before it answered has happened wholly or not at all; one
/// that was never polled has not happened. A call of many items may have done some of them.
///
/// # Examples
///
/// A handler that keeps state across its calls, wherever that is stored:
///
/// ```
/// use scopecache::{Cache, Options, Result, Storage, StorageExt};
/// use std::sync::Arc;
///
/// #[derive(Clone)]
/// struct HandlerOptions {
///     storage: Arc<dyn Storage>,
/// }
///
/// struct Handler {
///     options: HandlerOptions,
/// }
///
/// impl Handler {
///     /// Counts the calls of a session.
///     async fn call(&self, user: &str, session: &str) -> Result<u64> {
///         let storage = &self.options.storage;
///         let session = Options::new().with_user_session(user, session);
///         let calls = match storage.get("calls", session).await? {
///             Some(item) => String::from_utf8_lossy(&item.data).parse().unwrap_or(0) + 1,
///             None => 1,
///         };
///         storage.set("calls", calls.to_string().into(), session).await?;
///         Ok(calls)
///     }
/// }
///
/// # fn main() -> Result<()> { pollster::block_on(async {
/// let cache: Cache = Cache::builder().build()?;
/// let handler = Handler { options: HandlerOptions { storage: Arc::new(cache) } };
/// assert_eq!(handler.call("user123", "session456").await?, 1);
/// assert_eq!(handler.call("user123", "session456").await?, 2);
/// assert_eq!(handler.call("user123", "another").await?, 1);
/// # Ok(()) }) }
/// ```
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// Returns the live item, or `None` where it is absent, expired or deleted.
    ///
    /// # Examples
    ///
    /// User data; a miss is not an error:
    ///
    /// ```
    /// # use scopecache::{Cache, Options, Storage};
    /// # use std::sync::Arc;
    /// # fn main() -> scopecache::Result<()> { pollster::block_on(async {
    /// # let storage: Arc<dyn Storage> = Arc::new(Cache::builder().build()?);
    /// let user = Options::new().with_user("user123");
    /// assert!(storage.get("preferences", user).await?.is_none());
    ///
    /// storage.set("preferences", r#"{"theme":"dark"}"#.into(), user).await?;
    /// let item = storage.get("preferences", user).await?.expect("it was set");
    /// assert_eq!(item.data, r#"{"theme":"dark"}"#);
    /// # Ok(()) }) }
    /// ```
    ///
    /// Global data:
    ///
    /// ```
    /// # use scopecache::{Cache, Options, Storage};
    /// # use std::sync::Arc;
    /// # fn main() -> scopecache::Result<()> { pollster::block_on(async {
    /// # let storage: Arc<dyn Storage> = Arc::new(Cache::builder().build()?);
    /// storage.set("motd", "hello".into(), Options::new()).await?;
    /// let item = storage.get("motd", Options::new()).await?.expect("it was set");
    /// assert_eq!(item.data, "hello");
    /// assert_eq!(item.expires_at, None);
    /// # Ok(()) }) }
    /// ```
    async fn get(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>>;

    /// Stores a value, whatever was there, and returns its version.
    ///
    /// Overwriting starts anew: the time of creation is now, and an earlier TTL is dropped
    /// unless [`Options::keep_ttl`] is asked for.
    ///
    /// # Errors
    ///
    /// Also `ValueTooLarge`, `CapacityExceeded`, `QuotaExceeded`; nothing was changed then.
    ///
    /// # Examples
    ///
    /// Global data with a TTL:
    ///
    /// ```
    /// # use scopecache::{Cache, Options, Storage};
    /// # use std::sync::Arc;
    /// # use std::time::Duration;
    /// # fn main() -> scopecache::Result<()> { pollster::block_on(async {
    /// # let storage: Arc<dyn Storage> = Arc::new(Cache::builder().build()?);
    /// let hour = Duration::from_secs(3600);
    /// storage.set("rates", "1.08".into(), Options::new().with_ttl(hour)).await?;
    /// # let item = storage.get("rates", Options::new()).await?.expect("it was set");
    /// # assert!(item.expires_at.is_some() && !item.is_expired());
    /// # Ok(()) }) }
    /// ```
    ///
    /// User data with a TTL:
    ///
    /// ```
    /// # use scopecache::{Cache, Options, Storage};
    /// # use std::sync::Arc;
    /// # use std::time::Duration;
    /// # fn main() -> scopecache::Result<()> { pollster::block_on(async {
    /// # let storage: Arc<dyn Storage> = Arc::new(Cache::builder().build()?);
    /// let day = Duration::from_secs(24 * 3600);
    /// let user = Options::new().with_user("user123");
    /// storage.set("preferences", r#"{"theme":"dark"}"#.into(), user.with_ttl(day)).await?;
    /// # let item = storage.get("preferences", user).await?.expect("it was set");
    /// # assert_eq!(item.expires_at, Some(item.created_at + day));
    /// # Ok(()) }) }
    /// ```
    ///
    /// Session data:
    ///
    /// ```
    /// # use scopecache::{Cache, Options, Storage};
    /// # use std::sync::Arc;
    /// # fn main() -> scopecache::Result<()> { pollster::block_on(async {
    /// # let storage: Arc<dyn Storage> = Arc::new(Cache::builder().build()?);
    /// let session = Options::new().with_user_session("user123", "session456");
    /// storage.set("state", r#"{"last_action":"connect"}"#.into(), session).await?;
    ///
    /// // What belongs to the session is not the user's, nor another session's.
    /// assert!(storage.get("state", session).await?.is_some());
    /// assert!(storage.get("state", Options::new().with_user("user123")).await?.is_none());
    /// # Ok(()) }) }
    /// ```
    async fn set(&self, key: &str, data: Bytes, options: Options<'_>) -> Result<Version>;

    /// Deletes the key in the options; without one, the whole namespace. Returns how much was
    /// removed, as far as the backend knows.
    ///
    /// A user goes with all its sessions. Without any option these are the global keys, and no
    /// user is touched. Deleting what is not there succeeds.
    ///
    /// # Examples
    ///
    /// A key of a session:
    ///
    /// ```
    /// # use scopecache::{Cache, Options, Storage};
    /// # use std::sync::Arc;
    /// # fn main() -> scopecache::Result<()> { pollster::block_on(async {
    /// # let storage: Arc<dyn Storage> = Arc::new(Cache::builder().build()?);
    /// let session = Options::new().with_user_session("user123", "session456");
    /// # storage.set("state", "1".into(), session).await?;
    /// # storage.set("cursor", "2".into(), session).await?;
    /// storage.delete(session.with_key("state")).await?;
    /// assert!(storage.get("state", session).await?.is_none());
    /// # assert!(storage.get("cursor", session).await?.is_some());
    /// # Ok(()) }) }
    /// ```
    ///
    /// A session:
    ///
    /// ```
    /// # use scopecache::{Cache, Options, Storage};
    /// # use std::sync::Arc;
    /// # fn main() -> scopecache::Result<()> { pollster::block_on(async {
    /// # let storage: Arc<dyn Storage> = Arc::new(Cache::builder().build()?);
    /// let session = Options::new().with_user_session("user123", "session456");
    /// let another = Options::new().with_user_session("user123", "another");
    /// # storage.set("state", "1".into(), session).await?;
    /// # storage.set("state", "2".into(), another).await?;
    /// storage.delete(session).await?;
    /// assert!(storage.get("state", session).await?.is_none());
    /// assert!(storage.get("state", another).await?.is_some());
    /// # Ok(()) }) }
    /// ```
    ///
    /// A user, all its sessions included:
    ///
    /// ```
    /// # use scopecache::{Cache, Options, Storage};
    /// # use std::sync::Arc;
    /// # fn main() -> scopecache::Result<()> { pollster::block_on(async {
    /// # let storage: Arc<dyn Storage> = Arc::new(Cache::builder().build()?);
    /// let user = Options::new().with_user("user123");
    /// let session = Options::new().with_user_session("user123", "session456");
    /// # storage.set("preferences", "1".into(), user).await?;
    /// # storage.set("state", "2".into(), session).await?;
    /// let removed = storage.delete(user).await?;
    /// assert_eq!(removed.entries, 2);
    /// assert!(storage.get("preferences", user).await?.is_none());
    /// assert!(storage.get("state", session).await?.is_none());
    /// # Ok(()) }) }
    /// ```
    ///
    /// A global key:
    ///
    /// ```
    /// # use scopecache::{Cache, Options, Storage};
    /// # use std::sync::Arc;
    /// # fn main() -> scopecache::Result<()> { pollster::block_on(async {
    /// # let storage: Arc<dyn Storage> = Arc::new(Cache::builder().build()?);
    /// # storage.set("motd", "hello".into(), Options::new()).await?;
    /// storage.delete(Options::new().with_key("motd")).await?;
    /// assert!(storage.get("motd", Options::new()).await?.is_none());
    /// # Ok(()) }) }
    /// ```
    async fn delete(&self, options: Options<'_>) -> Result<Removed>;

    /// Refuses all calls from now on and gives up what the storage holds on to (of a storage in
    /// memory also the data). Closing again does nothing.
    async fn close(&self) -> Result<()>;

    /// Stores a value if the condition holds; returns its version, or `None` if it did not.
    ///
    /// A version is unlike all others: one that was read before a delete never fits what came
    /// after it, and none fits another key.
    ///
    /// # Errors
    ///
    /// Those of [`set`](Self::set).
    async fn write(
        &self,
        key: &str,
        data: Bytes,
        condition: Condition,
        options: Options<'_>,
    ) -> Result<Option<Version>>;

    /// Removes the item and returns it; of several callers one gets it.
    async fn take(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>>;

    /// Gives the item the TTL in the options, value and version kept; returns whether there is
    /// an item. A sliding TTL stays sliding and within its maximum lifetime.
    ///
    /// # Errors
    ///
    /// `InvalidOptions` also where the options have no TTL.
    async fn touch(&self, key: &str, options: Options<'_>) -> Result<bool>;

    /// Returns a page of the keys of a namespace; of a user not those of its sessions.
    ///
    /// A key that is not UTF-8, which only the engine's own interface can write, is not listed:
    /// no call of this trait could name it. Deletes of its namespace remove it with the rest.
    ///
    /// # Consistency
    ///
    /// Weak: what is present from the first page to the last is listed, once; what comes or
    /// goes meanwhile may be.
    ///
    /// # Errors
    ///
    /// `InvalidOptions` also for a page of no names, and for a token that the storage cannot
    /// have given out where it can tell.
    async fn keys(&self, page: Page<'_>, options: Options<'_>) -> Result<Listing>;

    /// Returns a page of the ids of the user's sessions that hold anything.
    ///
    /// # Consistency
    ///
    /// As for [`keys`](Self::keys).
    ///
    /// # Errors
    ///
    /// As for `keys`.
    async fn sessions(&self, user: &str, page: Page<'_>) -> Result<Listing>;

    /// Returns what this storage can do beyond the contract.
    fn capabilities(&self) -> Capabilities;

    /// Returns the live item, or loads it: drives `loader`, stores its answer, and returns that.
    /// Where there is an item, `loader` is not polled. [`StorageExt::get_or_load`] is the same
    /// for any future.
    ///
    /// # Consistency
    ///
    /// What this provided body does is right for every backend, but no more than this: each
    /// caller that misses runs its own loader, the first to end stores, and the others return
    /// what that one stored. A delete, or a write and its expiry, that falls between the miss
    /// and the store is not seen: the answer that it overtook is stored.
    ///
    /// Where [`Capabilities::single_loader`] is set, of all callers at a time one runs its
    /// loader and the others wait for it, and the answer is stored only if the key, its session
    /// and its user were neither written nor deleted since the load began. It is returned in any
    /// case to the one who loaded it.
    ///
    /// # Errors
    ///
    /// `Loader` with the loader's error as its source; nothing is stored then. `Conflict` where
    /// a loader asks for the key that it is loading, and the storage could only wait for ever.
    /// Those of [`set`](Self::set).
    ///
    /// # Panics
    ///
    /// If the loader does; nothing is stored then.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answered, it has stored nothing or the whole answer.
    async fn load(
        &self,
        key: &str,
        options: Options<'_>,
        loader: Loader<'_>,
    ) -> Result<StorageItem> {
        let call = options.check(Operation::Write)?;
        check_key(key.as_bytes())?;
        let deadline = Deadline::after(call.timeout);
        if let Some(item) = self.get(key, deadline.rest(options.without_expiry())?).await? {
            return Ok(item);
        }
        let data = deadline
            .limit(async {
                loader.await.map_err(|error| Error::with_source(ErrorKind::Loader, error))
            })
            .await?;
        let rest = deadline.rest(options)?;
        let version = self.write(key, data.clone(), Condition::Absent, rest).await?;
        // Stored by us or by somebody else: only the storage knows the item's times.
        if let Some(item) = self.get(key, deadline.rest(options.without_expiry())?).await? {
            return Ok(item);
        }
        Ok(StorageItem::fresh(data, call.expiry, version.unwrap_or_else(Version::next)))
    }

    /// Returns the live items of many keys, in their order.
    ///
    /// Each is read atomically, not all at one moment.
    async fn get_many(
        &self,
        keys: &[&str],
        options: Options<'_>,
    ) -> Result<Vec<Option<StorageItem>>> {
        let deadline = Deadline::after(options.check(Operation::Get)?.timeout);
        check_keys(keys)?;
        let mut items = Vec::with_capacity(keys.len());
        for key in keys {
            items.push(self.get(key, deadline.rest(options)?).await?);
        }
        Ok(items)
    }

    /// Stores many values, whatever was there; returns their versions in order.
    ///
    /// Each is stored atomically, not all at one moment.
    ///
    /// # Errors
    ///
    /// Those of [`set`](Self::set). Options and keys are checked before anything is touched;
    /// upon another error the values before the one that failed are stored.
    async fn set_many(
        &self,
        items: &[(&str, Bytes)],
        options: Options<'_>,
    ) -> Result<Vec<Version>> {
        let deadline = Deadline::after(options.check(Operation::Write)?.timeout);
        items.iter().try_for_each(|(key, _)| check_key(key.as_bytes()))?;
        let mut versions = Vec::with_capacity(items.len());
        for (key, data) in items {
            versions.push(self.set(key, data.clone(), deadline.rest(options)?).await?);
        }
        Ok(versions)
    }

    /// Deletes many keys; returns how much was removed, as far as the backend knows.
    ///
    /// Each is deleted atomically, not all at one moment. No key at all is none: this never
    /// deletes a namespace.
    ///
    /// # Errors
    ///
    /// Options and keys are checked before anything is touched; upon another error some of the
    /// keys may be deleted.
    async fn delete_many(&self, keys: &[&str], options: Options<'_>) -> Result<Removed> {
        let deadline = Deadline::after(options.check(Operation::DeleteMany)?.timeout);
        check_keys(keys)?;
        let mut removed = Removed::default();
        for key in keys {
            let one = self.delete(deadline.rest(options)?.with_key(key)).await?;
            removed.entries += one.entries;
            removed.bytes += one.bytes;
        }
        Ok(removed)
    }
}

/// # Errors
///
/// `InvalidKey` where one of them is empty or too long.
pub(crate) fn check_keys(keys: &[&str]) -> Result<()> {
    keys.iter().try_for_each(|key| check_key(key.as_bytes()))
}
