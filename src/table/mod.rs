//! The lock-free table: a fixed number of cache-line buckets with overflow lines.
//!
//! The table knows nothing of namespaces. It stores entries under 64-bit hashes, asks an
//! entry's [`Owner`] whether the entry is dead, and keeps one promise: **a key has at most one
//! live entry in its chain.**
//!
//! # Insertion
//!
//! Two threads that insert one key may claim different slots. So an entry is born
//! [`Pending`](State::Pending), which readers pass over, and becomes live only once the whole
//! chain has been looked through ([`Table::help`]):
//!
//! ```text
//!            claim (compare-exchange on an empty slot)
//!                 │
//!              PENDING ──── another entry of the key is live, ──► KILLED ── taken out
//!                 │         or claimed a lower slot,
//!                 │         or the owner has died
//!                 ▼
//!               LIVE ── replaced or taken out by compare-exchange on its slot
//! ```
//!
//! Whoever meets a pending entry decides it; nobody waits. Of two pending entries the one in
//! the lower slot wins. That both claimants do not miss each other is a handshake: each claims
//! (a store), then issues a SeqCst fence, then scans (loads). Of two fences one comes first in
//! the single order of all such fences; the scan after the later one sees the claim before the
//! earlier one.
//!
//! The owner's death is read *after* the scan. Then an entry that becomes live was alone in its
//! chain while its owner lived, which is what makes "inserted" and "deleted together with its
//! owner" two separate moments.
//!
//! # Removal
//!
//! Everything that leaves the table leaves by a compare-exchange on its slot; who wins that
//! retires the entry. Lines are never unlinked.

mod entry;
mod flight;
mod line;
#[cfg(all(test, not(any(scopecache_loom, scopecache_shuttle))))]
mod tests;

use std::ptr;

pub(crate) use self::entry::{
    Draft, Entry, Header, Heritage, LAST_TICK, Owner, Plan, RefreshClaim, Seen, Sliding, State,
    Track,
};
pub(crate) use self::flight::{Flight, Landing, Outcome};
use self::line::{Line, Slots};
pub(crate) use self::line::{SLOTS, Slot};
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
use crate::memory::prefer_huge_pages;
use crate::memory::{prefetch, same_bytes};
use crate::reclaim::Guard;
use crate::sync::atomic::{Ordering, fence};
use crate::sync::figures::AtomicUsize;
use crate::tagged;
use crate::value::Value;

const TAG_SHIFT: u32 = 48;
/// Buckets of a shard that a short handle can tell apart.
pub(crate) const MOST_SHARD_BUCKETS: usize = 1 << SHORT_TAG_SHIFT;
/// In a short handle: where the tag begins.
const SHORT_TAG_SHIFT: u32 = 16;

/// Bytes of an overflow line.
pub(crate) const LINE_BYTES: u64 = 64;

pub(crate) struct Table<V: Value, O> {
    lines: Box<[Line<V, O>]>,
    mask: usize,
    overflow_lines: AtomicUsize,
}

// SAFETY: entries are reached through atomics and guards; values are `Send + Sync` (every
// `Value` is), owners are `Sync`.
unsafe impl<V: Value, O: Owner> Send for Table<V, O> {}
// SAFETY: as above.
unsafe impl<V: Value, O: Owner> Sync for Table<V, O> {}

/// What [`Table::claim`] did.
pub(crate) struct Claim<'g, V: Value, O> {
    pub(crate) slot: Slot<'g, V, O>,
    pub(crate) entry: Seen<'g, V, O>,
    /// The chain was full and got another line.
    pub(crate) appended: bool,
}

/// Walks the entries of a chain that carry a hash's tag, in slot order.
pub(crate) struct Probe<'g, V: Value, O> {
    slots: Slots<'g, V, O>,
    tag: u16,
    guard: &'g Guard,
}

