//! What is done to a storage, counted, timed and traced.
//!
//! ```text
//!   caller ──► Observed ──► the storage
//!                 ├── Meters    counters and histograms   (feature `metrics`)
//!                 └── Trace     a span for each call      (feature `tracing`)
//! ```
//!
//! Every method of the trait is passed on as itself, those with provided bodies too: what the storage does
//! better than they would is not lost. Only a loader is wrapped, to see whether it was asked.
//!
//! No id, key or value becomes a label, and none stands in a span as it is: see [`Observed`].

mod call;
#[cfg_attr(not(feature = "metrics"), path = "observed/no_meters.rs")]
mod meters;
#[cfg_attr(not(feature = "tracing"), path = "observed/no_trace.rs")]
mod trace;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use self::call::{Call, Cause, Done, Op, Watch};
use self::meters::Meters;
#[cfg(feature = "metrics")]
use crate::cache::Stats;
use crate::error::Result;
use crate::item::{Removed, Version};
use crate::namespace::Namespace;
use crate::options::Condition;
use crate::storage::{Capabilities, Listing, Loader, Options, Page, Storage, StorageItem};

/// A [`Storage`] that tells what is done to another: with the feature `metrics` to the recorder of the
/// crate `metrics`, with the feature `tracing` to the subscriber of `tracing`.
///
/// It answers as the storage behind it does, whichever that is, and has its
/// [capabilities](Storage::capabilities).
///
/// # Metrics
///
/// | name | labels | |
/// |---|---|---|
/// | `scopecache_gets_total` | `result`: `hit`, `miss`; `scope` | items asked for by `get`, `get_many` and `load`; a load is a miss where its own loader was asked |
/// | `scopecache_puts_total` | `result`: `stored`, `unmet`; `scope` | values given to `set`, `set_many` and `write`; `unmet` where the condition did not hold |
/// | `scopecache_removals_total` | `cause`: `delete`, `take`, `delete_session`, `delete_user`, `delete_global` | entries removed, as far as the storage knows ([`counts_removed_entries`](Capabilities::counts_removed_entries)) |
/// | `scopecache_errors_total` | `op`, `kind` | calls that failed, by [`ErrorKind`](crate::ErrorKind); `cancelled` for one that was dropped, or whose loader panicked |
/// | `scopecache_op_duration_seconds` | `op` | a histogram, of calls that failed or were dropped too |
///
/// `scope` is `global`, `user` or `session`; `op` the name of the method. What a storage removes of itself
/// (expiry, eviction) no call tells, so it is not counted here.
///
#[cfg_attr(feature = "metrics", doc = "[`record`](Self::record) adds gauges of an embedded cache.")]
///
/// Counters are looked up once, when this is made: install the recorder first.
///
/// # Spans
///
/// A span `scopecache` of level `DEBUG` for each call, with `op`, `scope`, `user`, `session`, `key`, `keys` (how
/// many, of a bulk call) and, in the end, `outcome` or `error`; and for each error an event, of level `WARN` where it
/// is the storage's (`unavailable`, `backend`, `corrupt`, `timeout`), else of `DEBUG`. Ids and keys appear as
/// keyed hashes of 64 bits whose key is drawn anew for each process: equal ones can be followed through a log, and
/// nobody can find out by trying whose they are. Errors are named by their kind alone.
///
/// # Complexity
///
/// One more allocation for each call; where a recorder is installed two looks at a monotonic clock and some atomic
/// additions; and with an enabled span a hash of each id.
///
/// In nanoseconds a call, above an embedded cache of which a get that hits took 150 to 190 and an overwrite 290 to
/// 400 (medians of 1,001 short rounds, each way in turn; five runs, on two busy cores of an Intel Xeon virtual machine;
/// `--measure` of `examples/observed`):
///
/// | | get | set |
/// |---|--:|--:|
/// | no recorder | 73 to 91 | 76 to 98 |
/// | a recorder of Prometheus, durations in 14 buckets | 218 to 294 | 227 to 294 |
/// | no recorder, spans written out (a subscriber at `DEBUG`) | 7,500 to 11,200 | 7,500 to 11,200 |
///
/// A subscriber at `INFO` adds nothing that can be told from noise: what is not heard is not made.
///
/// # Examples
///
/// ```
/// use scopecache::{Cache, Observed, Options, Storage};
/// use std::sync::Arc;
///
/// # fn main() -> scopecache::Result<()> { pollster::block_on(async {
/// // metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder(), or another; then:
/// let cache: Cache = Cache::builder().build()?;
/// let storage: Arc<dyn Storage> = Arc::new(Observed::named("profiles", Arc::new(cache)));
/// assert!(storage.get("theme", Options::new().with_user("ada")).await?.is_none()); // a miss
/// # Ok(()) }) }
/// ```
#[derive(Clone)]
pub struct Observed {
    storage: Arc<dyn Storage>,
    meters: Arc<Meters>,
}

