//! The embedded engine as a storage.
//!
//! Every call is the engine's synchronous one, done within the first poll. Two of them may wait:
//!
//! - a write that finds too much retired but unfreed memory (some reader holds a guard for long)
//!   yields to the executor and tries again until its timeout; without one it fails at once;
//! - a load waits for its loader, or for somebody else's.
//!
//! There is no timer: the clock is looked at whenever the call is polled.

use std::hash::BuildHasher;

use async_trait::async_trait;
use bytes::Bytes;

use crate::cache::Cache;
use crate::error::Result;
use crate::item::{Removed, Version};
use crate::namespace::check_key;
use crate::options::{Condition, SetOptions};
use crate::storage::{
    Capabilities, Deadline, Expiry, Listing, Loader, Operation, Options, Page, Storage,
    StorageItem, check_keys,
};
use crate::value::Blob;

/// The engine behind the portable interface.
///
/// It has every [capability](Capabilities) of a storage within one process: all calls are
/// linearizable, a namespace goes at one moment, and a load stores nothing that a delete has
/// overtaken.
///
/// # Complexity
///
/// As that of the [`Scope`](crate::Scope)'s calls, and an allocation for each future. A page of
/// `keys` costs `O(keys)` of the namespace, whatever its limit; one of `sessions` likewise.
/// `delete` of one key counts the entry in [`Removed`] and leaves the bytes zero.
///
/// # Errors
///
/// A timeout is honoured where a call may wait, whenever its future is polled: by a write that
/// meets `max_retired_bytes` (it keeps its executor busy meanwhile; without a timeout it fails
/// with `CapacityExceeded` at once), and by a load. There is no timer: a load whose loader never
/// wakes its task is not polled again and does not end; give the loader a timeout of your
/// runtime if it may hang. An answer that is there is given, however late. A loader that has
/// ended is not asked again: where its answer then finds no room, the load fails with
/// `CapacityExceeded` whatever its timeout.
///
/// # Cancel safety
///
/// All calls but the two that wait end within their first poll. A write that is dropped while it
/// waits has changed nothing. A load that is dropped has stored nothing and gives its place to
/// one of those who wait.
#[async_trait]
impl<S> Storage for Cache<Blob, S>
where
    S: BuildHasher<Hasher: Clone + Send + Sync> + Send + Sync + 'static,
{
    async fn get(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        let call = options.check(Operation::Get)?;
        Ok(Cache::get(self, call.namespace, key)?.map(StorageItem::from))
    }

    async fn set(&self, key: &str, data: Bytes, options: Options<'_>) -> Result<Version> {
        let version = Storage::write(self, key, data, Condition::Always, options).await?;
        Ok(version.expect("an unconditional write happens"))
    }

    async fn delete(&self, options: Options<'_>) -> Result<Removed> {
        let call = options.check(Operation::Delete)?;
        match call.key {
            Some(key) => Ok(one(Cache::delete(self, call.namespace, key)?)),
            None => self.delete_namespace(call.namespace),
        }
    }

    /// Frees everything before it answers: `O(entries)`, within one poll.
    async fn close(&self) -> Result<()> {
        Cache::close(self);
        Ok(())
    }

    async fn write(
        &self,
        key: &str,
        data: Bytes,
        condition: Condition,
        options: Options<'_>,
    ) -> Result<Option<Version>> {
        let call = options.check(Operation::Write)?;
        let how = set_options(call.expiry);
        unless_held_up(Deadline::after(call.timeout), || {
            Cache::write(self, call.namespace, key, &data[..], condition, &how)
        })
        .await
    }

    async fn take(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        let call = options.check(Operation::Take)?;
        Ok(Cache::take(self, call.namespace, key)?.map(StorageItem::from))
    }

    async fn touch(&self, key: &str, options: Options<'_>) -> Result<bool> {
        let call = options.check(Operation::Touch)?;
        let Expiry::Ttl(ttl) = call.expiry else { unreachable!("a touch has a TTL") };
        unless_held_up(Deadline::after(call.timeout), || {
            Cache::touch(self, call.namespace, key, ttl)
        })
        .await
    }

    async fn keys(&self, page: Page<'_>, options: Options<'_>) -> Result<Listing> {
        let call = options.check(Operation::List)?;
        page.check()?;
        let keys = Cache::keys(self, call.namespace)?.into_iter();
        Ok(page.cut(keys.filter_map(|key| String::from_utf8(key.into()).ok())))
    }

    async fn sessions(&self, user: &str, page: Page<'_>) -> Result<Listing> {
        page.check()?;
        Ok(page.cut(Cache::sessions(self, user)?))
    }

    fn capabilities(&self) -> Capabilities {
        let mut all = Capabilities::none();
        all.atomic_namespace_delete = true;
        all.exact_expiry = true;
        all.single_loader = true;
        all.linearizable = true;
        all.versions = true;
        all.keep_ttl = true;
        all.sliding_ttl = true;
        all.lists_keys = true;
        all.lists_sessions = true;
        all.counts_removed_entries = true;
        all.counts_removed_bytes = true;
        all
    }

    async fn load(
        &self,
        key: &str,
        options: Options<'_>,
        mut loader: Loader<'_>,
    ) -> Result<StorageItem> {
        let call = options.check(Operation::Write)?;
        let how = set_options(call.expiry);
        let deadline = Deadline::after(call.timeout);
        let scope = self.scope(call.namespace)?;
        let load = async {
            loop {
                let mut loaded = false;
                let once = async {
                    let answer = (&mut loader).await;
                    loaded = true;
                    answer
                };
                let item = scope.get_or_load_async_with(key, how, once).await;
                match item {
                    // A loader runs once: one that has ended is not asked again.
                    Err(error) if !loaded && deadline.is_set() && error.is_held_up() => {
                        deadline.yield_now().await?;
                    }
                    item => return Ok(item?.into()),
                }
            }
        };
        deadline.limit(load).await
    }

    async fn get_many(
        &self,
        keys: &[&str],
        options: Options<'_>,
    ) -> Result<Vec<Option<StorageItem>>> {
        let call = options.check(Operation::Get)?;
        let items = self.scope(call.namespace)?.get_many(keys)?;
        Ok(items.into_iter().map(|item| item.map(StorageItem::from)).collect())
    }

    async fn set_many(
        &self,
        items: &[(&str, Bytes)],
        options: Options<'_>,
    ) -> Result<Vec<Version>> {
        let call = options.check(Operation::Write)?;
        items.iter().try_for_each(|(key, _)| check_key(key.as_bytes()))?;
        let how = set_options(call.expiry);
        let deadline = Deadline::after(call.timeout);
        let scope = self.scope(call.namespace)?;
        let mut versions = Vec::with_capacity(items.len());
        for (key, data) in items {
            let set = || scope.set_with(key, &data[..], how);
            versions.push(unless_held_up(deadline, set).await?);
        }
        Ok(versions)
    }

    async fn delete_many(&self, keys: &[&str], options: Options<'_>) -> Result<Removed> {
        let call = options.check(Operation::DeleteMany)?;
        check_keys(keys)?;
        let entries = self.scope(call.namespace)?.delete_many(keys)?;
        Ok(Removed { entries, bytes: 0 })
    }
}

/// Makes the call; while a reader keeps too much from being freed, again and again until the
/// deadline, if there is one.
async fn unless_held_up<T>(deadline: Deadline, mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(error) if deadline.is_set() && error.is_held_up() => deadline.yield_now().await?,
            answer => return answer,
        }
    }
}

fn one(removed: bool) -> Removed {
    Removed { entries: u64::from(removed), bytes: 0 }
}

fn set_options(expiry: Expiry) -> SetOptions {
    let options = SetOptions::new();
    match expiry {
        Expiry::Default => options,
        Expiry::Ttl(ttl) => options.ttl(ttl),
        Expiry::Keep => options.keep_ttl(),
        Expiry::Sliding { ttl, max_lifetime } => options.ttl(ttl).sliding(max_lifetime),
    }
}
