//! What a read returns, and the small types of answers.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;

use crate::clock::{NEVER, Nanos, Rounded, wall_now, wall_time};
use crate::value::{Blob, SmallBytes, Value};

/// One state of one entry, as a 64-bit number.
///
/// Every write gives its entry a new version; a `touch` keeps it. Versions are compared for
/// equality alone: a larger one need not be a later one. No version is handed out twice by a
/// process, and since they start at the wall-clock time in nanoseconds, none comes back after
/// a restart either (as long as the machine's date is not set back).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version(u64);

/// A live entry as a read returns it: a copy of the value and what is known about it.
pub struct Item<V: Value = Blob> {
    value: V::Owned,
    stamp: Stamp,
}

/// When an entry was written, when it ends, and which write it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) version: Version,
    pub(crate) created: Rounded,
    /// [`NEVER`] where the entry has no TTL.
    pub(crate) deadline: Nanos,
    /// Where nanosecond 0 of the cache's clock lies in wall-clock time.
    pub(crate) wall_origin: u64,
}

/// How much a deletion took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Entries, those that had expired but still used memory included.
    pub entries: u64,
    /// Bytes that these entries used in memory.
    pub bytes: u64,
}

/// How much a namespace holds.
///
/// Exact while nobody writes; entries that have expired count until their memory is reclaimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Entries; for a user those of its sessions included.
    pub entries: u64,
    /// Bytes that these entries use in memory, headers included.
    pub bytes: u64,
}

impl Version {
    /// The number, to be handed out (as an HTTP `ETag`, say) and brought back by
    /// [`from_u64`](Self::from_u64).
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The version with this number.
    pub fn from_u64(version: u64) -> Self {
        Self(version)
    }

    /// A version that was never handed out before.
    ///
    /// Threads take blocks from one counter, so that writers do not share a cache line. A
    /// thread that ends wastes the rest of its block.
    #[inline]
    pub(crate) fn next() -> Self {
        const BLOCK: u64 = 256;
        // std atomics and a std thread-local also under loom and shuttle: which number a write
        // gets orders nothing, as long as it is unique.
        static NEXT_BLOCK: AtomicU64 = AtomicU64::new(0);
        std::thread_local! {
            static MINE: std::cell::Cell<(u64, u64)> = const { std::cell::Cell::new((0, 0)) };
        }
        let fresh_block = || {
            // Relaxed: uniqueness needs the atomicity of the addition, no ordering.
            if NEXT_BLOCK.load(Ordering::Relaxed) == 0 {
                // Lost to another thread's start value: just as good.
                let _ = NEXT_BLOCK.compare_exchange(
                    0,
                    wall_now().max(1),
                    Ordering::Relaxed, // Relaxed: as above.
                    Ordering::Relaxed, // Relaxed: as above.
                );
            }
            // Relaxed: as above.
            NEXT_BLOCK.fetch_add(BLOCK, Ordering::Relaxed)
        };
        MINE.try_with(|mine| {
            let (mut next, mut end) = mine.get();
            if next == end {
                next = fresh_block();
                end = next + BLOCK;
            }
            mine.set((next + 1, end));
            Self(next)
        })
        // The thread is ending and its cell is gone: a block for this one version.
        .unwrap_or_else(|_| Self(fresh_block()))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({:#x})", self.0)
    }
}

impl<V: Value> Item<V> {
    #[inline]
    pub(crate) fn new(value: V::Owned, stamp: Stamp) -> Self {
        Self { value, stamp }
    }

    /// The value.
    pub fn value(&self) -> &V::Borrowed {
        V::owned_ref(&self.value)
    }

    /// The value, owned.
    pub fn into_value(self) -> V::Owned {
        self.value
    }

    /// The version that the write of this value answered.
    pub fn version(&self) -> Version {
        self.stamp.version
    }

    /// When the value was written, in wall-clock time.
    ///
    /// Early by less than a hundred-millionth of the cache's age: 33 µs at most on its first day, 34 ms
    /// in its first four years. Of an entry without a TTL by up to 10 ms more, where the system has a
    /// clock that is cheap and coarse (Linux, Android).
    pub fn created_at(&self) -> SystemTime {
        self.stamp.created_at()
    }

    /// From when on the entry is no longer returned, in wall-clock time; `None` without a TTL.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.stamp.expires_at()
    }

    /// Whether [`expires_at`](Self::expires_at) has come, by the system's wall clock.
    ///
    /// A read never returns an expired item; this is for those who keep one.
    pub fn is_expired(&self) -> bool {
        self.expires_at().is_some_and(|at| at <= SystemTime::now())
    }
}

impl Item<Blob> {
    /// The bytes.
    #[inline]
    pub fn data(&self) -> &[u8] {
        &self.value
    }

    /// The bytes, owned; without a copy where they are long.
    pub fn into_bytes(self) -> Bytes {
        SmallBytes::into(self.value)
    }
}

impl<V: Value> Clone for Item<V> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), stamp: self.stamp }
    }
}

impl<V: Value> fmt::Debug for Item<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item").field("stamp", &self.stamp).finish_non_exhaustive()
    }
}

impl Stamp {
    pub(crate) fn created_at(&self) -> SystemTime {
        wall_time(self.wall_origin, self.created.nanos())
    }

    pub(crate) fn expires_at(&self) -> Option<SystemTime> {
        (self.deadline != NEVER).then(|| wall_time(self.wall_origin, self.deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_unique_across_threads() {
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| (0..1000).map(|_| Version::next()).collect::<Vec<_>>()))
            .collect();
        let mut all: Vec<_> =
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect();
        all.sort_unstable_by_key(|version| version.as_u64());
        all.dedup();
        assert_eq!(all.len(), 4000);
    }
}
