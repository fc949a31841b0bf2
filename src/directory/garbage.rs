//! Nodes and chunks of handles that were unlinked and are still to be freed.
//!
//! Of all caches of the process together, as the epochs are: what is deferred outlives its cache.

use std::ptr::NonNull;
use std::sync::LazyLock;

use crate::directory::handles::Chunk;
use crate::directory::node::{Node, NodeRef};
use crate::reclaim::{Discard, Garbage, Guard};

static NODES: LazyLock<Garbage<Node>> = LazyLock::new(Garbage::new);
static CHUNKS: LazyLock<Garbage<Chunk>> = LazyLock::new(Garbage::new);

// SAFETY: nodes and their names are of no thread.
unsafe impl Discard for Node {
    /// Drops the reference for being open; the node goes with the last one.
    unsafe fn free(node: NonNull<Self>) {
        // SAFETY: given away by `NodeRef::into_raw` when the node was put into the directory, and
        // dropped here alone, by the promise of `retire_node`.
        drop(unsafe { NodeRef::from_raw(node) });
    }
}

// SAFETY: chunks are of no thread.
unsafe impl Discard for Chunk {
    unsafe fn free(chunk: NonNull<Self>) {
        // SAFETY: by the promise of `retire_chunk`.
        unsafe { Self::free_alone(chunk.as_ptr()) };
    }
}

/// Each goes to the epochs by itself: in models, whose executions the statics outlive and which check
/// each access against the moment of its own unlinking, and where AddressSanitizer shall see what is
/// read after its end.
const ALONE: bool =
    cfg!(any(scopecache_loom, scopecache_shuttle, scopecache_keeps_no_memory, fuzzing));

/// Drops a node's reference for being open, once no guard can have come by the node.
///
/// # Safety
///
/// The node is closed and out of the directory, and no entry in a slot points to it; called once.
pub(super) unsafe fn retire_node(node: &Node, guard: &Guard) {
    // SAFETY: as the caller promises.
    unsafe { retire(&NODES, NonNull::from(node), guard) };
}

/// Frees a chunk once no guard can have come by it.
///
/// # Safety
///
/// It comes from `Chunk::allocate`, and is no longer in a list; called once.
pub(super) unsafe fn retire_chunk(chunk: NonNull<Chunk>, guard: &Guard) {
    // SAFETY: as the caller promises.
    unsafe { retire(&CHUNKS, chunk, guard) };
}

/// # Safety
///
/// As for [`Garbage::retire`].
unsafe fn retire<T: Discard>(
    garbage: &'static LazyLock<Garbage<T>>,
    object: NonNull<T>,
    guard: &Guard,
) {
    if ALONE {
        // SAFETY: passed on to the caller; `Discard` allows any thread.
        unsafe { guard.defer(object.as_ptr().cast_const().cast(), move || T::free(object)) };
    } else {
        // SAFETY: passed on to the caller.
        unsafe { garbage.retire(object, guard) };
    }
}

/// Hands what was retired to the epochs, to be flushed.
pub(crate) fn hand_over_garbage(guard: &Guard) {
    if !ALONE {
        NODES.hand_over(guard);
        CHUNKS.hand_over(guard);
    }
}

/// Frees up to `most` nodes and as many chunks that no guard keeps any more.
pub(crate) fn free_garbage(most: usize) {
    if !ALONE {
        NODES.free(most);
        CHUNKS.free(most);
    }
}
