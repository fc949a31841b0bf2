//! The memory of wheel and queues: booked in the budget before it is used, where that can be.

use super::Turn;
use crate::cache::upkeep::{Need, Upkeep};
use crate::policy::Policy;
use crate::sync::atomic::Ordering;
use crate::value::Value;
use crate::wheel;

/// Wheel and queues never evict for more than this part of the bound before they need it.
const UPKEEP_PART: u64 = 16;

impl<V: Value, S> Turn<'_, V, S> {
    /// Makes sure that what the next event adds is booked; `false` where the budget is full.
    pub(super) fn reserve(&mut self, upkeep: &mut Upkeep) -> bool {
        let queues = if upkeep.policy.is_some() { Policy::CALL_BYTES } else { 0 };
        let growth = wheel::MOST_GROWTH_BYTES as u64 + queues;
        let booked = upkeep.bytes() + growth <= upkeep.booked || self.book_ahead(upkeep, growth);
        self.starved = !booked;
        booked
    }

    /// Books so much for what wheel and queues are going to take: where that is much of a small
    /// cache only what is free, or there would be no room for anything else.
    pub(super) fn book_ahead(&mut self, upkeep: &mut Upkeep, bytes: u64) -> bool {
        if self.is_little(bytes) { self.book(upkeep, bytes) } else { self.try_book(upkeep, bytes) }
    }

    /// Whether there is memory for what the queues may take while they choose: it is booked
    /// afterwards, and a small cache evicts nothing for so much.
    pub(super) fn may_choose(&self, upkeep: &mut Upkeep) -> bool {
        self.is_little(Policy::CALL_BYTES) || self.try_book(upkeep, Policy::CALL_BYTES)
    }

    /// Gives back what was booked and not used, and books what was used without.
    pub(in crate::cache::upkeep) fn settle(&mut self, upkeep: &mut Upkeep) {
        // Handles that moved from one list to another. They take it already, so entries go for it
        // however small the cache is; and as these go, others may move to the main queue.
        while upkeep.bytes() > upkeep.booked {
            if !self.book(upkeep, upkeep.bytes() - upkeep.booked) {
                break;
            }
        }
        let unused = upkeep.booked.saturating_sub(upkeep.bytes());
        self.core.budget.account(self.shard).release(unused);
        upkeep.booked -= unused;
        let armed = (upkeep.wheel.len() + upkeep.repair) as u64;
        // Relaxed: figures.
        self.share().armed.store(armed, Ordering::Relaxed);
        self.share().due.store(upkeep.due(), Ordering::Relaxed);
        let queued = upkeep.policy.as_ref().map_or(0, Policy::weight);
        self.share().queued.store(queued, Ordering::Relaxed);
    }

    /// Books so much more for wheel and queues. A full cache evicts for it, as it does for
    /// entries: what it never hears of it cannot judge.
    fn book(&mut self, upkeep: &mut Upkeep, bytes: u64) -> bool {
        let mut booked = self.try_book(upkeep, bytes);
        if !booked && self.may_evict {
            let account = self.core.budget.account(self.shard);
            // No more than is missing: the policy takes a need for that of a new entry.
            let need = Need::Bytes(account.missing(bytes));
            self.evict_until(upkeep, need, |_| {
                booked = account.try_reserve(bytes);
                booked
            });
            upkeep.booked += if booked { bytes } else { 0 };
        }
        booked
    }

    /// As [`book`](Self::book), but evicts nothing.
    fn try_book(&self, upkeep: &mut Upkeep, bytes: u64) -> bool {
        let booked = self.core.budget.account(self.shard).try_reserve(bytes);
        upkeep.booked += if booked { bytes } else { 0 };
        booked
    }

    fn is_little(&self, bytes: u64) -> bool {
        bytes <= self.core.budget.max() / UPKEEP_PART
    }
}
