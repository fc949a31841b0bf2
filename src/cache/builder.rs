//! How a cache is made.

mod build;
mod watch;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use crate::cache::core::Weigher;
use crate::cache::listener::Call;
use crate::cache::upkeep::EVENTS;
use crate::clock::MockClock;
use crate::expiry::ExpiryPolicy;
use crate::policy::Eviction;
use crate::value::Value;

/// Removals that wait for their listener, at most.
const DEFAULT_REMOVAL_QUEUE: usize = 16 << 10;
/// The bound on memory where none is given.
const DEFAULT_MAX_BYTES: u64 = 64 << 20;
const DEFAULT_MAX_VALUE_BYTES: usize = 16 << 20;
const DEFAULT_TICK: Duration = Duration::from_secs(1);

/// What a write meets that finds a bound reached.
///
/// What is deleted or has expired goes first in any case.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// It evicts what is least likely to be asked for again (see [`Eviction`]): a cache.
    #[default]
    Evict,
    /// It fails with `CapacityExceeded`, and nothing that has not expired is ever dropped: a
    /// store.
    Reject,
}

/// Who frees what was deleted or has expired.
///
/// What is deleted or expired is never returned, whoever frees it and when; and a setter that
/// finds no room makes some by itself.
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub enum Maintenance {
    /// A thread named `scopecache` that sleeps while there is nothing to do and ends with the
    /// cache.
    #[default]
    Thread,
    /// A task of this runtime, whose timer must be enabled; it ends with the cache or with the
    /// runtime. Each of its steps takes well under a millisecond.
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    Tokio(tokio::runtime::Handle),
    /// Whoever calls [`Cache::maintain`](crate::Cache::maintain). Writers lend a hand where garbage piles up.
    Manual,
}

/// Settings of a [`Cache`](crate::Cache) to be; made by [`Cache::builder`](crate::Cache::builder).
///
/// ```
/// use scopecache::{Cache, OnFull};
/// use std::time::Duration;
///
/// # fn main() -> scopecache::Result<()> {
/// let cache: Cache = Cache::builder()
///     .max_bytes(16 << 20)
///     .default_ttl(Duration::from_secs(3600))
///     .on_full(OnFull::Reject)
///     .build()?;
/// # let _ = cache; Ok(()) }
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct CacheBuilder<V: Value, S = ahash::RandomState> {
    max_bytes: u64,
    max_retired_bytes: Option<u64>,
    max_value_bytes: usize,
    expected_entries: Option<usize>,
    expiry: Option<ExpiryPolicy<V>>,
    refresh_after: Option<Duration>,
    max_entries: Option<u64>,
    on_full: OnFull,
    eviction: Eviction,
    judges_large: bool,
    huge_pages: bool,
    user_quota: Option<u64>,
    tick: Duration,
    events: usize,
    #[cfg(scopecache_loom)]
    shortcuts: usize,
    shards: Option<usize>,
    maintenance: Maintenance,
    clock: Option<MockClock>,
    weigher: Option<Weigher<V>>,
    records_stats: bool,
    on_removal: Option<Call>,
    removal_queue: usize,
    hasher: S,
    kind: PhantomData<fn() -> V>,
}

impl<V: Value> CacheBuilder<V> {
    pub(super) fn new() -> Self {
        Self {
            max_bytes: DEFAULT_MAX_BYTES,
            max_retired_bytes: None,
            max_value_bytes: DEFAULT_MAX_VALUE_BYTES,
            expected_entries: None,
            expiry: None,
            refresh_after: None,
            max_entries: None,
            on_full: OnFull::default(),
            eviction: Eviction::default(),
            judges_large: true,
            huge_pages: true,
            user_quota: None,
            tick: DEFAULT_TICK,
            events: EVENTS,
            #[cfg(scopecache_loom)]
            shortcuts: 0,
            shards: None,
            maintenance: Maintenance::default(),
            clock: None,
            weigher: None,
            records_stats: false,
            on_removal: None,
            removal_queue: DEFAULT_REMOVAL_QUEUE,
            hasher: ahash::RandomState::new(),
            kind: PhantomData,
        }
    }
}

