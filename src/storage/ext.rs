//! What closures and types add to a storage.

use std::error::Error as StdError;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::item::Version;
use crate::options::Condition;
use crate::storage::{Deadline, Operation, Options, Storage, StorageItem, Typed};

/// How often [`StorageExt::update`] tries before it gives up. Each lost attempt is somebody
/// else's success.
const UPDATE_ATTEMPTS: u32 = 256;

/// What every [`Storage`] has besides: conditional writes by name, closures and types.
///
/// ```
/// use scopecache::{Cache, Options, Storage, StorageExt};
/// use std::sync::Arc;
///
/// # fn main() -> scopecache::Result<()> { pollster::block_on(async {
/// let storage: Arc<dyn Storage> = Arc::new(Cache::builder().build()?);
/// let ada = Options::new().with_user("ada");
///
/// assert!(storage.insert("name", "Ada", ada).await?.is_some());
/// assert!(storage.insert("name", "Eve", ada).await?.is_none()); // there is one
/// storage.update("name", ada, |name| [name, b" Lovelace"].concat()).await?;
/// assert_eq!(storage.get("name", ada).await?.expect("it was set").data, "Ada Lovelace");
/// # Ok(()) }) }
/// ```
pub trait StorageExt: Storage {
    /// Stores a value if the key is absent; returns its version, or `None` if there was one.
    ///
    /// # Errors
    ///
    /// Those of [`Storage::set`].
    fn insert<'a>(
        &'a self,
        key: &'a str,
        data: impl Into<Bytes>,
        options: Options<'a>,
    ) -> impl Future<Output = Result<Option<Version>>> + Send + 'a {
        self.write(key, data.into(), Condition::Absent, options)
    }

    /// Stores a value if the key is present; returns its version, or `None` if it was absent.
    ///
    /// # Errors
    ///
    /// Those of [`Storage::set`].
    fn replace<'a>(
        &'a self,
        key: &'a str,
        data: impl Into<Bytes>,
        options: Options<'a>,
    ) -> impl Future<Output = Result<Option<Version>>> + Send + 'a {
        self.write(key, data.into(), Condition::Present, options)
    }

    /// Stores a value if the key is present in this version; returns the new one, or `None`
    /// where somebody else was faster.
    ///
    /// # Errors
    ///
    /// Those of [`Storage::set`].
    fn compare_and_set<'a>(
        &'a self,
        key: &'a str,
        version: Version,
        data: impl Into<Bytes>,
        options: Options<'a>,
    ) -> impl Future<Output = Result<Option<Version>>> + Send + 'a {
        self.write(key, data.into(), Condition::Version(version), options)
    }

    /// Replaces the value by what `change` makes of it; returns the new version, or `None` where
    /// the key is absent. Its TTL is kept unless the options give one.
    ///
    /// The change is atomic: it is written only over the version that `change` was shown. Where
    /// others write the key meanwhile, `change` runs again on what they wrote, so it should do
    /// nothing else. Between two attempts the executor gets to run others; nothing sleeps.
    ///
    /// # Errors
    ///
    /// `Conflict` where others were faster 256 times in a row; nothing was changed then. Those
    /// of [`Storage::set`]. A timeout in the options is for the whole call.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answered, it has changed the value once or not at all.
    fn update<'a, D: Into<Bytes>>(
        &'a self,
        key: &'a str,
        options: Options<'a>,
        mut change: impl FnMut(&[u8]) -> D + Send + 'a,
    ) -> impl Future<Output = Result<Option<Version>>> + Send + 'a {
        try_update(self, key, options, move |data| Ok(change(data).into()))
    }

    /// Returns the live item, or loads it: [`Storage::load`] for any future.
    ///
    /// Whether one loader runs per key, and whether an answer that was overtaken by a delete is
    /// kept out, is told by [`Capabilities::single_loader`](crate::Capabilities::single_loader):
    /// see there for what is weaker without it.
    ///
    /// # Errors
    ///
    /// `Loader` with the loader's error as its source; those of `Storage::load`.
    ///
    /// # Panics
    ///
    /// If the loader does; nothing is stored then.
    ///
    /// # Cancel safety
    ///
    /// As for `Storage::load`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use scopecache::{Cache, Options, Storage, StorageExt};
    /// # use std::sync::Arc;
    /// # fn main() -> scopecache::Result<()> { pollster::block_on(async {
    /// # let storage: Arc<dyn Storage> = Arc::new(Cache::builder().build()?);
    /// let ada = Options::new().with_user("ada");
    /// let loader = async { std::io::Result::Ok("from the database") };
    /// let item = storage.get_or_load("profile", ada, loader).await?;
    /// assert_eq!(item.data, "from the database");
    /// # Ok(()) }) }
    /// ```
    fn get_or_load<'a, D, E>(
        &'a self,
        key: &'a str,
        options: Options<'a>,
        loader: impl Future<Output = std::result::Result<D, E>> + Send + 'a,
    ) -> impl Future<Output = Result<StorageItem>> + Send + 'a
    where
        D: Into<Bytes>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let loader = async move { loader.await.map(Into::into).map_err(Into::into) };
        self.load(key, options, Box::pin(loader))
    }

    /// The storage as one of values that `codec` turns into bytes and back.
    fn typed<C>(&self, codec: C) -> Typed<'_, Self, C> {
        Typed::new(self, codec)
    }
}

impl<S: Storage + ?Sized> StorageExt for S {}

/// [`StorageExt::update`] by a change that may refuse.
pub(super) async fn try_update<S: Storage + ?Sized>(
    storage: &S,
    key: &str,
    options: Options<'_>,
    mut change: impl FnMut(&[u8]) -> Result<Bytes> + Send,
) -> Result<Option<Version>> {
    let write = options.or_keep_ttl();
    let deadline = Deadline::after(write.check(Operation::Write)?.timeout);
    let read = options.without_expiry();
    for _ in 0..UPDATE_ATTEMPTS {
        let Some(item) = storage.get(key, deadline.rest(read)?).await? else { return Ok(None) };
        let data = change(&item.data)?;
        let condition = Condition::Version(item.version);
        let version = storage.write(key, data, condition, deadline.rest(write)?).await?;
        if version.is_some() {
            return Ok(version);
        }
        deadline.yield_now().await?;
    }
    Err(Error::with_detail(ErrorKind::Conflict, "others kept writing the key; nothing was changed"))
}
