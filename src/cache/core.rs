//! The engine's inside: what all operations share.
//!
//! An operation takes a guard, addresses a key by a [`Target`], and works on the entries that
//! [`Core::look`] (for readers) or [`Core::first`] (for inserters) find. What leaves the table is
//! the matter of [`super::exit`].

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::budget::{Account, Budget};
use crate::cache::counts::Counts;
use crate::cache::listener::Listener;
use crate::cache::maintenance::Maintenance;
use crate::cache::node_cell::NodeCell;
use crate::cache::quota::Hands;
use crate::cache::refresh::{Refreshed, Refreshing};
use crate::cache::target::{Target, is_of};
use crate::cache::upkeep::{Events, NOTHING_DUE, Need, Upkeep};
use crate::clock::{Clock, Nanos};
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
use crate::directory::free_garbage;
use crate::directory::{Directory, NO_QUOTA, Node, Shortcuts};
use crate::error::{Error, ErrorKind, Result};
use crate::expiry::ExpiryPolicy;
use crate::item::Item;
use crate::memory::prefetch;
use crate::policy::{Eviction, Policy};
use crate::reclaim::{Guard, Retired, Stash};
use crate::stripe;
use crate::sync::Mutex;
use crate::sync::atomic::Ordering;
use crate::sync::figures::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
use crate::table::{self, Entry, MOST_SHARD_BUCKETS, Owner, Seen, Slot, State, Table};
use crate::value::Value;

/// What a typed value holds outside its entry, in bytes.
pub(crate) type Weigher<V> =
    Box<dyn Fn(&<V as crate::value::sealed::Stored>::Borrowed) -> usize + Send + Sync>;

/// Where entries go that were taken out.
type EntryStash<V> = Stash<Entry<V, Node>>;

pub(crate) struct Core<V: Value, S> {
    pub(crate) table: Table<V, Node>,
    pub(crate) directory: Directory,
    pub(crate) shards: Box<[CachePadded<Shard>]>,
    pub(crate) budget: Budget,
    /// The bound on the number of entries, where there is one.
    pub(crate) entries_budget: Option<Budget>,
    /// The part of a shard that is for entries which have still to prove themselves: the bits of
    /// an `f32`.
    small_share: AtomicU32,
    /// Counts evictions, to compare each one's shard with another.
    pub(super) next_shard: AtomicUsize,
    pub(crate) clock: Clock,
    pub(crate) hasher: S,
    pub(crate) settings: Settings<V>,
    pub(crate) maintenance: Maintenance,
    pub(super) hands: Hands,
    #[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
    pub(crate) driver: std::sync::OnceLock<crate::cache::driver::Driver>,
    /// What was taken out, by the thread that did it.
    pub(super) stashes: Box<[CachePadded<EntryStash<V>>]>,
    /// The last wait for readers, so that what is retired could be freed, was in vain.
    pub(super) readers_stall: AtomicBool,
    pub(super) retired: Arc<Retired<Entry<V, Node>>>,
    /// Somebody wants to know what leaves.
    pub(super) is_watched: bool,
    pub(super) refreshed: Refreshed,
    /// Buckets of a shard, as a power of two.
    shard_shift: u32,
}

pub(crate) struct Settings<V: Value> {
    /// For entries without a TTL of their own; `None`: they have none.
    pub(crate) expiry: Option<ExpiryPolicy<V>>,
    /// When loaded values are loaded again, where they are.
    pub(crate) refreshing: Option<Refreshing>,
    pub(crate) max_value_bytes: usize,
    pub(crate) max_retired_bytes: u64,
    pub(crate) weigher: Option<Weigher<V>>,
    /// Which entries leave a full cache; `None`: none.
    pub(crate) eviction: Option<Eviction>,
    /// Whether a full cache may refuse a large entry that it does not know.
    pub(crate) judges_large: bool,
    /// Maintenance moves entries to huge pages.
    #[cfg_attr(
        any(scopecache_loom, scopecache_shuttle),
        expect(dead_code, reason = "models have no pages")
    )]
    pub(crate) huge_pages: bool,
    /// The bound on the number of entries.
    pub(crate) max_entries: Option<u64>,
    /// What a user may hold, in bytes; `None`: what it likes.
    pub(crate) user_quota: Option<u64>,
    /// The length of a tick of the timing wheels.
    pub(crate) tick: Nanos,
    /// Events that the ring of a shard holds.
    pub(crate) events: usize,
    /// What happens is counted.
    pub(crate) counts: Option<Box<Counts>>,
    /// What leaves is reported.
    pub(crate) listener: Option<Box<Listener>>,
}

