//! The address of one key, as operations pass it on.

use std::hash::{BuildHasher, Hasher};

use crate::cache::node_cell::NodeCell;
use crate::directory::Node;
use crate::error::Result;
use crate::memory::same_bytes;
use crate::namespace::{Namespace, OwnedNamespace, check_key, key_hash};
use crate::reclaim::Guard;
use crate::table::Seen;
use crate::value::Value;

/// The address of one key.
pub(crate) struct Target<'a> {
    place: Place<'a>,
    pub(crate) key: &'a [u8],
    pub(crate) hash: u64,
    /// Of the namespace alone.
    pub(super) prefix_hash: u64,
    /// Where the caller remembers the namespace's node.
    pub(crate) cell: Option<&'a NodeCell>,
}

/// The namespace of a target.
enum Place<'a> {
    Named(Namespace<'a>),
    /// As a scope keeps it: its ids are only read where pointers do not tell.
    Scoped(&'a OwnedNamespace),
}

impl<'a> Target<'a> {
    /// # Errors
    ///
    /// `InvalidKey` where an id or the key has no valid length.
    pub(crate) fn new<S: BuildHasher<Hasher: Clone>>(
        namespace: Namespace<'a>,
        key: &'a [u8],
        hasher: &S,
    ) -> Result<Self> {
        namespace.check()?;
        check_key(key)?;
        let prefix = namespace.prefix(hasher);
        let hash = key_hash(&prefix, key);
        let prefix_hash = prefix.finish();
        Ok(Self { place: Place::Named(namespace), key, hash, prefix_hash, cell: None })
    }

    /// The same in a namespace that was resolved before.
    // Always: as a function of its own it adds a sixth to the instructions of a hit.
    #[inline(always)]
    pub(crate) fn in_scope<H: Hasher + Clone>(
        namespace: &'a OwnedNamespace,
        prefix: &H,
        prefix_hash: u64,
        cell: &'a NodeCell,
        key: &'a [u8],
    ) -> Result<Self> {
        check_key(key)?;
        let hash = key_hash(prefix, key);
        Ok(Self { place: Place::Scoped(namespace), key, hash, prefix_hash, cell: Some(cell) })
    }

    /// The namespace's node, where a scope remembers it; it may be dead or closed.
    #[inline]
    pub(super) fn known_node<'g>(&self, guard: &'g Guard) -> Option<&'g Node> {
        self.cell.and_then(|cell| cell.node(guard))
    }

    #[inline]
    pub(crate) fn namespace(&self) -> Namespace<'a> {
        match self.place {
            Place::Named(namespace) => namespace,
            Place::Scoped(namespace) => namespace.get(),
        }
    }
}

/// Whether it is the entry of the target's key; `known` is the node of its namespace, or null.
#[inline]
pub(super) fn is_of<V: Value>(
    entry: Seen<'_, V, Node>,
    target: &Target<'_>,
    known: *const Node,
) -> bool {
    let by_name = known.is_null() || !planted!("by_node_alone");
    (std::ptr::eq(entry.owner_ptr(), known) || by_name && is_named(entry, target))
        && (same_bytes(entry.key(), target.key) || planted!("compare_by_hash"))
}

/// Out of line: most entries are known by their node.
#[inline(never)]
fn is_named<V: Value>(entry: Seen<'_, V, Node>, target: &Target<'_>) -> bool {
    entry.owner().is_named(target.namespace())
}
