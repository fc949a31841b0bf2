//! The id of a node.

use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::slice;

use crate::value::allocated;

/// An id, in 38 bytes of any alignment. Short ones, UUIDs among them, stand in the node.
pub(super) struct Name {
    /// The length of an inline one, or `HEAP`.
    len: u8,
    /// The id, or pointer and length of a boxed one; not plain bytes, which would not keep what a
    /// pointer may point to.
    bytes: [MaybeUninit<u8>; INLINE],
}

const INLINE: usize = 37;
const HEAP: u8 = u8::MAX;

/// A boxed id, as `bytes` holds it.
type Boxed = NonNull<[u8]>;

const _: () = assert!(size_of::<Boxed>() <= INLINE && INLINE < HEAP as usize);

impl Name {
    pub(super) fn new(name: &[u8]) -> Self {
        let mut bytes = [MaybeUninit::uninit(); INLINE];
        let len = if name.len() <= INLINE {
            bytes[..name.len()].write_copy_of_slice(name);
            name.len() as u8
        } else {
            let boxed: Boxed = NonNull::from(Box::leak(Box::<[u8]>::from(name)));
            // SAFETY: there is room for it, as asserted above; nothing needs to be aligned.
            unsafe { bytes.as_mut_ptr().cast::<Boxed>().write_unaligned(boxed) };
            HEAP
        };
        Self { len, bytes }
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        if self.len == HEAP {
            // SAFETY: the box is this name's own and goes with it alone.
            return unsafe { self.boxed().as_ref() };
        }
        // SAFETY: `new` wrote so many, no more than there are.
        unsafe { slice::from_raw_parts(self.bytes.as_ptr().cast(), self.len.into()) }
    }

    /// The box of a name that is not inline.
    fn boxed(&self) -> Boxed {
        debug_assert_eq!(self.len, HEAP);
        // SAFETY: `new` wrote one there, as the length says.
        unsafe { self.bytes.as_ptr().cast::<Boxed>().read_unaligned() }
    }

    /// Bytes that a name of this length takes outside the node.
    pub(super) fn heap_bytes(len: usize) -> usize {
        if len > INLINE { allocated(len) } else { 0 }
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if self.len == HEAP {
            // SAFETY: leaked by `new`, and taken back here alone.
            drop(unsafe { Box::from_raw(self.boxed().as_ptr()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_any_length_is_kept_and_only_a_long_one_takes_more() {
        for len in [0, 1, INLINE - 1, INLINE, INLINE + 1, 254, 255, 256] {
            let id: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let name = Name::new(&id);
            assert_eq!(name.bytes(), id);
            if len <= INLINE {
                assert_eq!((usize::from(name.len), Name::heap_bytes(len)), (len, 0));
            } else {
                assert_eq!(name.len, HEAP);
                assert!((len..len + 24).contains(&Name::heap_bytes(len)));
            }
        }
    }
}