impl Observed {
    /// Tells what is done to `storage` through this.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, meters: Arc::new(Meters::new(None)) }
    }

    /// The same for one of several: all its metrics have the label `storage` with this name.
    pub fn named(name: &'static str, storage: Arc<dyn Storage>) -> Self {
        Self { storage, meters: Arc::new(Meters::new(Some(name))) }
    }

    /// Sets the gauges of an embedded cache. Call it whenever the metrics are collected:
    /// `observed.record(&cache.stats())`.
    ///
    /// | name | of [`Stats`] |
    /// |---|---|
    /// | `scopecache_entries`, `_users`, `_sessions` | `entries`, `users`, `sessions` |
    /// | `scopecache_bytes` | `live_bytes`: at most `max_bytes` |
    /// | `scopecache_retired_bytes` | `retired_bytes`: out of use, not yet freed |
    /// | `scopecache_pending_reclaim_bytes` | `pending_reclaim_bytes`: of deleted namespaces, still among `scopecache_bytes` |
    /// | `scopecache_reclaim_pending` | `reclaim_pending`: 1 while deleted namespaces wait |
    /// | `scopecache_table_bytes` | `table_bytes` |
    #[cfg(feature = "metrics")]
    pub fn record(&self, stats: &Stats) {
        self.meters.record(stats);
    }

    /// Drives a call of the storage, and tells what came of it.
    async fn watch<T>(
        &self,
        call: Call<'_>,
        answer: impl Future<Output = Result<T>> + Send,
        done: impl FnOnce(&T) -> Done + Send,
    ) -> Result<T> {
        let watch = Watch::begin(&self.meters, &call);
        let answer = match watch.trace() {
            trace if trace.is_heard() => trace.follow(answer).await,
            _ => answer.await,
        };
        watch.end(answer.as_ref().map(done).map_err(|error| error.kind()));
        answer
    }
}

#[async_trait]
impl Storage for Observed {
    async fn get(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        let call = Call::new(Op::Get, options.namespace()).key(key);
        self.watch(call, self.storage.get(key, options), |item| Done::read([item])).await
    }

    async fn set(&self, key: &str, data: Bytes, options: Options<'_>) -> Result<Version> {
        let call = Call::new(Op::Set, options.namespace()).key(key);
        self.watch(call, self.storage.set(key, data, options), |_| Done::stored(1)).await
    }

    async fn delete(&self, options: Options<'_>) -> Result<Removed> {
        let mut call = Call::new(Op::Delete, options.namespace());
        let cause = match options.key() {
            Some(key) => {
                call = call.key(key);
                Cause::Delete
            }
            None => Cause::of_namespace(options.namespace()),
        };
        self.watch(call, self.storage.delete(options), |removed| Done::Removed {
            cause,
            entries: removed.entries,
        })
        .await
    }

    async fn close(&self) -> Result<()> {
        let call = Call::new(Op::Close, Namespace::Global);
        self.watch(call, self.storage.close(), |()| Done::Other).await
    }

    async fn write(
        &self,
        key: &str,
        data: Bytes,
        condition: Condition,
        options: Options<'_>,
    ) -> Result<Option<Version>> {
        let call = Call::new(Op::Write, options.namespace()).key(key);
        let write = self.storage.write(key, data, condition, options);
        self.watch(call, write, |version| match version {
            Some(_) => Done::stored(1),
            None => Done::Unmet,
        })
        .await
    }

    async fn take(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        let call = Call::new(Op::Take, options.namespace()).key(key);
        self.watch(call, self.storage.take(key, options), |item| Done::Removed {
            cause: Cause::Take,
            entries: u64::from(item.is_some()),
        })
        .await
    }

    async fn touch(&self, key: &str, options: Options<'_>) -> Result<bool> {
        let call = Call::new(Op::Touch, options.namespace()).key(key);
        self.watch(call, self.storage.touch(key, options), |_| Done::Other).await
    }

    async fn keys(&self, page: Page<'_>, options: Options<'_>) -> Result<Listing> {
        let call = Call::new(Op::Keys, options.namespace());
        self.watch(call, self.storage.keys(page, options), |_| Done::Other).await
    }

    async fn sessions(&self, user: &str, page: Page<'_>) -> Result<Listing> {
        let call = Call::new(Op::Sessions, Namespace::User { user });
        self.watch(call, self.storage.sessions(user, page), |_| Done::Other).await
    }

    fn capabilities(&self) -> Capabilities {
        self.storage.capabilities()
    }

    async fn load(
        &self,
        key: &str,
        options: Options<'_>,
        loader: Loader<'_>,
    ) -> Result<StorageItem> {
        let call = Call::new(Op::Load, options.namespace()).key(key);
        let asked = AtomicBool::new(false);
        let loader = Box::pin(async {
            // Relaxed: read after the load has ended, which ends this future before.
            asked.store(true, Ordering::Relaxed);
            loader.await
        });
        self.watch(call, self.storage.load(key, options, loader), |_| {
            let misses = u64::from(asked.load(Ordering::Relaxed));
            Done::Read { hits: 1 - misses, misses }
        })
        .await
    }

    async fn get_many(
        &self,
        keys: &[&str],
        options: Options<'_>,
    ) -> Result<Vec<Option<StorageItem>>> {
        let call = Call::new(Op::GetMany, options.namespace()).keys(keys.len());
        self.watch(call, self.storage.get_many(keys, options), |items| Done::read(items)).await
    }

    async fn set_many(
        &self,
        items: &[(&str, Bytes)],
        options: Options<'_>,
    ) -> Result<Vec<Version>> {
        let call = Call::new(Op::SetMany, options.namespace()).keys(items.len());
        let set = self.storage.set_many(items, options);
        self.watch(call, set, |versions| Done::stored(versions.len() as u64)).await
    }

    async fn delete_many(&self, keys: &[&str], options: Options<'_>) -> Result<Removed> {
        let call = Call::new(Op::DeleteMany, options.namespace()).keys(keys.len());
        self.watch(call, self.storage.delete_many(keys, options), |removed| Done::Removed {
            cause: Cause::Delete,
            entries: removed.entries,
        })
        .await
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").finish_non_exhaustive()
    }
}
