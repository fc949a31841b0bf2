//! Counted references to nodes, and how a node is made.

use std::alloc::Layout;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;

use super::name::Name;
use super::{ALIVE, Kin, Kind, NO_BYTES, NO_SHORTCUT, Node, Sessions};
use crate::directory::handles::Handles;
use crate::directory::names::SessionNames;
use crate::memory::free_one_of_many;
use crate::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::sync::figures;
use crate::sync::{Mutex, Tracked};
use crate::tagged;

/// Far from where the count would wrap, however many threads raise it at once.
const MOST_REFS: u32 = u32::MAX / 2;

/// A counted reference to a node.
pub(crate) struct NodeRef(NonNull<Node>);

// SAFETY: a node is shared through atomics and locks alone.
unsafe impl Send for NodeRef {}
// SAFETY: as above.
unsafe impl Sync for NodeRef {}

impl NodeRef {
    pub(crate) fn global() -> Self {
        Self::allocate(Kind::Global, Kin { none: () }, &[])
    }

    /// A user that may hold so many bytes.
    pub(crate) fn user(id: &str, quota: u64) -> Self {
        let sessions = Sessions {
            names: Mutex::new(SessionNames::new()),
            entries: figures::AtomicU64::new(0),
            quota: figures::AtomicU64::new(quota),
        };
        let kin = Kin { sessions: ManuallyDrop::new(Box::new(sessions)) };
        Self::allocate(Kind::User, kin, id.as_bytes())
    }

    pub(crate) fn session(user: Self, id: &str) -> Self {
        Self::allocate(Kind::Session, Kin { user: ManuallyDrop::new(user) }, id.as_bytes())
    }

    /// A node with a count of one, for whoever asked for it. The reference that is returned is
    /// the one for being open.
    fn allocate(kind: Kind, kin: Kin, name: &[u8]) -> Self {
        let node = Box::new(Node {
            kin,
            dead: AtomicU8::new(ALIVE),
            kind,
            name: Name::new(name),
            shortcut: AtomicU32::new(NO_SHORTCUT),
            refs: AtomicU32::new(1),
            word: AtomicU64::new(1),
            bytes: figures::AtomicU64::new(NO_BYTES),
            handles: Handles::new(),
            _tracked: Tracked::new(),
        });
        node.handles.place();
        // Entries keep the length of their value above the pointer.
        assert!(tagged::fits(&raw const *node), "scopecache needs pointers of at most 48 bits");
        Self(NonNull::from(Box::leak(node)))
    }

    pub(crate) fn as_ptr(&self) -> NonNull<Node> {
        self.0
    }

    /// Gives the reference away as a bare pointer.
    pub(crate) fn into_raw(self) -> NonNull<Node> {
        std::mem::ManuallyDrop::new(self).0
    }

    /// # Safety
    ///
    /// The pointer comes from [`into_raw`](Self::into_raw) and is taken back once.
    pub(crate) unsafe fn from_raw(node: NonNull<Node>) -> Self {
        Self(node)
    }

    /// Another reference to a node that a guard keeps.
    pub(crate) fn of(node: &Node) -> Self {
        // Relaxed: the guard keeps the reference for being open from being dropped, so the
        // count is not zero; a new reference needs no more than that.
        let before = node.refs.fetch_add(1, Ordering::Relaxed);
        if before > MOST_REFS {
            // As the standard library's counters do: somebody leaks references.
            std::process::abort();
        }
        Self(NonNull::from(node))
    }
}

impl Deref for NodeRef {
    type Target = Node;

    #[inline]
    fn deref(&self) -> &Node {
        // SAFETY: the reference counts, so the node is there.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for NodeRef {
    fn clone(&self) -> Self {
        Self::of(self)
    }
}

impl Drop for NodeRef {
    fn drop(&mut self) {
        // AcqRel: whoever drops the last reference must see all that others did with theirs.
        if self.refs.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: made by `Box::leak`, and that was the last reference.
            unsafe { free(self.0) };
        }
    }
}

/// # Safety
///
/// The node was made by `Box`, and nobody reaches it any more.
#[inline(never)]
unsafe fn free(node: NonNull<Node>) {
    // SAFETY: as the caller promises; a box has the layout of what is in it.
    unsafe {
        node.drop_in_place();
        // Its name and the chunks of its handles are small: they are merged with it.
        free_one_of_many(node.as_ptr().cast(), Layout::new::<Node>());
    }
}
