//! The id of a node.

use crate::value::allocated;

/// An id. Short ones, UUIDs among them, stand in the node.
pub(super) enum Name {
    Inline { len: u8, bytes: [u8; INLINE] },
    Heap(Box<[u8]>),
}

const INLINE: usize = 38;

impl Name {
    pub(super) fn new(name: &[u8]) -> Self {
        if name.len() > INLINE {
            return Self::Heap(name.into());
        }
        let mut bytes = [0; INLINE];
        bytes[..name.len()].copy_from_slice(name);
        Self::Inline { len: name.len() as u8, bytes }
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Self::Heap(bytes) => bytes,
        }
    }

    /// Bytes that a name of this length takes outside the node.
    pub(super) fn heap_bytes(len: usize) -> usize {
        if len > INLINE { allocated(len) } else { 0 }
    }
}
