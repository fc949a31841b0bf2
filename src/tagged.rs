//! Pointers with 16 bits of something else in their high end.
//!
//! User-space addresses of the supported targets have at most 48 bits; whoever allocates what is
//! to be tagged checks that with [`fits`]. Provenance is kept throughout.

use std::ptr::NonNull;

const SHIFT: u32 = 48;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("scopecache packs tags into pointers and needs a 64-bit target");

/// Whether the address leaves room for a tag.
#[inline]
pub(crate) fn fits<T>(pointer: *const T) -> bool {
    pointer.addr() >> SHIFT == 0
}

#[inline]
pub(crate) fn pack<T>(pointer: *mut T, tag: u16) -> *mut T {
    pointer.map_addr(|address| address | usize::from(tag) << SHIFT)
}

#[inline]
pub(crate) fn pointer<T>(word: *mut T) -> *mut T {
    word.map_addr(|address| address & ((1 << SHIFT) - 1))
}

/// The pointer in a word, if the word has this tag and the pointer is not null.
#[inline]
pub(crate) fn untag<T>(word: *mut T, tag: u16) -> Option<NonNull<T>> {
    let own = word.map_addr(|address| address ^ usize::from(tag) << SHIFT);
    if fits(own) { NonNull::new(own) } else { None }
}

#[inline]
pub(crate) fn tag<T>(word: *mut T) -> u16 {
    (word.addr() >> SHIFT) as u16
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    #[test]
    fn a_word_gives_its_pointer_away_for_its_own_tag_alone() {
        let mut object = 7;
        for tag in [0, 1, 0x7fff, u16::MAX] {
            for pointer in [&raw mut object, ptr::without_provenance_mut((1 << SHIFT) - 4)] {
                let word = pack(pointer, tag);
                assert_eq!(untag(word, tag), NonNull::new(pointer));
                assert_eq!((untag(word, tag ^ 1), untag(word, !tag)), (None, None));
            }
            assert_eq!(untag(pack(ptr::null_mut::<u32>(), tag), tag), None);
        }
    }
}