impl<V: Value, O: Owner> Table<V, O> {
    /// A table of at least `lines` buckets; the system zeroes their memory when it is touched.
    pub(crate) fn new(lines: usize) -> Self {
        let lines = lines.max(1).next_power_of_two();
        Self { lines: new_lines(lines), mask: lines - 1, overflow_lines: AtomicUsize::new(0) }
    }

    /// The number of buckets: a power of two.
    pub(crate) fn buckets(&self) -> usize {
        self.lines.len()
    }

    /// The bucket of a hash. Neighbouring buckets belong to one shard.
    #[inline]
    pub(crate) fn bucket(&self, hash: u64) -> usize {
        hash as usize & self.mask
    }

    /// To be called before they are used.
    #[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
    pub(crate) fn prefer_huge_pages(&self) {
        prefer_huge_pages(&self.lines);
    }

    /// Bytes of the buckets themselves, without overflow lines.
    pub(crate) fn base_bytes(&self) -> u64 {
        self.lines.len() as u64 * LINE_BYTES
    }

    pub(crate) fn overflow_lines(&self) -> usize {
        // Relaxed: a statistic, orders nothing.
        self.overflow_lines.load(Ordering::Relaxed)
    }

    /// The entries whose slot carries the hash's tag.
    #[inline]
    pub(crate) fn probe<'g>(&'g self, hash: u64, guard: &'g Guard) -> Probe<'g, V, O> {
        Probe { slots: self.line(hash).slots(), tag: tag(hash), guard }
    }

