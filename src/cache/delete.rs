//! Taking away: of a key, of a whole namespace, of everything.

use crate::cache::core::{Core, Sight};
use crate::cache::exit::Exit;
use crate::cache::maintenance::Job;
use crate::cache::target::Target;
use crate::directory::Death;
use crate::error::Result;
use crate::item::{Item, Removed};
use crate::namespace::Namespace;
use crate::reclaim::{Guard, pin};
use crate::value::Value;

impl<V: Value, S> Core<V, S> {
    /// Removes the visible entry of a key; answers whether there was one. A load of the key that
    /// is under way loses the right to store.
    pub(crate) fn delete(&self, target: &Target<'_>) -> Result<bool> {
        self.check_open()?;
        let guard = pin();
        loop {
            let (slot, entry, visible) = match self.look(target, &guard) {
                Sight::Absent | Sight::Nothing => return Ok(false),
                Sight::Loading(slot, entry) => (slot, entry, false),
                Sight::Present(slot, entry) => (slot, entry, true),
            };
            if self.unlink(target.hash, &slot, entry, Exit::Deleted) {
                return Ok(visible);
            }
        }
    }

    /// Removes the visible entry of a key and answers what it held.
    pub(crate) fn take(&self, target: &Target<'_>) -> Result<Option<Item<V>>> {
        self.check_open()?;
        let guard = pin();
        loop {
            let Sight::Present(slot, entry) = self.look(target, &guard) else { return Ok(None) };
            if self.unlink(target.hash, &slot, entry, Exit::Deleted) {
                return Ok(Some(self.item(entry)));
            }
        }
    }

    /// Deletes a namespace: one swap of a flag, whatever it holds. Reclaiming is left to
    /// maintenance.
    pub(crate) fn delete_namespace(&self, namespace: Namespace<'_>) -> Result<Removed> {
        self.check_open()?;
        namespace.check()?;
        let removed = self.kill(namespace, Death::Deleted, &pin());
        self.finish_if_closed();
        Ok(removed)
    }

    fn kill(&self, namespace: Namespace<'_>, death: Death, guard: &Guard) -> Removed {
        // It comes while the node is looked up.
        self.maintenance.prefetch_queue();
        // A deletion gives back bytes of nodes alone, to whichever shard.
        let account = self.budget.account(0);
        let Some((node, held)) = self.directory.kill(namespace, death, account, guard) else {
            return Removed::default();
        };
        self.maintenance.push(Job::reclaim(node, held));
        Removed { entries: held.entries, bytes: held.bytes }
    }

    /// Deletes every namespace, one after another.
    pub(crate) fn clear(&self) -> Removed {
        let removed = self.kill_all(Death::Cleared);
        self.finish_if_closed();
        removed
    }

    fn kill_all(&self, death: Death) -> Removed {
        let guard = pin();
        let mut removed = self.kill(Namespace::Global, death, &guard);
        for user in self.directory.users(&guard) {
            let one = user.with_namespace(|namespace| self.kill(namespace, death, &guard));
            removed.entries += one.entries;
            removed.bytes += one.bytes;
        }
        removed
    }

    /// Refuses all calls from now on and frees everything; what had left the cache before is
    /// reported.
    pub(crate) fn close(&self) {
        if !self.directory.close() {
            return;
        }
        let nodes = self.directory.user_count() + self.directory.session_count();
        self.empty();
        // Without readers, this many rounds free all that was retired: each takes up to 512 nodes, and
        // as many chunks.
        (0..8 + nodes / 64).for_each(|_| self.flush());
        self.deliver(usize::MAX);
    }

    /// Frees what a cache that is closed holds. A call that was under way when it was closed does
    /// this too, where it may have left something that the closer did not find.
    pub(crate) fn empty(&self) {
        self.kill_all(Death::Closed);
        self.finish();
        self.drop_upkeep();
    }

    /// After a job was queued: whoever closed the cache may have looked at the queue before. If
    /// so, the lock of the queue tells us of the mark.
    pub(crate) fn finish_if_closed(&self) {
        if self.directory.is_closed() && !planted!("leave_to_closer") {
            self.finish();
        }
    }

    /// Does all that is queued; what is freed goes to the epochs in steps.
    fn finish(&self) {
        while self.maintenance.finish_some(self, 1 << 16, &pin()) {
            self.flush();
        }
        self.flush();
    }
}

impl<V: Value, S> Drop for Core<V, S> {
    fn drop(&mut self) {
        self.close();
        // What calls left that were under way when it was closed.
        self.deliver(usize::MAX);
    }
}
