//! The entries of a shard, as the eviction policy sees them.

use super::{Found, Turn};
use crate::cache::exit::Exit;
use crate::policy::Residents;
use crate::table::State;
use crate::value::Value;

impl<'g, V: Value, S> Residents for Turn<'g, V, S> {
    type Resident = Found<'g, V>;

    fn find(&mut self, handle: u32) -> Option<Found<'g, V>> {
        let hash = self.long(handle);
        self.core
            .table
            .probe(hash, self.guard)
            .find(|(_, entry)| {
                // Retired just now: what took its place may have inherited the handle.
                let is_retired = !planted!("drop_queued_handle");
                entry.state() != State::Killed
                    && entry.track().map_or(is_retired, |track| track.is_queued())
            })
            .map(|(slot, entry)| (hash, slot, entry))
    }

    fn credit(&self, (_, _, entry): &Found<'g, V>) -> u8 {
        entry.credit()
    }

    fn set_credit(&mut self, (_, _, entry): &Found<'g, V>, credit: u8) {
        entry.set_credit(credit);
    }

    fn weight(&self, (_, _, entry): &Found<'g, V>) -> u64 {
        self.core.weight(*entry)
    }

    fn is_evictable(&self, (_, _, entry): &Found<'g, V>) -> bool {
        entry.state() == State::Live && entry.flight().is_none() && entry.track().is_some()
    }

    fn evict(&mut self, (hash, slot, entry): Found<'g, V>) -> bool {
        if !self.core.may_retire(entry.bytes()) {
            self.held_up = true;
            return false;
        }
        // The clock is read for those who want to know: to be out of the way is all the same.
        let over =
            if self.core.is_watched { self.core.is_over(entry, || self.core.now()) } else { None };
        self.take_out(hash, &slot, entry, over.unwrap_or(Exit::Evicted))
    }
}