    /// All entries of one bucket's chain.
    pub(crate) fn bucket_entries<'g>(
        &'g self,
        bucket: usize,
        guard: &'g Guard,
    ) -> impl Iterator<Item = (Slot<'g, V, O>, Seen<'g, V, O>)> {
        self.lines[bucket].slots().filter_map(move |slot| {
            let entry = slot.entry(guard)?;
            Some((slot, entry))
        })
    }

    /// A handle to what a slot of the bucket holds: as good as its hash for all that looks
    /// entries up by handle, since a slot is found by bucket and tag.
    pub(crate) fn handle_of(&self, bucket: usize, slot: &Slot<'_, V, O>) -> u64 {
        u64::from(slot.tag()) << TAG_SHIFT | bucket as u64
    }

    /// Starts to fetch the hash's bucket into the cache.
    #[inline]
    pub(crate) fn prefetch_bucket(&self, hash: u64) {
        prefetch(self.line(hash));
    }

    /// Starts to fetch the entries with the hash's tag into the cache: as much as a header, a short key
    /// and a value of a line take, which begin anywhere in a line.
    #[inline]
    pub(crate) fn prefetch_entries(&self, hash: u64, guard: &Guard) {
        for (_, entry) in self.probe(hash, guard) {
            for line in 0..3 {
                prefetch(entry.as_ptr().wrapping_byte_add(64 * line));
            }
        }
    }

    /// Puts `draft` into the first empty slot of its chain as a pending entry.
    ///
    /// The caller must [`help`](Self::help) it before it does anything else.
    pub(crate) fn claim<'g>(
        &'g self,
        hash: u64,
        draft: Draft<V, O>,
        guard: &'g Guard,
    ) -> Claim<'g, V, O> {
        let raw = draft.into_raw();
        let word = tagged::pack(raw, tag(hash));
        let done = |slot: Slot<'g, V, O>, appended| {
            let slot = Slot { word, ..slot };
            let entry = slot.entry(guard).expect("a draft is never null");
            Claim { slot, entry, appended }
        };
        let mut line = self.line(hash);
        let mut position = 0;
        loop {
            for cell in &line.slots {
                let slot = Slot { cell, word: ptr::null_mut(), position }.again();
                if slot.is_empty() && slot.swap(word) {
                    return done(slot, false);
                }
                position += 1;
            }
            line = match line.next() {
                Some(next) => next,
                None => match self.append(line, word) {
                    Ok(new) => {
                        let cell = &new.slots[0];
                        return done(Slot { cell, word, position }, true);
                    }
                    Err(next) => next,
                },
            };
        }
    }

    /// Appends a line that holds `word` in its first slot; or answers the line that somebody
    /// else has appended.
    fn append<'g>(
        &'g self,
        last: &'g Line<V, O>,
        word: *mut Entry<V, O>,
    ) -> Result<&'g Line<V, O>, &'g Line<V, O>> {
        let new = Box::into_raw(Box::new(Line::new()));
        // SAFETY: just made, and nobody else has it.
        // Relaxed: published by the compare-exchange.
        unsafe { &*new }.slots[0].store(word, Ordering::Relaxed);
        // SeqCst: publishes the line and, like `Slot::swap`, the claim in it; pairs with the
        // Acquire in `Line::next`, which also reads what a failure returns.
        let appended =
            last.next.compare_exchange(ptr::null_mut(), new, Ordering::SeqCst, Ordering::Acquire);
        match appended {
            Ok(_) => {
                // Relaxed: a statistic, orders nothing.
                self.overflow_lines.fetch_add(1, Ordering::Relaxed);
                // SAFETY: appended lines live as long as the table.
                Ok(unsafe { &*new })
            }
            Err(next) => {
                // SAFETY: it was not published.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: appended lines live as long as the table.
                Err(unsafe { &*next })
            }
        }
    }

    /// Decides a pending entry, its own or another's; answers what it became.
    ///
    /// See the module's documentation for why this is right.
    pub(crate) fn help<'g>(
        &'g self,
        hash: u64,
        slot: &Slot<'g, V, O>,
        entry: Seen<'g, V, O>,
    ) -> State {
        if !planted!("no_fence") {
            // SeqCst fence: between our claim (or the sight of somebody's) and the scan; pairs
            // with the same fence of another claimant of the key.
            fence(Ordering::SeqCst);
        }
        let dead_before = planted!("dead_before_scan") && entry.owner().is_dead();
        for (other_slot, other) in self.probe(hash, entry.guard()) {
            if other.is(&entry) || !same_key(other, entry) {
                continue;
            }
            let lower = other_slot.position < slot.position;
            match other.state() {
                State::Killed => {}
                State::Live if planted!("no_kill_for_live") => {}
                State::Live => return entry.settle(State::Killed),
                State::Pending if lower => return entry.settle(State::Killed),
                State::Pending if planted!("no_kill_of_higher") => {}
                State::Pending => {
                    if other.settle(State::Killed) == State::Live {
                        return entry.settle(State::Killed);
                    }
                }
            }
        }
        // After the whole scan, never before.
        let dead = if planted!("dead_before_scan") {
            dead_before
        } else if planted!("no_dead_in_help") {
            false
        } else {
            entry.owner().is_dead()
        };
        entry.settle(if dead { State::Killed } else { State::Live })
    }

    /// Puts `draft` in the place of what `slot` held; gives it back if that has changed.
    #[inline]
    pub(crate) fn replace<'g>(
        &'g self,
        slot: &Slot<'g, V, O>,
        draft: Draft<V, O>,
        guard: &'g Guard,
    ) -> Result<Seen<'g, V, O>, Draft<V, O>> {
        let raw = draft.into_raw();
        let word = tagged::pack(raw, slot.tag());
        if !slot.swap(word) {
            // SAFETY: it was not published.
            return Err(unsafe { Draft::from_raw(raw) });
        }
        Ok(Slot { word, ..*slot }.entry(guard).expect("a draft is never null"))
    }

    /// Takes out what `slot` held; fails if that has changed. The caller retires it.
    pub(crate) fn remove(&self, slot: &Slot<'_, V, O>) -> bool {
        slot.swap(ptr::null_mut())
    }

    /// Takes out every entry of `owner` from a chain, as far as it carries the hash's tag, and
    /// shows each to `removed`.
    ///
    /// In each slot it looks again as long as it finds an entry of `owner`: one may have been
    /// overwritten by another.
    pub(crate) fn sweep<'g>(
        &'g self,
        hash: u64,
        owner: *const O,
        guard: &'g Guard,
        mut removed: impl FnMut(Seen<'g, V, O>),
    ) {
        for mut slot in self.line(hash).slots() {
            while let Some(entry) = slot.entry(guard) {
                if slot.tag() != tag(hash) || entry.owner_ptr() != owner {
                    break;
                }
                if slot.swap(ptr::null_mut()) {
                    removed(entry);
                    break;
                }
                if planted!("sweep_once") {
                    break;
                }
                slot = slot.again();
            }
        }
    }

    #[inline]
    fn line(&self, hash: u64) -> &Line<V, O> {
        let bucket = self.bucket(hash);
        debug_assert!(bucket < self.lines.len());
        // SAFETY: the mask is the length minus one, a power of two minus one.
        unsafe { self.lines.get_unchecked(bucket) }
    }
}

