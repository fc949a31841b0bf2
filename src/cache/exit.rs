//! How entries leave the table, and who is told.
//!
//! Everything that leaves does so by a compare-exchange on its slot. Whoever wins that, and nobody
//! else, books the entry and reports it. It passes one of
//!
//! - [`Core::unlink`]: nothing takes the entry's place,
//! - [`Core::sweep`]: it goes with its node,
//! - `Writer::replaced` and `Writer::over_found`: another one takes its place.
//!
//! # What has lived
//!
//! An entry that became live was stored: its version was answered, or will be. Those that never
//! became live are not reported: placeholders of loads, and what was killed at birth (whose maker
//! goes on with a copy). A copy with other times has the version of the entry whose place it takes,
//! and goes on with its life.
//!
//! A sweep may take out an entry that is still pending. Whether it has lived is then undecided, and
//! its maker, or a helper, may be just about to make it live: they looked at the node before it died.
//! So the sweep decides it, by the same compare-exchange as they (`Seen::settle`). If that kills it,
//! it has not lived, and its maker tries again with another node; if it was live by then, it has, and
//! the sweep reports it.

use crate::cache::core::Core;
use crate::cache::target::Target;
use crate::clock::Nanos;
use crate::directory::{Charge, Node};
use crate::item::Version;
use crate::reclaim::Guard;
use crate::removal::{Names, Removal, RemovalCause};
use crate::table::{Owner, Seen, Slot};
use crate::value::Value;

/// Why an entry leaves the table, as the one who takes it out saw it in its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Expired,
    Evicted,
    Replaced,
    Deleted,
    /// Its node died, or the node's user.
    Died,
    /// It was killed at birth, or held the place of a load.
    NeverLived,
}

/// What a sweep took out.
#[derive(Clone, Copy, Default)]
pub(crate) struct Swept {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

impl<V: Value, S> Core<V, S> {
    /// Takes an entry out of its slot, unless that has changed.
    pub(crate) fn unlink<'g>(
        &self,
        hash: u64,
        slot: &Slot<'g, V, Node>,
        entry: Seen<'g, V, Node>,
        exit: Exit,
    ) -> bool {
        if planted!("retire_before_unlink") {
            self.took_out(hash, entry, exit);
            return self.table.remove(slot);
        }
        let early = planted!("report_before_unlink");
        if early {
            self.report(entry, exit);
        }
        let won = self.table.remove(slot);
        if won {
            self.took_out(hash, entry, if early { Exit::NeverLived } else { exit });
        }
        won
    }

    /// The same where a reader finds that its deadline is over; out of line, and with a copy of the
    /// slot, for the sake of those who find something: theirs can stay in registers.
    #[cold]
    #[inline(never)]
    pub(crate) fn unlink_expired<'g>(
        &self,
        hash: u64,
        slot: Slot<'g, V, Node>,
        entry: Seen<'g, V, Node>,
    ) {
        self.unlink(hash, &slot, entry, Exit::Expired);
    }

    /// Takes out every entry of a deleted node from the chain of a handle.
    pub(crate) fn sweep(&self, hash: u64, node: &Node, guard: &Guard) -> Swept {
        let mut swept = Swept::default();
        self.table.sweep(hash, node, guard, |entry| {
            swept.entries += 1;
            swept.bytes += entry.bytes();
            self.took_out(hash, entry, Exit::Died);
        });
        swept
    }

    /// Books an entry that the caller has taken out of its slot, by whatever compare-exchange,
    /// with nothing of its node in its place.
    pub(crate) fn took_out(&self, hash: u64, entry: Seen<'_, V, Node>, exit: Exit) {
        self.report(entry, exit);
        let (node, bytes) = (entry.owner(), entry.bytes());
        node.book(None, Some(bytes), Charge::NONE);
        self.retire(entry, bytes, || self.account(hash).release(bytes));
        if let Some(entries) = &self.entries_budget {
            entries.account(self.shard(hash)).release(1);
        }
        self.count_entries(hash, -1);
        self.release(hash, node, entry.guard());
    }

    /// Why a live entry has no right to its slot any more, if it has none.
    pub(crate) fn is_over(
        &self,
        entry: Seen<'_, V, Node>,
        now: impl FnOnce() -> Nanos,
    ) -> Option<Exit> {
        if entry.owner().is_dead() {
            Some(Exit::Died)
        } else if entry.is_expired(now) {
            Some(Exit::Expired)
        } else {
            None
        }
    }

    /// Reports an entry that left its slot, unless it never lived.
    #[inline]
    pub(crate) fn report(&self, entry: Seen<'_, V, Node>, exit: Exit) {
        if self.is_watched {
            self.report_watched(entry, exit);
        }
    }

    /// As [`report`](Self::report), where `heir` took its place: if that is a copy with other times,
    /// nothing has ended.
    #[inline]
    pub(crate) fn report_replaced(
        &self,
        entry: Seen<'_, V, Node>,
        heir: Seen<'_, V, Node>,
        exit: Exit,
    ) {
        if self.is_watched && (entry.version() != heir.version() || planted!("report_copied")) {
            self.report_watched(entry, exit);
        }
    }

    #[inline(never)]
    fn report_watched(&self, entry: Seen<'_, V, Node>, exit: Exit) {
        if entry.flight().is_some() {
            return;
        }
        let cause = match exit {
            Exit::Expired => RemovalCause::Expired,
            Exit::Evicted => RemovalCause::Evicted,
            Exit::Replaced => RemovalCause::Replaced,
            Exit::Deleted => RemovalCause::Deleted,
            Exit::NeverLived => return,
            Exit::Died => match entry.owner().cause_of_death() {
                Some(cause) if entry.has_lived() => cause,
                _ => return,
            },
        };
        self.tell(cause, || {
            Removal::new(entry.owner().names(entry.key()), entry.version(), entry.bytes(), cause)
        });
    }

    /// Reports a new entry that was answered to be stored, and was not worth what would have had to
    /// go for it.
    #[cold]
    pub(crate) fn report_refused(&self, target: &Target<'_>, version: Version, bytes: u64) {
        let cause = RemovalCause::Evicted;
        self.tell(cause, || {
            Removal::new(Names::new(target.namespace(), target.key), version, bytes, cause)
        });
    }

    fn tell(&self, cause: RemovalCause, removal: impl FnOnce() -> Removal) {
        if let Some(counts) = &self.settings.counts {
            counts.removal(cause);
        }
        if let Some(listener) = &self.settings.listener {
            listener.push(removal());
        }
    }

    /// Runs the listener for up to `most` events, or for all there are once the cache is closed;
    /// not to be called under a guard.
    pub(crate) fn deliver(&self, most: usize) -> super::listener::Delivered {
        let listener = self.settings.listener.as_ref();
        listener
            .map(|listener| listener.deliver(most, || self.directory.is_closed()))
            .unwrap_or_default()
    }
}
