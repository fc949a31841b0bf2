//! What a writer has reserved and not yet used.

use crate::budget::{Account, Budget};
use crate::cache::core::Core;
use crate::cache::upkeep::Need;
use crate::error::{Error, ErrorKind, Result};
use crate::reclaim::Guard;
use crate::value::Value;

/// A reservation; what is not spent goes back when it is dropped.
pub(super) struct Hold<'c, V: Value, S> {
    core: &'c Core<V, S>,
    hash: u64,
    guard: &'c Guard,
    bytes: u64,
    /// Places among the entries, where their number is bounded.
    entries: u64,
}

impl<'c, V: Value, S> Hold<'c, V, S> {
    #[inline]
    pub(super) fn new(core: &'c Core<V, S>, hash: u64, guard: &'c Guard) -> Self {
        Self { core, hash, guard, bytes: 0, entries: 0 }
    }

    fn account(&self) -> Account<'c> {
        self.core.account(self.hash)
    }

    /// Makes sure that at least `bytes` are held.
    ///
    /// # Errors
    ///
    /// `CapacityExceeded` where the budget is full of what may not be taken out.
    #[inline]
    pub(super) fn top_up(&mut self, bytes: u64) -> Result<()> {
        if bytes > self.bytes { self.reserve(bytes - self.bytes) } else { Ok(()) }
    }

    #[inline(never)]
    fn reserve(&mut self, missing: u64) -> Result<()> {
        let account = self.account();
        while !account.try_reserve(missing) {
            if missing > self.core.budget.max() {
                // The bound was lowered meanwhile: nothing is to go for what cannot fit.
                return Err(Error::new(ErrorKind::CapacityExceeded));
            }
            // At least one: others may have made room just now, and take it again.
            let short = account.missing(missing).max(1);
            if let Err(error) = self.core.make_room(self.hash, Need::Bytes(short), self.guard) {
                // The credits of other shards are the last resort: who takes them away from
                // those that will want them next makes both slower.
                if account.reserve(missing) {
                    break;
                }
                return Err(error);
            }
        }
        self.bytes += missing;
        Ok(())
    }

    /// Makes sure that there is a place for one more entry.
    ///
    /// # Errors
    ///
    /// As [`top_up`](Self::top_up).
    #[inline]
    pub(super) fn take_place(&mut self) -> Result<()> {
        match &self.core.entries_budget {
            Some(budget) if self.entries == 0 => self.reserve_place(budget),
            _ => Ok(()),
        }
    }

    #[inline(never)]
    fn reserve_place(&mut self, budget: &Budget) -> Result<()> {
        let account = budget.account(self.core.shard(self.hash));
        while !account.try_reserve(1) {
            if let Err(error) = self.core.make_room(self.hash, Need::Entry, self.guard) {
                if account.reserve(1) {
                    break;
                }
                return Err(error);
            }
            if planted!("room_is_ours") {
                break;
            }
        }
        self.entries = 1;
        Ok(())
    }

    /// Takes `bytes` into use, and a place among the entries.
    pub(super) fn spend_on_entry(&mut self, bytes: u64) {
        self.entries = 0;
        self.spend(bytes);
    }

    /// Takes `bytes` of it into use.
    #[inline]
    pub(super) fn spend(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.bytes, "spends {bytes} of {} held", self.bytes);
        self.bytes -= bytes.min(self.bytes);
    }
}

impl<V: Value, S> Drop for Hold<'_, V, S> {
    #[inline]
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.account().release(self.bytes);
        }
        if self.entries > 0
            && let Some(budget) = &self.core.entries_budget
        {
            budget.account(self.core.shard(self.hash)).release(self.entries);
        }
    }
}
