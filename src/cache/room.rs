//! Room for what is to be written: in the budgets, and among what is retired.
//!
//! A write under its guard can evict, but nothing that goes meanwhile is freed before the guard
//! is. So what a write may retire is looked at before, and a large one makes its room before.

use crate::cache::core::{Core, INSERT_BYTES, Sight};
use crate::cache::target::Target;
use crate::cache::upkeep::{LARGE_PART, Need, Room};
use crate::cache::write::is_hopeless;
use crate::directory::{free_garbage, hand_over_garbage};
use crate::error::{Error, ErrorKind, Result};
use crate::options::Condition;
use crate::reclaim::{Guard, is_pinned, pin};
use crate::sync::atomic::Ordering;
use crate::sync::yield_now;
use crate::value::Value;

/// What came of a large entry before it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Large {
    /// Go on.
    Prepared,
    /// It counts as stored and evicted at once.
    Refused,
}

/// How many nodes and chunks one round frees at most, so that nobody is held up for long.
const GARBAGE: usize = 512;

impl<V: Value, S> Core<V, S> {
    /// Hands what was retired to the epochs, lets them work, and frees what they let go; call it
    /// without a guard.
    pub(crate) fn flush(&self) {
        self.hand_over();
        self.stashes.iter().for_each(|stash| stash.free_spare(&self.retired));
    }

    /// As [`flush`](Self::flush), but leaves to writers what they keep for themselves.
    pub(crate) fn flush_idle(&self) {
        self.hand_over();
        self.stashes.iter().for_each(|stash| stash.free_idle_spare(&self.retired));
    }

    fn hand_over(&self) {
        let guard = pin();
        for stash in &self.stashes {
            stash.hand_over(&self.retired, &guard);
        }
        hand_over_garbage(&guard);
        guard.flush();
        // The epoch shall go on while what it let go is freed.
        drop(guard);
        self.stashes.iter().for_each(|stash| stash.take_ready(&self.retired));
        free_garbage(GARBAGE);
    }

    /// Before a write, without a guard: makes sure that what it retires stays within the bound.
    ///
    /// # Errors
    ///
    /// `CapacityExceeded` where readers with old guards keep too much from being freed.
    #[inline]
    pub(crate) fn relieve(&self) -> Result<()> {
        // Beside it an eighth of the bound may lie in the stashes, and the rest is for what writers
        // that are under way evict and overwrite.
        let limit = self.settings.max_retired_bytes / 2;
        if self.retired.bytes() <= limit { Ok(()) } else { self.wait_for_readers(limit) }
    }

    #[cold]
    fn wait_for_readers(&self, limit: u64) -> Result<()> {
        // Each round can advance the epoch by one; three free what was retired before. More for
        // readers that are just leaving.
        const FEW: u32 = 64;
        // About a tenth of a second, for readers that a busy machine has put aside. In models
        // nobody is.
        const MOST: u32 = if cfg!(any(scopecache_loom, scopecache_shuttle)) { FEW } else { 512 };
        // Relaxed: a hint. Who holds a guard for ever is waited for once, and the caller's own never.
        let vain = is_pinned() || self.readers_stall.load(Ordering::Relaxed);
        for round in 0..if vain { FEW } else { MOST } {
            self.flush();
            if self.retired.bytes() <= limit {
                // Relaxed: as above.
                self.readers_stall.store(false, Ordering::Relaxed);
                return Ok(());
            }
            back_off(round);
        }
        // Relaxed: as above.
        self.readers_stall.store(true, Ordering::Relaxed);
        Err(Error::held_up())
    }

    /// Whether an entry of so many bytes may be retired now, by an eviction: one that would pass
    /// the bound only while half of it is free, as nobody may be able to free the rest before the
    /// caller's guard goes.
    pub(crate) fn may_retire(&self, bytes: u64) -> bool {
        let (retired, most) = (self.retired_bytes(), self.settings.max_retired_bytes);
        retired <= most / 2 || retired.saturating_add(bytes) <= most
    }