impl<V: Value, S> CacheBuilder<V, S> {
    /// The bound on the memory in use, in bytes, overhead included; 64 MiB by default.
    ///
    /// The base table (see [`expected_entries`](Self::expected_entries)) comes on top, and so
    /// does what was deleted and not yet freed (see
    /// [`max_retired_bytes`](Self::max_retired_bytes)).
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// The bound on memory that was taken out of use but not yet freed, because readers may
    /// still look at it; an eighth of `max_bytes` and at least 4 MiB by default.
    ///
    /// Writes fail with `CapacityExceeded` above it. An eviction may pass it by one entry. Deletions
    /// never fail; they may pass it.
    pub fn max_retired_bytes(mut self, bytes: u64) -> Self {
        self.max_retired_bytes = Some(bytes);
        self
    }

    /// The greatest length of a value, in bytes; 16 MiB by default.
    pub fn max_value_bytes(mut self, bytes: usize) -> Self {
        self.max_value_bytes = bytes;
        self
    }

    /// How many entries there will be, roughly; `max_bytes / 128` by default.
    ///
    /// The table gets 16 bytes for each and never grows; more entries than expected stand in
    /// overflow lines, which cost reads some time.
    pub fn expected_entries(mut self, entries: usize) -> Self {
        self.expected_entries = Some(entries);
        self
    }

    /// The TTL of entries that are stored without one; none by default.
    ///
    /// It is short for [`expiry`](Self::expiry) with [`ExpiryPolicy::ttl`]; of the two, what is
    /// called last counts.
    pub fn default_ttl(self, ttl: Duration) -> Self {
        self.expiry(ExpiryPolicy::ttl(ttl))
    }

    /// How long entries live that are stored without a TTL of their own; until they are deleted
    /// or evicted by default.
    pub fn expiry(mut self, policy: ExpiryPolicy<V>) -> Self {
        self.expiry = Some(policy);
        self
    }

    /// How old a value may be before [`get_or_load`](crate::Scope::get_or_load) and
    /// [`get_or_load_async`](crate::Scope::get_or_load_async) load it again although it has not
    /// expired (stale while revalidate); never by default.
    ///
    /// The first call that finds an older value runs its loader; all others get the old value
    /// meanwhile, until its deadline. What was loaded is stored only if the very same value still
    /// stands: a write, or a deletion of the key, its session or its user since then is never undone.
    ///
    /// A refresh that fails keeps the old value, which its caller gets as well; it is counted
    /// ([`Stats::failed_refreshes`](crate::Stats::failed_refreshes)), and for an eighth of this time (10 ms
    /// at least, up to twice as long) nobody tries again. One that hangs holds up nobody else; past
    /// the deadline the key is loaded like any that is absent. A call that is to answer at once
    /// hands the work to a task: [`Scope::get_refreshing`](crate::Scope::get_refreshing).
    ///
    /// Age counts from the write, be it by a loader or by a set; renewing a TTL does not make a
    /// value younger. It is looked at by these calls alone: other reads refresh nothing.
    pub fn refresh_after(mut self, age: Duration) -> Self {
        self.refresh_after = Some(age);
        self
    }

    /// A bound on the number of entries besides that on memory; none by default.
    ///
    /// With it, entries count alike in eviction, however large they are.
    pub fn max_entries(mut self, entries: u64) -> Self {
        self.max_entries = Some(entries);
        self
    }

    /// What a write meets that finds a bound reached; [`OnFull::Evict`] by default.
    pub fn on_full(mut self, on_full: OnFull) -> Self {
        self.on_full = on_full;
        self
    }

    /// Which entries a full cache evicts.
    pub fn eviction(mut self, eviction: Eviction) -> Self {
        self.eviction = eviction;
        self
    }

    /// Stores every entry, however large it is.
    ///
    /// Otherwise a full cache does not keep a new entry of more than a twentieth of `max_bytes`
    /// when it is first set, as if it were evicted at once. What is set again soon after is kept as a rule,
    /// once the cache has evicted something (and not with [`Eviction::S3Fifo`], which remembers
    /// nothing of what it refused). So a single huge value that nobody asks for again does not
    /// cost all the others.
    pub fn keep_large(mut self) -> Self {
        self.judges_large = false;
        self
    }

