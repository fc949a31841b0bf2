//! The hand of the policy: how an entry is found that may go.
//!
//! Whatever it meets on its way is put in order: stale handles are dropped, small's entries with
//! two hits go to main, main's with credit once more round for less of it. Entries that may not
//! go take another turn in their queue.

use super::ghost::Origin;
use super::queue::Handle;
use super::{Eviction, Policy, Residents};

/// Handles of a queue that one call looks at, at most.
pub(super) const LOOKS: usize = 128;
/// Turns of the main queue's hand in search of an entry without credit.
pub(super) const TURNS: usize = 64;
/// Hits in the small queue that lead to the main queue.
const PROMOTION: u8 = 2;

/// How many handles a call may still look at.
pub(super) struct Looks {
    pub(super) left: usize,
    /// Of those it has, how many led to entries that may not go.
    vain: usize,
}

impl Looks {
    pub(super) fn new(left: usize) -> Self {
        Self { left, vain: 0 }
    }

    /// Whether all of [`LOOKS`] were.
    pub(super) fn are_vain(&self) -> bool {
        self.vain == LOOKS
    }
}

impl Policy {
    /// Evicts an entry of one of the queues, if it finds one.
    pub(super) fn evict_from<R: Residents>(
        &mut self,
        origin: Origin,
        looks: &mut Looks,
        residents: &mut R,
    ) -> Option<u64> {
        match origin {
            Origin::Small => self.evict_small(looks, residents),
            Origin::Main => self.evict_main(looks, residents),
        }
    }

    /// Evicts from the small queue, or empties it.
    fn evict_small<R: Residents>(&mut self, looks: &mut Looks, residents: &mut R) -> Option<u64> {
        while looks.left > 0 {
            let handle = self.small.pop()?;
            looks.left -= 1;
            let Some(resident) = residents.find(handle.entry) else { continue };
            if !residents.is_evictable(&resident) {
                looks.vain += 1;
                self.small.push(handle);
            } else if residents.credit(&resident) >= PROMOTION {
                residents.set_credit(&resident, 0);
                self.main.push(Handle { stamp: self.stamp(), ..handle });
            } else if let Some(weight) = self.expel(handle, resident, Origin::Small, residents) {
                return Some(weight);
            }
        }
        None
    }

    /// Evicts from the main queue, or drops a stale handle.
    fn evict_main<R: Residents>(&mut self, looks: &mut Looks, residents: &mut R) -> Option<u64> {
        let turns = match self.kind {
            Eviction::Adaptive => TURNS,
            Eviction::S3Fifo => LOOKS,
        };
        if let Some((_, resident)) = self.coldest(turns, looks, residents) {
            let handle = self.main.pop()?;
            // It may have to stay, and then stands here again.
            looks.left -= 1;
            return self.expel(handle, resident, Origin::Main, residents);
        }
        // All that was seen has credit: the front goes nevertheless.
        while looks.left > 0 {
            let handle = self.main.pop()?;
            looks.left -= 1;
            let Some(resident) = residents.find(handle.entry) else { continue };
            if residents.is_evictable(&resident) {
                return self.expel(handle, resident, Origin::Main, residents);
            }
            looks.vain += 1;
            self.main.push(handle);
        }
        None
    }

    /// Takes out an entry whose handle was popped.
    fn expel<R: Residents>(
        &mut self,
        handle: Handle,
        resident: R::Resident,
        origin: Origin,
        residents: &mut R,
    ) -> Option<u64> {
        let weight = residents.weight(&resident);
        if residents.evict(resident) {
            *self.evicted.of(origin) += weight;
            self.room += u64::from(handle.weight);
            self.remember(handle.entry, origin);
            return Some(weight);
        }
        // Where it was only replaced, the handle leads to what stands there now.
        if residents.find(handle.entry).is_some() {
            match origin {
                Origin::Small => self.small.push(handle),
                Origin::Main => self.main.push(handle),
            }
        }
        None
    }

    /// Turns the main queue until an entry without credit stands in front: that one, which stays
    /// there, and its handle.
    pub(super) fn coldest<R: Residents>(
        &mut self,
        turns: usize,
        looks: &mut Looks,
        residents: &mut R,
    ) -> Option<(Handle, R::Resident)> {
        for _ in 0..turns.min(looks.left) {
            let handle = self.main.front()?;
            let resident = residents.find(handle.entry);
            if let Some(resident) = resident {
                let credit = residents.credit(&resident);
                let evictable = residents.is_evictable(&resident);
                if evictable && credit == 0 {
                    return Some((handle, resident));
                }
                looks.vain += usize::from(!evictable);
                residents.set_credit(&resident, credit.saturating_sub(1));
                self.main.push(Handle { stamp: self.stamp(), ..handle });
            }
            self.main.pop();
            looks.left -= 1;
        }
        None
    }
}
