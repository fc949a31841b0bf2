//! Who wants to know what happens.

use super::CacheBuilder;
use crate::removal::Removal;
use crate::value::Value;

impl<V: Value, S> CacheBuilder<V, S> {
    /// Counts hits, misses, loads and removals for [`Cache::stats`](crate::Cache::stats), and which users miss most for
    /// [`Cache::snapshot`](crate::Cache::snapshot); not by default.
    ///
    /// It costs a read-modify-write for each read and each removal, on a counter that few threads
    /// share, and some 20 KiB a shard.
    pub fn record_stats(mut self) -> Self {
        self.records_stats = true;
        self
    }

    /// Is told of each entry that is gone, and why: [`Removal`] says which. Of several listeners
    /// the last one given counts.
    ///
    /// It is called by whoever maintains the cache ([`Maintenance`](crate::Maintenance); a thread or task of the
    /// cache's own looks every 10 ms), and by who closes it, never by the call that removed
    /// the entry. So it may take its time, and call the cache, closing it included; it runs
    /// without any lock, and never twice at once. But while it runs, nobody maintains the cache
    /// who calls it: a driver that it holds up frees nothing that has expired or was deleted.
    ///
    /// What was removed waits in a bounded [queue](Self::removal_queue). If that is full, the event
    /// is dropped and counted in `Stats::removals_dropped`. A panic of the listener
    /// ends that one call, and is counted in `Stats::listener_panics`.
    ///
    /// # Consistency
    ///
    /// Each entry that was stored is reported once, after it is gone, or dropped. What one thread
    /// removed is reported in that order as long as the queue is never full; there is no order
    /// between threads, also not for one key.
    ///
    /// # Examples
    ///
    /// ```
    /// use scopecache::{Cache, Maintenance, RemovalCause};
    /// use std::sync::{Arc, Mutex};
    ///
    /// # fn main() -> scopecache::Result<()> {
    /// let gone = Arc::new(Mutex::new(Vec::new()));
    /// let log = Arc::clone(&gone);
    /// let cache: Cache = Cache::builder()
    ///     .maintenance(Maintenance::Manual)
    ///     .on_removal(move |event| {
    ///         log.lock().expect("no panic").push((event.key().to_vec(), event.cause()));
    ///     })
    ///     .build()?;
    ///
    /// let ada = cache.user("ada")?;
    /// ada.set("theme", "dark")?;
    /// ada.delete_all()?;
    /// cache.maintain(1000);
    /// assert_eq!(*gone.lock().expect("no panic"), [(b"theme".to_vec(), RemovalCause::UserDeleted)]);
    /// # Ok(()) }
    /// ```
    pub fn on_removal(mut self, listener: impl Fn(&Removal) + Send + Sync + 'static) -> Self {
        self.on_removal = Some(Box::new(listener));
        self
    }

    /// How many removals may wait for the listener, at least; 16,384 by default.
    ///
    /// It takes some 50 bytes for each beside `max_bytes`, and for those that wait their names. A
    /// driver looks 100 times a second: more than 1.6 million removals a second are too many for
    /// the default, and so is less if the listener is slower than they come.
    pub fn removal_queue(mut self, removals: usize) -> Self {
        self.removal_queue = removals;
        self
    }
}
