//! Loading what is absent: one loader for each key, blocking or not.

use std::error::Error as StdError;
use std::hash::BuildHasher;

use crate::cache::lease::{Asks, Begin, Lease, Running, landed};
use crate::cache::refresh::Refresh;
use crate::cache::scope::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::item::Item;
use crate::options::SetOptions;
use crate::value::{IntoValue, Value};

impl<V: Value, S: BuildHasher<Hasher: Clone>> Scope<V, S> {
    /// Takes the right to store a key that is absent and that nobody is loading. A value that is
    /// there is not read by it: it does not count as a hit, and renews no sliding TTL.
    ///
    /// # Errors
    ///
    /// `Conflict` where there is an item, or somebody else has the lease; `InvalidKey`,
    /// `CapacityExceeded`, `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> scopecache::Result<()> {
    /// # let cache: scopecache::Cache = scopecache::Cache::builder().build()?;
    /// let scope = cache.user("ada")?;
    /// let lease = scope.lease("profile")?;
    /// scope.delete("profile")?; // what the lease was going to store is out of date
    /// assert_eq!(lease.fulfil("old")?, None);
    /// assert!(scope.get("profile")?.is_none());
    /// # Ok(()) }
    /// ```
    pub fn lease(&self, key: impl AsRef<[u8]>) -> Result<Lease<V, S>> {
        let key = key.as_ref();
        match self.core().begin_load(&self.target(key)?, Asks::Lease)? {
            Begin::Lead(flight) => Ok(Lease::new(self, key, flight)),
            Begin::Hit(_) | Begin::Refresh(_) => {
                Err(Error::with_detail(ErrorKind::Conflict, "the key already has a value"))
            }
            Begin::Join(_) => {
                Err(Error::with_detail(ErrorKind::Conflict, "the key is being loaded"))
            }
        }
    }

