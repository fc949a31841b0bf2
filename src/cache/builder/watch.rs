//! Who wants to know what happens.

use super::CacheBuilder;
use crate::removal::Removal;
use crate::value::Value;

impl<V: Value, S> CacheBuilder<V, S> {
    /// Counts hits, misses, loads and removals for [`Cache::stats`](crate::Cache::stats), and which
    /// users miss most for [`Cache::snapshot`](crate::Cache::snapshot); not by default.
    ///
    /// Each read and each removal then also writes to a counter, which few threads share. All
    /// counters together take up to 20 KiB a shard, beside `max_bytes`.
    pub fn record_stats(mut self) -> Self {
        self.records_stats = true;
        self
    }

    /// Sets the listener that is told of each entry that is gone, whose it was and why; none by
    /// default. What is reported and what is not, [`Removal`] says.
    ///
    /// Whoever maintains the cache calls it (see [`Maintenance`](crate::Maintenance)), and whoever
    /// closes it, which the last handle does: never the call that removed the entry. A thread or
    /// task of the cache's own looks every 10 ms.
    ///
    /// It runs without any lock, and never twice at once. It may call the cache, and close it too.
    /// It may take its time; but a thread or task that it holds up frees nothing meanwhile that
    /// has expired or was deleted. A panic ends that one call, and is counted in
    /// [`Stats::listener_panics`](crate::Stats::listener_panics).
    ///
    /// What was removed waits for it in a bounded [queue](Self::removal_queue). Where that is full,
    /// a removal is not reported, but counted in
    /// [`Stats::removals_dropped`](crate::Stats::removals_dropped).
    ///
    /// A listener that holds a handle of the cache keeps it open until it is closed, and keeps its
    /// memory for as long as it holds the handle.
    ///
    /// # Consistency
    ///
    /// Each entry is reported at most once, after it is gone. What one thread
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