/// A share of the table with what would be contended if it were one for all.
pub(crate) struct Shard {
    /// Entries in slots.
    pub(super) entries: AtomicU64,
    pub(super) events: Events,
    /// Handles in the wheel: whether there is something to wait for.
    pub(super) armed: AtomicU64,
    /// The tick at which the wheel is to be looked at.
    pub(super) due: AtomicU64,
    /// What the entries in the eviction queues weigh.
    pub(super) queued: AtomicU64,
    pub(super) upkeep: Mutex<Upkeep>,
}

/// What a reader finds under a key.
pub(crate) enum Sight<'g, V: Value> {
    /// Nothing that counts.
    Absent,
    /// Nothing at all: no entry of the key, in whatever state.
    Nothing,
    Present(Slot<'g, V, Node>, Seen<'g, V, Node>),
    /// A placeholder: absent, but being loaded.
    Loading(Slot<'g, V, Node>, Seen<'g, V, Node>),
}

impl Shard {
    pub(super) fn has_entries(&self) -> bool {
        // Relaxed: a statistic.
        self.entries.load(Ordering::Relaxed) > 0
    }

    /// When its wheel is to be looked at; `None` where that holds nothing.
    pub(super) fn due_at(&self, tick: Nanos) -> Option<Nanos> {
        // Relaxed: a figure.
        let due = self.due.load(Ordering::Relaxed);
        (due != NOTHING_DUE).then(|| due.saturating_mul(tick))
    }
}

impl<V: Value, S> Core<V, S> {
    pub(crate) fn new(
        table: Table<V, Node>,
        shortcuts: Shortcuts,
        budget: Budget,
        shards: usize,
        clock: Clock,
        hasher: S,
        settings: Settings<V>,
    ) -> Self {
        assert!(table.buckets() / shards <= MOST_SHARD_BUCKETS, "handles are short");
        // What lies in the stashes together stays below an eighth of what may be retired. Writers
        // keep as much to write into, beside the batches that they are at.
        let part = settings.max_retired_bytes / (8 * shards as u64);
        let (batch_bytes, spare_bytes) = (part.min(16 << 10), part.min(128 << 10));
        let now = clock.now() / settings.tick;
        let total = settings.max_entries.unwrap_or(budget.max());
        let shard = || {
            let policy = settings.eviction.map(|kind| Policy::new(kind, total, shards as u64));
            Shard {
                entries: AtomicU64::new(0),
                events: Events::new(settings.events),
                armed: AtomicU64::new(0),
                due: AtomicU64::new(NOTHING_DUE),
                queued: AtomicU64::new(0),
                upkeep: Mutex::new(Upkeep::new(policy, now)),
            }
        };
        Self {
            shard_shift: (table.buckets() / shards).trailing_zeros(),
            shards: (0..shards).map(|_| CachePadded::new(shard())).collect(),
            stashes: (0..shards)
                .map(|number| CachePadded::new(Stash::new(number, batch_bytes, spare_bytes)))
                .collect(),
            table,
            directory: Directory::new(shortcuts, settings.user_quota.unwrap_or(NO_QUOTA)),
            entries_budget: settings.max_entries.map(|max| Budget::new(max, shards)),
            small_share: AtomicU32::new(Policy::START_SHARE.to_bits()),
            next_shard: AtomicUsize::new(0),
            budget,
            clock,
            hasher,
            is_watched: settings.counts.is_some() || settings.listener.is_some(),
            settings,
            maintenance: Maintenance::new(),
            hands: Hands::new(shards),
            #[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
            driver: std::sync::OnceLock::new(),
            readers_stall: AtomicBool::new(false),
            retired: Arc::new(Retired::new(shards)),
            refreshed: Refreshed::default(),
        }
    }

