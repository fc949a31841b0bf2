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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_any_length_is_kept_and_only_a_long_one_takes_more() {
        for len in [0, 1, INLINE - 1, INLINE, INLINE + 1, 256] {
            let id: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let name = Name::new(&id);
            assert_eq!(name.bytes(), id);
            match name {
                Name::Inline { .. } => assert_eq!(Name::heap_bytes(len), 0, "{len}"),
                Name::Heap(_) => assert!((len..len + 24).contains(&Name::heap_bytes(len))),
            }
        }
    }
}