    /// The bytes that each user may hold, its sessions included; as much as there is room for by
    /// default. [`Cache::set_user_quota`](crate::Cache::set_user_quota) sets another one for one user.
    ///
    /// What counts is what [`Scope::usage`](crate::Scope::usage) tells: entries with their headers and
    /// keys. A user that would hold more gives up entries of its own, those first that were not asked
    /// for lately; with [`OnFull::Reject`] its write fails with `QuotaExceeded`. In neither case does a
    /// user ever hold more, and in both an entry that is larger than the quota is refused, while one
    /// that takes the place of a larger one is not. The global namespace has no quota.
    ///
    /// It may be more than `max_bytes`, which counts then. So that no user costs others anything, the
    /// quotas of those who are there should leave a quarter to a third of `max_bytes` for what the cache
    /// takes beside entries.
    pub fn user_quota(mut self, bytes: u64) -> Self {
        self.user_quota = Some(bytes);
        self
    }

    /// How often expired entries are freed, in the background; every second by default, and
    /// every 10 ms at the most.
    ///
    /// An expired entry is never returned, whatever the tick. Its memory is freed within a tick
    /// after its deadline, and the time that maintenance takes to get round to it.
    pub fn tick(mut self, tick: Duration) -> Self {
        self.tick = tick;
        self
    }

    /// Into how many shards counters, eviction queues and timing wheels are split, and retired memory into
    /// as many stripes, rounded up to a power of two.
    ///
    /// Four for each core by default, but no more than leaves 128 expected entries to each. Large
    /// caches have at least one for each 262,144 expected entries, whatever is asked for.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// How many places for shortcuts to nodes a model has; none by default, so that its calls take
    /// the long way.
    #[cfg(scopecache_loom)]
    pub fn shortcuts(mut self, places: usize) -> Self {
        self.shortcuts = places;
        self
    }

    /// Whether a large cache stands on huge pages where the system has them, which makes reads at
    /// random an eighth to a quarter faster; `true` by default.
    ///
    /// The base table asks for them. Maintenance has the system (Linux 6.1 or later) move each 2 MiB
    /// of which entries take about half. Nothing is done on other systems, or where
    /// `/sys/kernel/mm/transparent_hugepage/enabled` says `never`. Turn it off where memory is shared
    /// with forked processes, or limited to the last page.
    pub fn huge_pages(mut self, wanted: bool) -> Self {
        self.huge_pages = wanted;
        self
    }

    /// Who frees what was deleted or has expired; [`Maintenance::Thread`] by default.
    pub fn maintenance(mut self, maintenance: Maintenance) -> Self {
        self.maintenance = maintenance;
        self
    }

    /// A clock that moves only when told to, for tests.
    pub fn clock(mut self, clock: MockClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Tells how many bytes a typed value holds outside its entry (on the heap, say), so that
    /// they count towards `max_bytes`; zero by default. Byte strings are counted anyway.
    ///
    /// It is called once for each value that is stored, and must not call the cache.
    pub fn weigher(
        mut self,
        weigher: impl Fn(&V::Borrowed) -> usize + Send + Sync + 'static,
    ) -> Self {
        self.weigher = Some(Box::new(weigher));
        self
    }

    /// The hasher; `ahash` with keys of its own for each cache by default.
    ///
    /// A hasher without a secret key lets whoever chooses keys put them all into one bucket.
    pub fn hasher<T>(self, hasher: T) -> CacheBuilder<V, T> {
        CacheBuilder {
            max_bytes: self.max_bytes,
            max_retired_bytes: self.max_retired_bytes,
            max_value_bytes: self.max_value_bytes,
            expected_entries: self.expected_entries,
            expiry: self.expiry,
            refresh_after: self.refresh_after,
            max_entries: self.max_entries,
            on_full: self.on_full,
            eviction: self.eviction,
            judges_large: self.judges_large,
            huge_pages: self.huge_pages,
            user_quota: self.user_quota,
            tick: self.tick,
            events: self.events,
            #[cfg(scopecache_loom)]
            shortcuts: self.shortcuts,
            shards: self.shards,
            maintenance: self.maintenance,
            clock: self.clock,
            weigher: self.weigher,
            records_stats: self.records_stats,
            on_removal: self.on_removal,
            removal_queue: self.removal_queue,
            hasher,
            kind: PhantomData,
        }
    }
}

impl<V: Value, S> fmt::Debug for CacheBuilder<V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("max_bytes", &self.max_bytes)
            .field("expiry", &self.expiry)
            .field("on_full", &self.on_full)
            .field("maintenance", &self.maintenance)
            .finish_non_exhaustive()
    }
}