    /// Returns the live item, or loads it: of all callers at a time one runs `loader`, and the
    /// others block until it is done.
    ///
    /// The loaded value is stored only if the key, its session and its user were neither
    /// written nor deleted since the load began; it is returned in any case to the one who
    /// loaded it.
    ///
    /// With [`refresh_after`](crate::CacheBuilder::refresh_after), one caller runs `loader` for a
    /// value that has become old, too; whatever goes wrong then, it gets the old value.
    ///
    /// # Errors
    ///
    /// `Loader` with the loader's error as its source (nothing is stored, and one of those who
    /// wait loads next); `Conflict` where a loader asks for the key that it is loading; those of
    /// [`set`](Self::set).
    ///
    /// # Panics
    ///
    /// If the loader does; the lease, or the right to refresh, is given up then.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> scopecache::Result<()> {
    /// # let cache: scopecache::Cache = scopecache::Cache::builder().build()?;
    /// let scope = cache.user("ada")?;
    /// let item = scope.get_or_load("profile", || std::io::Result::Ok("from the database"))?;
    /// assert_eq!(item.data(), b"from the database");
    /// # Ok(()) }
    /// ```
    ///
    /// That there is no such row is remembered, too, but for ten seconds only:
    ///
    /// ```
    /// # fn main() -> scopecache::Result<()> {
    /// use scopecache::{Cache, ExpiryPolicy};
    /// use std::time::Duration;
    ///
    /// let ttl = |row: &Option<String>| if row.is_some() { 3600 } else { 10 };
    /// let rows: Cache<Option<String>> = Cache::builder()
    ///     .expiry(ExpiryPolicy::per_entry(move |_, _, row: &Option<String>| {
    ///         Some(Duration::from_secs(ttl(row)))
    ///     }))
    ///     .build()?;
    /// let item = rows.user("ada")?.get_or_load("row 7", || std::io::Result::Ok(None))?;
    /// assert!(item.value().is_none() && item.expires_at().is_some());
    /// # Ok(()) }
    /// ```
    pub fn get_or_load<I, E>(
        &self,
        key: impl AsRef<[u8]>,
        loader: impl FnOnce() -> std::result::Result<I, E>,
    ) -> Result<Item<V>>
    where
        I: IntoValue<V>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.get_or_load_with(key, SetOptions::new(), loader)
    }

    /// As [`get_or_load`](Self::get_or_load), with options for what is stored.
    ///
    /// # Errors
    ///
    /// As for `get_or_load`.
    pub fn get_or_load_with<I, E>(
        &self,
        key: impl AsRef<[u8]>,
        options: SetOptions,
        loader: impl FnOnce() -> std::result::Result<I, E>,
    ) -> Result<Item<V>>
    where
        I: IntoValue<V>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        // Before anything is loaded in vain.
        self.core().check_options(&options)?;
        let key = key.as_ref();
        loop {
            match self.core().begin_load(&self.target(key)?, Asks::Value)? {
                Begin::Hit(item) => {
                    self.core().count_found();
                    return Ok(item);
                }
                Begin::Refresh(old) => {
                    self.core().count_found();
                    let refresh = Refresh::new(self, key, old.version());
                    return Ok(refresh.finish(loader(), options, old));
                }
                Begin::Join(flight) => {
                    Running::check_not_inside(&flight)?;
                    flight.wait();
                }
                Begin::Lead(flight) => {
                    let lease = Lease::new(self, key, flight);
                    let counted = self.core().begin_count(self.namespace());
                    let loaded = {
                        let _running = Running::new(lease.flight());
                        loader()
                    };
                    counted.ended(&loaded);
                    return self.finish_load(lease, loaded, options);
                }
            }
        }
    }

    /// Returns the live item, or loads it: of all callers at a time one drives `loader`, and the
    /// others wait without blocking. `loader` is not polled where it is not needed.
    ///
    /// What is said at [`get_or_load`](Self::get_or_load) holds here too. A loader that waits
    /// for another task, which asks for the same key, waits for ever: that cannot be seen.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answered, it has stored nothing, and one of those who wait loads next; a
    /// refresh is left to the next hit.
    ///
    /// # Errors
    ///
    /// As for `get_or_load`.
    pub async fn get_or_load_async<I, E>(
        &self,
        key: impl AsRef<[u8]>,
        loader: impl Future<Output = std::result::Result<I, E>>,
    ) -> Result<Item<V>>
    where
        I: IntoValue<V>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.get_or_load_async_with(key, SetOptions::new(), loader).await
    }

    /// As [`get_or_load_async`](Self::get_or_load_async), with options for what is stored.
    ///
    /// # Errors
    ///
    /// As for `get_or_load`.
    pub async fn get_or_load_async_with<I, E>(
        &self,
        key: impl AsRef<[u8]>,
        options: SetOptions,
        loader: impl Future<Output = std::result::Result<I, E>>,
    ) -> Result<Item<V>>
    where
        I: IntoValue<V>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        // Before anything is loaded in vain.
        self.core().check_options(&options)?;
        let key = key.as_ref();
        loop {
            let begin = self.core().begin_load(&self.target(key)?, Asks::Value)?;
            match begin {
                Begin::Hit(item) => {
                    self.core().count_found();
                    return Ok(item);
                }
                Begin::Refresh(old) => {
                    self.core().count_found();
                    let refresh = Refresh::new(self, key, old.version());
                    return Ok(refresh.finish(loader.await, options, old));
                }
                Begin::Join(flight) => landed(flight).await?,
                Begin::Lead(flight) => {
                    let lease = Lease::new(self, key, flight);
                    let counted = self.core().begin_count(self.namespace());
                    let mut loader = std::pin::pin!(loader);
                    let loaded = std::future::poll_fn(|context| {
                        let _running = Running::new(lease.flight());
                        loader.as_mut().poll(context)
                    })
                    .await;
                    counted.ended(&loaded);
                    return self.finish_load(lease, loaded, options);
                }
            }
        }
    }

    fn finish_load<I, E>(
        &self,
        lease: Lease<V, S>,
        loaded: std::result::Result<I, E>,
        options: SetOptions,
    ) -> Result<Item<V>>
    where
        I: IntoValue<V>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let value = loaded.map_err(|error| Error::with_source(ErrorKind::Loader, error))?;
        lease.land(value, options)
    }
}