    /// Where the budget is full: takes out what is deleted or expired already, or else what the
    /// cache can spare.
    ///
    /// It does a bounded amount of work and goes on from there the next time.
    ///
    /// # Errors
    ///
    /// `CapacityExceeded` where nothing may go, or readers keep what went.
    pub(crate) fn make_room(&self, hash: u64, need: Need, guard: &Guard) -> Result<()> {
        if self.maintenance.is_pending()
            && self.maintenance.step(self, 256, guard).freed_entries > 0
        {
            return Ok(());
        }
        match self.evict(hash, need, guard) {
            Room::Made => Ok(()),
            Room::HeldUp => Err(Error::held_up()),
            Room::None => Err(Error::new(ErrorKind::CapacityExceeded)),
        }
    }

    /// Whether room for an entry of so many bytes is made before it is written.
    #[inline]
    pub(super) fn is_large(&self, bytes: u64) -> bool {
        let most_retired = self.settings.max_retired_bytes;
        self.settings.eviction.is_some()
            && bytes > (most_retired / 8).min(self.budget.max() / LARGE_PART)
    }

    /// Makes room for a large entry, unless its write will not take place; without a guard.
    ///
    /// Refused is one of a key that is absent and not being loaded, if it is not worth what would
    /// have to go. Nothing stood there when we looked; what has come since comes after us.
    pub(super) fn prepare_large(
        &self,
        target: &Target<'_>,
        bytes: u64,
        condition: Condition,
    ) -> Result<Large> {
        let needed = bytes.saturating_add(INSERT_BYTES);
        if needed > self.budget.max() {
            // The write says so: never refused in silence.
            return Ok(Large::Prepared);
        }
        let grows = {
            let guard = pin();
            let sight = self.look(target, &guard);
            if matches!(sight, Sight::Absent | Sight::Nothing) && !is_hopeless(condition, &sight) {
                // Refused aloud, before it may be in silence.
                self.make_way(target, &sight, bytes, &guard)?;
            }
            match (sight, condition) {
                (Sight::Present(..), Condition::Absent) => return Ok(Large::Prepared),
                (Sight::Present(_, old), Condition::Version(version))
                    if old.version() != version =>
                {
                    return Ok(Large::Prepared);
                }
                (Sight::Present(_, old), _) => needed.saturating_sub(old.bytes()),
                (_, Condition::Present | Condition::Version(_)) => return Ok(Large::Prepared),
                (Sight::Absent | Sight::Nothing, _)
                    if self.is_refused(target.hash, bytes, &guard) =>
                {
                    return Ok(Large::Refused);
                }
                _ => needed,
            }
        };
        self.make_room_in_steps(target.hash, grows)?;
        Ok(Large::Prepared)
    }

    /// Makes room for so many bytes in steps between which what went can be freed; without a
    /// guard. Where nothing more may go, the write says so.
    ///
    /// # Errors
    ///
    /// `CapacityExceeded` where readers with old guards keep what went.
    pub(super) fn make_room_in_steps(&self, hash: u64, bytes: u64) -> Result<()> {
        let step = self.settings.max_retired_bytes / 4;
        loop {
            let missing = self.account(hash).missing(bytes);
            // The bound may be lowered at any time.
            if missing == 0 || bytes > self.budget.max() {
                return Ok(());
            }
            match self.make_room(hash, Need::Bytes(missing.min(step)), &pin()) {
                Ok(()) => {}
                Err(error) if error.is_held_up() => self.flush(),
                Err(_) => return Ok(()),
            }
            self.relieve()?;
        }
    }
}

/// Lets others run; after some rounds for 200 us, as a thread that is not running may have to.
pub(super) fn back_off(round: u32) {
    #[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
    if round >= 32 {
        return std::thread::sleep(std::time::Duration::from_micros(200));
    }
    let _ = round;
    yield_now();
}
