//! Shortcuts from the names of namespaces to their nodes, for calls that come without a scope.
//!
//! A table that forgets: one place for each hash, and who comes last has it. A shortcut saves a
//! reader the wait for an entry before its node can be asked for, and a writer the locks of the
//! directory; where there is none, both go the long way.
//!
//! Nodes stand here by bare pointers. A place holds a node only while somebody may still raise it:
//! who puts a node here holds a count of it, and who closes the node takes it out again before it
//! is retired. The count is given back after the first, and brought to zero before the second, so
//! that no place is filled behind the closer's back.

use std::ptr;

use crate::directory::node::Node;
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
use crate::memory::prefer_huge_pages;
use crate::memory::prefetch;
use crate::reclaim::Guard;
use crate::sync::atomic::{AtomicPtr, Ordering};

pub(crate) struct Shortcuts {
    /// None, or a power of two, up to 2^31.
    places: Box<[AtomicPtr<Node>]>,
}

impl Shortcuts {
    /// `places` is zero or a power of two.
    pub(crate) fn new(places: usize) -> Self {
        debug_assert!(places == 0 || places.is_power_of_two(), "hashes are masked");
        Self { places: new_places(places.min(Node::MOST_SHORTCUT as usize + 1)) }
    }

    /// To be called before they are used.
    #[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
    pub(crate) fn prefer_huge_pages(&self) {
        prefer_huge_pages(&self.places);
    }

    pub(crate) fn bytes(&self) -> u64 {
        size_of_val(&*self.places) as u64
    }

    #[inline]
    fn place(&self, hash: u64) -> Option<&AtomicPtr<Node>> {
        // Where there are no places, the mask is of no matter.
        self.places.get(hash as usize & self.places.len().wrapping_sub(1))
    }

    /// A hash of 31 bits that falls on the same place.
    fn short(hash: u64) -> u32 {
        hash as u32 & Node::MOST_SHORTCUT
    }

    /// Starts to fetch the hash's place into the cache.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(place) = self.place(hash) {
            prefetch(place);
        }
    }

    /// The node that was last remembered under a hash that falls on this place; it may have
    /// another name, be dead or be closed.
    #[inline]
    pub(crate) fn get<'g>(&self, hash: u64, guard: &'g Guard) -> Option<&'g Node> {
        // Acquire: pairs with the Release in `remember`: the node is initialised.
        let node = self.place(hash)?.load(Ordering::Acquire);
        guard.check(node);
        // SAFETY: null, or taken out of its place before it went through the epochs; the guard is
        // older than that.
        unsafe { node.as_ref() }
    }

    /// The caller holds a count of the node, whose namespace has this hash.
    pub(crate) fn remember(&self, hash: u64, node: &Node) {
        let Some(place) = self.place(hash) else { return };
        // Relaxed: only compared.
        if ptr::eq(place.load(Ordering::Relaxed), node) || !node.claim_shortcut(Self::short(hash)) {
            return;
        }
        // Release: publishes the node.
        place.store(ptr::from_ref(node).cast_mut(), Ordering::Release);
    }

    /// Takes a node out that was closed and is not yet retired.
    pub(crate) fn forget(&self, node: &Node) {
        let Some(place) = node.shortcut().and_then(|hash| self.place(hash.into())) else { return };
        if planted!("keep_shortcut") {
            return;
        }
        let node = ptr::from_ref(node).cast_mut();
        // Relaxed: what was stored under a count came before the close, which the caller has seen;
        // so this sees the node if it stands here. Nobody acts on its going.
        let _ = place.compare_exchange(node, ptr::null_mut(), Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// The system zeroes their memory when it is touched.
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
fn new_places(places: usize) -> Box<[AtomicPtr<Node>]> {
    let zeroed: Box<[std::mem::MaybeUninit<AtomicPtr<Node>>]> = Box::new_zeroed_slice(places);
    // SAFETY: null is all zeroes.
    unsafe { zeroed.assume_init() }
}

#[cfg(any(scopecache_loom, scopecache_shuttle))]
fn new_places(places: usize) -> Box<[AtomicPtr<Node>]> {
    (0..places).map(|_| AtomicPtr::new(ptr::null_mut())).collect()
}

#[cfg(all(test, not(any(scopecache_loom, scopecache_shuttle))))]
mod tests {
    use super::*;
    use crate::directory::{NO_QUOTA, NodeRef};
    use crate::reclaim::pin;

    fn found(shortcuts: &Shortcuts, hash: u64, guard: &Guard) -> *const Node {
        shortcuts.get(hash, guard).map_or(ptr::null(), ptr::from_ref)
    }

    #[test]
    fn a_node_is_found_by_its_hash_until_it_is_forgotten_or_another_comes() {
        let (shortcuts, guard) = (Shortcuts::new(8), pin());
        assert_eq!(shortcuts.bytes(), 64);
        // Only the low bits tell places apart.
        let hashes: [u64; 7] = [0, 1, 2, 7, 3 | 1 << 40, 4 | 1 << 31, 5 | 1 << 63];
        let nodes = hashes.map(|_| NodeRef::user("u", NO_QUOTA));
        for (&hash, node) in hashes.iter().zip(&nodes) {
            assert!(found(&shortcuts, hash, &guard).is_null());
            shortcuts.remember(hash, node);
            shortcuts.remember(hash, node);
        }
        for (&hash, node) in hashes.iter().zip(&nodes) {
            assert!(ptr::eq(found(&shortcuts, hash, &guard), &**node), "{hash}");
        }
        let other = NodeRef::user("v", NO_QUOTA);
        shortcuts.remember(8, &other);
        assert!(ptr::eq(found(&shortcuts, 0, &guard), &*other), "who comes last has the place");
        shortcuts.forget(&nodes[0]);
        assert!(ptr::eq(found(&shortcuts, 0, &guard), &*other), "it was not the first one's");
        for node in nodes.iter().chain([&other]) {
            shortcuts.forget(node);
        }
        assert!(hashes.iter().all(|&hash| found(&shortcuts, hash, &guard).is_null()));
    }

    #[test]
    fn a_node_is_never_in_two_places() {
        let (shortcuts, guard, node) = (Shortcuts::new(4), pin(), NodeRef::user("u", NO_QUOTA));
        shortcuts.remember(1, &node);
        // A hasher that contradicts itself.
        shortcuts.remember(2, &node);
        assert!(found(&shortcuts, 2, &guard).is_null());
        shortcuts.forget(&node);
        assert!(found(&shortcuts, 1, &guard).is_null());
    }

    #[test]
    fn without_places_there_are_no_shortcuts() {
        let (shortcuts, guard, node) = (Shortcuts::new(0), pin(), NodeRef::user("u", NO_QUOTA));
        shortcuts.remember(1, &node);
        shortcuts.forget(&node);
        assert_eq!((found(&shortcuts, 1, &guard), shortcuts.bytes()), (ptr::null(), 0));
    }
}
