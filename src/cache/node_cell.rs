//! Where a scope remembers its namespace's node.

use std::ptr::{self, NonNull};

use crate::directory::{Node, NodeRef};
use crate::reclaim::Guard;
use crate::sync::atomic::{AtomicPtr, Ordering};

/// A replaceable reference to a node, empty at first.
///
/// What it remembers may be out of date: a node that has died or closed, or none where there is
/// one. Readers only compare it with the owner of an entry; writers check it when they raise it.
pub(crate) struct NodeCell(AtomicPtr<Node>);

impl NodeCell {
    pub(crate) fn new(node: Option<&Node>) -> Self {
        let node = node.map_or(ptr::null_mut(), |node| NodeRef::of(node).into_raw().as_ptr());
        Self(AtomicPtr::new(node))
    }

    /// The address, to be compared with others and not to be read.
    #[inline]
    pub(crate) fn get(&self) -> *const Node {
        // Relaxed: it is only compared.
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn node<'g>(&self, _guard: &'g Guard) -> Option<&'g Node> {
        // Acquire: pairs with the AcqRel in `learn`: the node is initialised.
        let node = self.0.load(Ordering::Acquire);
        // SAFETY: the reference that the cell holds is dropped through the guard's epochs; the
        // node may have left the directory long ago.
        unsafe { node.as_ref() }
    }

    /// Remembers `node`.
    pub(crate) fn learn(&self, node: &Node, guard: &Guard) {
        if ptr::eq(self.get(), node) {
            return;
        }
        let new = NodeRef::of(node).into_raw().as_ptr();
        // AcqRel: publishes the reference; takes the old one over.
        let old = self.0.swap(new, Ordering::AcqRel);
        if let Some(old) = NonNull::new(old) {
            // SAFETY: the cell's reference, which the swap made ours.
            let old = unsafe { NodeRef::from_raw(old) };
            // SAFETY: out of the cell, so no guard taken later finds it there. No address to
            // check: it is a reference that goes, not the node.
            unsafe { guard.defer(ptr::null(), move || drop(old)) };
        }
    }
}

impl Drop for NodeCell {
    fn drop(&mut self) {
        // Relaxed: exclusive access.
        if let Some(node) = NonNull::new(self.0.load(Ordering::Relaxed)) {
            // SAFETY: the cell's reference; nobody else reads the cell any more.
            drop(unsafe { NodeRef::from_raw(node) });
        }
    }
}
