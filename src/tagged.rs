//! Pointers with 16 bits of something else in their high end.
//!
//! User-space addresses of the supported targets have at most 48 bits; whoever allocates what is
//! to be tagged checks that with [`fits`]. Provenance is kept throughout.

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

#[inline]
pub(crate) fn tag<T>(word: *mut T) -> u16 {
    (word.addr() >> SHIFT) as u16
}