    #[inline]
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.directory.is_closed() { Err(closed()) } else { Ok(()) }
    }

    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        self.clock.now()
    }

    /// The time of a write without a deadline. Exact only where its age is going to be asked for.
    #[inline]
    pub(crate) fn stamp(&self) -> Nanos {
        if self.settings.refreshing.is_some() { self.clock.now() } else { self.clock.stamp() }
    }

    /// Buckets of a shard.
    pub(crate) fn shard_buckets(&self) -> usize {
        1 << self.shard_shift
    }

    pub(crate) fn shard_of_bucket(&self, bucket: usize) -> usize {
        bucket >> self.shard_shift
    }

    pub(crate) fn shard(&self, hash: u64) -> usize {
        self.shard_of_bucket(self.table.bucket(hash))
    }

    /// What wheel and queues of its shard call what stands under a hash.
    pub(crate) fn shorten(&self, hash: u64) -> u32 {
        table::shorten(hash, self.shard_buckets())
    }

    /// A handle to what wheel or queues of a shard call so: as good as its hash.
    pub(crate) fn lengthen(&self, short: u32, shard: usize) -> u64 {
        table::lengthen(short, shard * self.shard_buckets())
    }

    pub(crate) fn account(&self, hash: u64) -> Account<'_> {
        self.budget.account(self.shard(hash))
    }

    /// Starts to fetch what [`look`](Self::look) reads first into the cache; needs no guard.
    #[inline]
    pub(crate) fn prefetch(&self, target: &Target<'_>) {
        self.table.prefetch_bucket(target.hash);
        match target.cell {
            Some(cell) => prefetch(cell.get()),
            None => self.directory.shortcuts.prefetch(target.prefix_hash),
        }
    }

    /// The namespace's node, where the scope or a shortcut knows it; it may be dead or closed.
    #[inline]
    pub(super) fn known<'g>(&'g self, target: &Target<'_>, guard: &'g Guard) -> Option<&'g Node> {
        match target.cell {
            Some(cell) => cell.node(guard),
            None => self.known_by_shortcut(target, guard),
        }
    }

    #[inline(never)]
    fn known_by_shortcut<'g>(&'g self, target: &Target<'_>, guard: &'g Guard) -> Option<&'g Node> {
        let node = self.directory.shortcuts.get(target.prefix_hash, guard)?;
        // Names are a long way to compare: the entry is fetched meanwhile.
        node.prefetch_name();
        self.table.prefetch_entries(target.hash, guard);
        node.is_named(target.namespace()).then_some(node)
    }

    /// What a reader finds: the live, unexpired entry of the key, if there is one.
    ///
    /// A hit linearizes at the load of its slot: flags only go from alive to dead and the clock
    /// only forward, so an entry that is found alive after that load was alive at it. What has
    /// expired is taken out first and the search begins again, so that expiry is an operation
    /// like any other.
    #[inline(never)]
    pub(crate) fn look<'g>(&'g self, target: &Target<'_>, guard: &'g Guard) -> Sight<'g, V> {
        self.look_inline(target, guard)
    }

    /// The same for reads and writes: as a function of its own it adds a twentieth to their
    /// instructions.
    #[inline(always)]
    pub(crate) fn look_inline<'g>(&'g self, target: &Target<'_>, guard: &'g Guard) -> Sight<'g, V> {
        let known = self.known(target, guard);
        // The flags stand behind two dependent misses, entry and node. Where the node is known,
        // its lines are fetched while the bucket is.
        known.inspect(|node| node.prefetch_flags());
        let known = known.map_or(std::ptr::null(), std::ptr::from_ref);
        'search: loop {
            let mut nothing = Sight::Nothing;
            for (slot, entry) in self.table.probe(target.hash, guard) {
                // Most entries take two lines; the second is asked for with the first.
                prefetch(entry.as_ptr().wrapping_byte_add(64));
                if !is_of(entry, target, known) {
                    continue;
                }
                let owner = entry.owner();
                // Entries that are pending or killed never end the search: behind them there may
                // be the live one.
                if entry.state() != State::Live {
                    if planted!("get_stops_at_pending") {
                        return Sight::Absent;
                    }
                    nothing = Sight::Absent;
                    continue;
                }
                // Loaded after the slot, in this order: both flags, then the clock.
                if owner.is_dead() {
                    return Sight::Absent;
                }
                if entry.is_placeholder() {
                    return Sight::Loading(slot, entry);
                }
                if entry.is_expired(|| self.now()) {
                    self.unlink_expired(target.hash, slot, entry);
                    if planted!("no_second_search") {
                        return Sight::Absent;
                    }
                    continue 'search;
                }
                if let Some(cell) = target.cell
                    && !std::ptr::eq(owner, known)
                {
                    cell.learn(owner, guard);
                }
                return Sight::Present(slot, entry);
            }
            return nothing;
        }
    }

    /// The first entry of the key in slot order, of any node and in any state.
    pub(crate) fn first<'g>(
        &'g self,
        target: &Target<'_>,
        guard: &'g Guard,
    ) -> Option<(Slot<'g, V, Node>, Seen<'g, V, Node>)> {
        let known = target.cell.map_or(std::ptr::null(), NodeCell::get);
        self.table.probe(target.hash, guard).find(|(_, entry)| is_of(*entry, target, known))
    }

    /// The node of the target's namespace with its count raised, made if need be.
    #[inline]
    pub(crate) fn raise<'g>(&'g self, target: &Target<'_>, guard: &'g Guard) -> Result<&'g Node> {
        match self.known(target, guard) {
            Some(node) if self.directory.raise(node, self.account(target.hash), guard) => Ok(node),
            _ => self.raise_by_name(target, guard),
        }
    }

    #[inline(never)]
    fn raise_by_name<'g>(&'g self, target: &Target<'_>, guard: &'g Guard) -> Result<&'g Node> {
        let node = loop {
            match self.directory.resolve(target.namespace(), self.account(target.hash), guard) {
                Err(error) if error.kind() == ErrorKind::CapacityExceeded => {
                    self.make_room(target.hash, Need::Bytes(INSERT_BYTES), guard)?;
                }
                Err(error) if error.kind() == ErrorKind::Closed => {
                    self.empty();
                    return Err(error);
                }
                answer => break answer?,
            }
        };
        if let Some(cell) = target.cell {
            cell.learn(node, guard);
        }
        self.directory.shortcuts.remember(target.prefix_hash, node);
        Ok(node)
    }

    pub(crate) fn release(&self, hash: u64, node: &Node, guard: &Guard) {
        self.directory.release(node, self.account(hash), guard);
    }

    /// Ends the load whose place the entry held, and hands it to the reclaimer with its bytes; calls
    /// `counted` once they count there, before anything else is freed.
    #[inline(always)]
    pub(crate) fn retire(&self, entry: Seen<'_, V, Node>, bytes: u64, counted: impl FnOnce()) {
        if !planted!("no_cancel") {
            entry.cancel_flight();
        }
        #[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
        // SAFETY: the caller has taken it out of its slot, the only place where others find it.
        unsafe {
            let stash = self.stash();
            if stash.push(entry.as_ptr(), bytes, &self.retired, entry.guard(), counted) {
                // Where nobody maintains, and no node goes for a while.
                free_garbage(16);
            }
        }
        #[cfg(any(scopecache_loom, scopecache_shuttle))]
        // SAFETY: as above.
        unsafe {
            let _ = bytes;
            Stash::retire_alone(entry.as_ptr(), entry.guard());
            counted();
        }
    }

    /// Retires an entry in whose place stands one that takes so much less.
    #[inline(never)]
    pub(crate) fn retire_for_less(
        &self,
        hash: u64,
        entry: Seen<'_, V, Node>,
        bytes: u64,
        less: u64,
    ) {
        self.retire(entry, bytes, || self.account(hash).release(less));
    }

    /// Where the calling thread leaves what it takes out, and finds memory for what it makes: what
    /// goes round there stays in the cache of one core.
    #[inline]
    pub(super) fn stash(&self) -> &EntryStash<V> {
        &self.stashes[stripe::of_thread(self.stashes.len())]
    }

    pub(crate) fn count_entries(&self, hash: u64, change: i64) {
        let entries = &self.shards[self.shard(hash)].entries;
        // Relaxed: a statistic; wraps below zero only in between.
        entries.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
    }

    /// What all shards hold together, in what entries weigh.
    pub(crate) fn total(&self) -> u64 {
        self.settings.max_entries.unwrap_or(self.budget.max())
    }

    /// What an entry counts for in eviction.
    pub(crate) fn weight(&self, entry: Seen<'_, V, Node>) -> u64 {
        if self.entries_budget.is_some() { 1 } else { entry.bytes() }
    }

    /// Shows the share of the small queues, to be read and changed.
    pub(crate) fn with_share<R>(&self, f: impl FnOnce(&mut f32) -> R) -> R {
        // Relaxed: a hint of the whole cache; what two change at once counts once.
        let before = self.small_share.load(Ordering::Relaxed);
        let mut share = f32::from_bits(before);
        let result = f(&mut share);
        if share.to_bits() != before {
            // Relaxed: as above.
            self.small_share.store(share.to_bits(), Ordering::Relaxed);
        }
        result
    }

    /// Entries in slots, those included that expired or died and were not yet taken out.
    pub(crate) fn entries(&self) -> u64 {
        // Relaxed: a statistic, orders nothing.
        let sum = |sum: u64, shard: &CachePadded<Shard>| {
            sum.wrapping_add(shard.entries.load(Ordering::Relaxed))
        };
        self.shards.iter().fold(0, sum)
    }

    /// Bytes that were taken out and are not yet freed.
    pub(crate) fn retired_bytes(&self) -> u64 {
        // In this order: what moves from a stash meanwhile counts twice rather than never.
        let stashed: u64 = self.stashes.iter().map(|stash| stash.bytes()).sum();
        stashed + self.retired.bytes()
    }

    /// A copy of an entry for its reader to keep.
    #[inline(always)]
    pub(crate) fn item(&self, entry: Seen<'_, V, Node>) -> Item<V> {
        Item::new(entry.to_owned(), entry.stamp(self.clock.wall_origin()))
    }

    /// Bytes in use: of entries, nodes, handles and overflow lines.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.budget.used()
    }
}

#[cold]
fn closed() -> Error {
    Error::new(ErrorKind::Closed)
}

/// Bytes to reserve, beside an entry's own, for what its insertion may need: an overflow line, a
/// chunk for its handle, and the parts of a sliding TTL that it may inherit.
pub(crate) const INSERT_BYTES: u64 = table::LINE_BYTES + crate::directory::CHUNK_BYTES + 32;
