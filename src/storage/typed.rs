//! Values of a type in a storage of bytes.

use std::error::Error as StdError;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::item::Version;
use crate::options::Condition;
use crate::storage::ext::try_update;
use crate::storage::{Deadline, Operation, Options, Storage};

/// Turns values into bytes and back.
///
/// A codec for any serialisation takes a few lines:
///
/// ```
/// use bytes::Bytes;
/// use scopecache::Codec;
///
/// /// Numbers in eight bytes.
/// struct Binary;
///
/// impl Codec<u64> for Binary {
///     type Error = std::array::TryFromSliceError;
///
///     fn encode(&self, value: &u64) -> Result<Bytes, Self::Error> {
///         Ok(Bytes::copy_from_slice(&value.to_be_bytes()))
///     }
///
///     fn decode(&self, data: &[u8]) -> Result<u64, Self::Error> {
///         Ok(u64::from_be_bytes(data.try_into()?))
///     }
/// }
/// # assert_eq!(Binary.decode(&Binary.encode(&7).unwrap()).unwrap(), 7);
/// ```
pub trait Codec<T>: Send + Sync {
    /// Why a value has no bytes, or bytes have no value.
    type Error: Into<Box<dyn StdError + Send + Sync>>;

    /// Returns the bytes of a value.
    ///
    /// # Errors
    ///
    /// Where the value cannot be expressed.
    fn encode(&self, value: &T) -> std::result::Result<Bytes, Self::Error>;

    /// Returns the value of the bytes.
    ///
    /// # Errors
    ///
    /// Where they are not those of a value.
    fn decode(&self, data: &[u8]) -> std::result::Result<T, Self::Error>;
}

/// The [`Codec`] of what has a textual form: strings, numbers, addresses, everything that is
/// [`ToString`] and [`FromStr`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Text;

/// A [`Storage`] of values instead of bytes; made by [`StorageExt::typed`](crate::StorageExt::typed).
///
/// Every call fails with `Corrupt`, the codec's error as its source, where the codec refuses a
/// value or what is stored; nothing was changed then. All else is as on the storage.
///
/// ```
/// use scopecache::{Cache, Options, Storage, StorageExt, Text};
/// use std::sync::Arc;
///
/// # fn main() -> scopecache::Result<()> { pollster::block_on(async {
/// let storage: Arc<dyn Storage> = Arc::new(Cache::builder().build()?);
/// let numbers = storage.typed(Text);
/// let ada = Options::new().with_user("ada");
///
/// numbers.set("visits", &1_u64, ada).await?;
/// numbers.update("visits", ada, |visits: u64| visits + 1).await?;
/// assert_eq!(numbers.get::<u64>("visits", ada).await?, Some(2));
/// # Ok(()) }) }
/// ```
pub struct Typed<'s, S: ?Sized, C> {
    storage: &'s S,
    codec: C,
}

impl<'s, S: Storage + ?Sized, C> Typed<'s, S, C> {
    pub(super) fn new(storage: &'s S, codec: C) -> Self {
        Self { storage, codec }
    }

    /// The storage of bytes.
    pub fn storage(&self) -> &'s S {
        self.storage
    }

    /// Returns the live value, or `None`.
    ///
    /// # Errors
    ///
    /// `Corrupt`; those of [`Storage::get`].
    pub async fn get<T>(&self, key: &str, options: Options<'_>) -> Result<Option<T>>
    where
        C: Codec<T>,
    {
        let Some(item) = self.storage.get(key, options).await? else { return Ok(None) };
        self.decode(&item.data).map(Some)
    }

    /// Stores a value, whatever was there, and returns its version.
    ///
    /// # Errors
    ///
    /// `Corrupt`; those of [`Storage::set`].
    pub async fn set<T>(&self, key: &str, value: &T, options: Options<'_>) -> Result<Version>
    where
        C: Codec<T>,
    {
        let data = self.encode(value)?;
        self.storage.set(key, data, options).await
    }

    /// Stores a value if the condition holds; returns its version, or `None` if it did not.
    ///
    /// # Errors
    ///
    /// `Corrupt`; those of [`Storage::write`].
    pub async fn write<T>(
        &self,
        key: &str,
        value: &T,
        condition: Condition,
        options: Options<'_>,
    ) -> Result<Option<Version>>
    where
        C: Codec<T>,
    {
        let data = self.encode(value)?;
        self.storage.write(key, data, condition, options).await
    }

    /// Removes the value and returns it; of several callers one gets it.
    ///
    /// The value is read first, so that one that the codec refuses stays where it is.
    ///
    /// # Errors
    ///
    /// `Corrupt`, and the value is kept, unless it was overwritten by such a one between the read
    /// and the removal; those of [`Storage::take`].
    pub async fn take<T>(&self, key: &str, options: Options<'_>) -> Result<Option<T>>
    where
        C: Codec<T>,
    {
        let deadline = Deadline::after(options.check(Operation::Take)?.timeout);
        if self.get::<T>(key, deadline.rest(options)?).await?.is_none() {
            return Ok(None);
        }
        let taken = self.storage.take(key, deadline.rest(options)?).await?;
        taken.map(|item| self.decode(&item.data)).transpose()
    }

    /// As [`StorageExt::update`](crate::StorageExt::update): replaces the value by what `change` makes of it.
    ///
    /// # Errors
    ///
    /// `Corrupt`; those of `StorageExt::update`.
    pub async fn update<T>(
        &self,
        key: &str,
        options: Options<'_>,
        mut change: impl FnMut(T) -> T + Send,
    ) -> Result<Option<Version>>
    where
        C: Codec<T>,
    {
        try_update(self.storage, key, options, |data| {
            let value = change(self.decode(data)?);
            self.encode(&value)
        })
        .await
    }

    /// As [`StorageExt::get_or_load`](crate::StorageExt::get_or_load): returns the live value, or loads it.
    ///
    /// # Errors
    ///
    /// `Corrupt` for what is stored; `Loader` also where the codec refuses what was loaded;
    /// those of `StorageExt::get_or_load`.
    pub async fn get_or_load<T, E>(
        &self,
        key: &str,
        options: Options<'_>,
        loader: impl Future<Output = std::result::Result<T, E>> + Send,
    ) -> Result<T>
    where
        C: Codec<T>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let loader = async move {
            match loader.await {
                Ok(value) => self.codec.encode(&value).map_err(Into::into),
                Err(error) => Err(error.into()),
            }
        };
        let item = self.storage.load(key, options, Box::pin(loader)).await?;
        self.decode(&item.data)
    }

    fn encode<T>(&self, value: &T) -> Result<Bytes>
    where
        C: Codec<T>,
    {
        self.codec.encode(value).map_err(|error| Error::with_source(ErrorKind::Corrupt, error))
    }

    fn decode<T>(&self, data: &[u8]) -> Result<T>
    where
        C: Codec<T>,
    {
        self.codec.decode(data).map_err(|error| Error::with_source(ErrorKind::Corrupt, error))
    }
}

impl<S: ?Sized, C> fmt::Debug for Typed<'_, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed").finish_non_exhaustive()
    }
}

impl<T> Codec<T> for Text
where
    T: ToString + FromStr<Err: Into<Box<dyn StdError + Send + Sync>>>,
{
    type Error = Box<dyn StdError + Send + Sync>;

    fn encode(&self, value: &T) -> std::result::Result<Bytes, Self::Error> {
        Ok(value.to_string().into())
    }

    fn decode(&self, data: &[u8]) -> std::result::Result<T, Self::Error> {
        std::str::from_utf8(data)?.parse().map_err(Into::into)
    }
}