impl<V: Value, O> Drop for Table<V, O> {
    fn drop(&mut self) {
        for line in &self.lines {
            for slot in line.slots() {
                if !slot.is_empty() {
                    let raw = tagged::pointer(slot.word);
                    // SAFETY: `&mut self`: nobody else reaches what still stands in a slot, and
                    // each entry stands in one.
                    drop(unsafe { Draft::from_raw(raw) });
                }
            }
            // Relaxed: exclusive access.
            let mut next = line.next.load(Ordering::Relaxed);
            while !next.is_null() {
                // SAFETY: overflow lines are made by `Box` and freed here alone.
                let line = unsafe { Box::from_raw(next) };
                // Relaxed: exclusive access.
                next = line.next.load(Ordering::Relaxed);
            }
        }
    }
}

impl<'g, V: Value, O> Iterator for Probe<'g, V, O> {
    type Item = (Slot<'g, V, O>, Seen<'g, V, O>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.slots.next_of(self.tag, self.guard)
    }
}

fn same_key<V: Value, O: Owner>(one: Seen<'_, V, O>, two: Seen<'_, V, O>) -> bool {
    same_bytes(one.key(), two.key())
        && (one.owner_ptr() == two.owner_ptr() || one.owner().same_namespace(two.owner()))
}

/// The bits of a hash that stand in the slot; the low bits choose the bucket.
#[inline]
fn tag(hash: u64) -> u16 {
    (hash >> TAG_SHIFT) as u16
}

/// A handle in half the space, for who knows the shard: the bucket's place in it, and the tag.
///
/// A shard has `shard_buckets`, at most [`MOST_SHARD_BUCKETS`].
#[inline]
pub(crate) fn shorten(hash: u64, shard_buckets: usize) -> u32 {
    let place = hash as usize & (shard_buckets - 1);
    u32::from(tag(hash)) << SHORT_TAG_SHIFT | place as u32
}

/// The handle that was shortened, given the first bucket of its shard.
#[inline]
pub(crate) fn lengthen(short: u32, first_bucket: usize) -> u64 {
    let place = short as usize & (MOST_SHARD_BUCKETS - 1);
    u64::from(short >> SHORT_TAG_SHIFT) << TAG_SHIFT | (first_bucket + place) as u64
}

#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
fn new_lines<V: Value, O>(lines: usize) -> Box<[Line<V, O>]> {
    let zeroed: Box<[std::mem::MaybeUninit<Line<V, O>>]> = Box::new_zeroed_slice(lines);
    // SAFETY: a line is made of atomic pointers, and null is all zeroes.
    unsafe { zeroed.assume_init() }
}

#[cfg(any(scopecache_loom, scopecache_shuttle))]
fn new_lines<V: Value, O>(lines: usize) -> Box<[Line<V, O>]> {
    (0..lines).map(|_| Line::new()).collect()
}
