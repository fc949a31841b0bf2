//! Counted references to nodes, and how a node is made.

use std::ops::Deref;
use std::ptr::NonNull;

use super::name::Name;
use super::{Kind, NO_BYTES, NO_SHORTCUT, Node, Sessions};
use crate::directory::handles::Handles;
use crate::directory::names::SessionNames;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::sync::figures;
use crate::sync::{Mutex, Tracked};

/// A counted reference to a node.
pub(crate) struct NodeRef(NonNull<Node>);

// SAFETY: a node is shared through atomics and locks alone.
unsafe impl Send for NodeRef {}
// SAFETY: as above.
unsafe impl Sync for NodeRef {}

impl NodeRef {
    pub(crate) fn global() -> Self {
        Self::allocate(Kind::Global, None, &[], None)
    }

    /// A user that may hold so many bytes.
    pub(crate) fn user(id: &str, quota: u64) -> Self {
        let sessions = Sessions {
            names: Mutex::new(SessionNames::new()),
            entries: figures::AtomicU64::new(0),
            quota: figures::AtomicU64::new(quota),
        };
        Self::allocate(Kind::User, None, id.as_bytes(), Some(Box::new(sessions)))
    }

    pub(crate) fn session(user: Self, id: &str) -> Self {
        Self::allocate(Kind::Session, Some(user), id.as_bytes(), None)
    }

    /// A node with a count of one, for whoever asked for it. The reference that is returned is
    /// the one for being open.
    fn allocate(
        kind: Kind,
        user: Option<Self>,
        name: &[u8],
        sessions: Option<Box<Sessions>>,
    ) -> Self {
        let node = Box::new(Node {
            user,
            name: Name::new(name),
            sessions,
            kind,
            dead: AtomicBool::new(false),
            shortcut: AtomicU32::new(NO_SHORTCUT),
            refs: AtomicUsize::new(1),
            word: AtomicU64::new(1),
            bytes: figures::AtomicU64::new(NO_BYTES),
            handles: Handles::new(),
            _tracked: Tracked::new(),
        });
        node.handles.place();
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
        node.refs.fetch_add(1, Ordering::Relaxed);
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
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}
