//! What follows when an entry stands in a slot and its node has no handle to it yet.

use super::Writer;
use crate::cache::maintenance::Job;
use crate::directory::{Node, NodeRef};
use crate::item::Usage;
use crate::reclaim::Guard;
use crate::table::{Owner, Seen};
use crate::value::Value;

impl<V: Value, S> Writer<'_, V, S> {
    /// Gives the entry's node a handle to it, and sweeps the entry if the node died meanwhile.
    pub(super) fn linked(&mut self, entry: Seen<'_, V, Node>) {
        let pushed = entry.owner().handles().push(self.target.hash, entry.guard());
        self.settle_push(entry, pushed);
    }

    /// After a push that took so many bytes and, where it filled a chunk, has so many handles
    /// behind it.
    pub(super) fn settle_push(
        &mut self,
        entry: Seen<'_, V, Node>,
        (bytes, filled): (u64, Option<u64>),
    ) {
        let (core, hash) = (self.core, self.target.hash);
        let (node, guard) = (entry.owner(), entry.guard());
        self.hold.spend(bytes);
        entry.set_indexed();
        if bytes > 0 && node.is_closed() && !planted!("no_second_discard") {
            // The entry is gone already, and with it the node. Whoever closed that may have
            // discarded its handles before our push: then we see, through `head`, that it is
            // closed, and the chunk that we made is ours to discard.
            core.directory.discard_handles(node, core.account(hash), guard);
        }
        if node.is_dead() && !planted!("no_recheck_after_push") {
            core.sweep(hash, node, guard);
            if node.is_global() && core.directory.is_closed() {
                // The last incarnation never retires, and its deleter may have been and gone:
                // another round takes away the chunk that we may have made.
                core.maintenance.push(Job::reclaim(NodeRef::of(node), Usage::default()));
                core.finish_if_closed();
            }
        } else if let Some(handles) = filled {
            self.compact_if_stale(node, handles, guard);
        }
    }

    /// Drops stale handles where they have come to outnumber the entries.
    fn compact_if_stale(&self, node: &Node, handles: u64, guard: &Guard) {
        const FEW: u64 = if cfg!(any(scopecache_loom, scopecache_shuttle)) { 2 } else { 64 };
        const AT_ONCE: u64 = 4096;
        if handles < FEW || handles < 2 * node.count() {
            return;
        }
        if handles <= AT_ONCE {
            self.core.compact(node, guard);
        } else {
            self.core.maintenance.push(Job::compact(node));
            self.core.finish_if_closed();
        }
    }
}
