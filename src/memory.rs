//! Hints to the memory system, none of which changes what a program can see; and how bytes are compared.

use std::alloc::{Layout, dealloc, realloc};
use std::cell::Cell;
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
use std::fs;
#[cfg(all(target_os = "linux", not(any(scopecache_loom, scopecache_shuttle))))]
use std::ptr;
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
use std::sync::LazyLock;

/// Starts to fetch what stands at the address into the cache; only a hint.
#[inline]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch accesses nothing and cannot fault.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch accesses nothing and cannot fault.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// Whether both are the same; short ones, as most keys are, are compared without a call.
#[inline]
pub(crate) fn same_bytes(one: &[u8], two: &[u8]) -> bool {
    /// The ends of a string of `N` to `2 * N` bytes, which is all of it.
    #[inline]
    fn ends<const N: usize>(bytes: &[u8]) -> Option<([u8; N], [u8; N])> {
        Some((*bytes.first_chunk()?, *bytes.last_chunk()?))
    }
    one.len() == two.len()
        && match one.len() {
            4..8 => ends::<4>(one) == ends::<4>(two),
            8..=16 => ends::<8>(one) == ends::<8>(two),
            17..=32 => ends::<16>(one) == ends::<16>(two),
            _ => one == two,
        }
}

/// Gives a block back to the allocator, as the last of some, and has glibc merge those.
///
/// It keeps small blocks (up to 128 bytes) as they are, in lists of their arena, until somebody asks
/// that arena for a kilobyte: this call merges all of them, whoever makes it. A reader that needed
/// a bag of the epochs beside the deletion of 25,000 sessions waited 5 ms for it. So who frees many
/// asks now and then. To let a block grow is to ask its own arena; other allocators copy it.
///
/// # Safety
///
/// As for [`dealloc`].
#[cold]
unsafe fn free_and_merge(block: *mut u8, layout: Layout) {
    /// A little more than the lists of threads hold.
    const ASKED_BYTES: usize = 2048;
    let asked = Layout::from_size_align(ASKED_BYTES, layout.align()).expect("a small layout");
    if layout.size() < ASKED_BYTES && cfg!(all(target_os = "linux", target_env = "gnu")) {
        // SAFETY: the caller's, with this layout; what is asked for is not empty.
        let grown = unsafe { realloc(block, layout, ASKED_BYTES) };
        if !grown.is_null() {
            // SAFETY: ours, and it has this size now.
            return unsafe { dealloc(grown, asked) };
        }
    }
    // SAFETY: passed on to the caller.
    unsafe { dealloc(block, layout) }
}

/// Gives back one of blocks that may be many, see [`free_and_merge`].
///
/// # Safety
///
/// As for [`dealloc`].
#[inline]
pub(crate) unsafe fn free_one_of_many(block: *mut u8, layout: Layout) {
    /// Of so many that a thread frees, one merges.
    const MERGED: u32 = 32;
    thread_local! {
        static FREED: Cell<u32> = const { Cell::new(0) };
    }
    let freed = FREED.get().wrapping_add(1);
    FREED.set(freed);
    // SAFETY: passed on to the caller.
    unsafe {
        if freed.is_multiple_of(MERGED) {
            free_and_merge(block, layout);
        } else {
            dealloc(block, layout);
        }
    }
}

/// What a huge page holds, where those of the usual size hold 4 KiB.
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// Asks for huge pages where the system gives them on demand (Linux's `madvise` mode): buckets are
/// read at random, and on small pages nearly every read also misses the processor's table of
/// addresses. Only a hint.
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
pub(crate) fn prefer_huge_pages<T>(range: &[T]) {
    let range = range.as_ptr_range();
    let start = range.start.addr().next_multiple_of(HUGE_PAGE);
    let end = range.end.addr() / HUGE_PAGE * HUGE_PAGE;
    if start < end {
        #[cfg(target_os = "linux")]
        advise(start, end - start, libc::MADV_HUGEPAGE);
    }
}

/// Whether the system can move memory to huge pages, and may.
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
pub(crate) fn has_huge_pages() -> bool {
    static ALLOWED: LazyLock<bool> = LazyLock::new(|| {
        // Who turned them off does not want them from us either, as the system would allow.
        fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
            .is_ok_and(|modes| !modes.contains("[never]"))
    });
    cfg!(all(target_os = "linux", target_pointer_width = "64")) && *ALLOWED
}

/// Has the system move what stands in the huge page at this address onto one, as far as it can:
/// it must all be memory that the program got from the system in one piece.
///
/// To the program nothing changes, whatever stands there, and if somebody gives it back meanwhile.
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
pub(crate) fn move_to_huge_page(address: usize) {
    debug_assert!(address.is_multiple_of(HUGE_PAGE));
    #[cfg(target_os = "linux")]
    {
        /// Since Linux 6.1; `libc` does not name it for all systems.
        const MADV_COLLAPSE: libc::c_int = 25;
        if !advise(address, HUGE_PAGE, MADV_COLLAPSE) {
            // An older one does it in the background, in its own time.
            advise(address, HUGE_PAGE, libc::MADV_HUGEPAGE);
        }
    }
}

/// Advises the system on how to keep memory that the program has; answers whether it could.
#[cfg(all(target_os = "linux", not(any(scopecache_loom, scopecache_shuttle))))]
fn advise(address: usize, len: usize, advice: libc::c_int) -> bool {
    // SAFETY: callers give advice that changes nothing that a program can see, on whatever memory.
    unsafe { libc::madvise(ptr::without_provenance_mut(address), len, advice) == 0 }
}

#[cfg(all(test, not(any(scopecache_loom, scopecache_shuttle))))]
mod tests {
    use super::same_bytes;

    #[test]
    fn bytes_are_the_same_if_each_is_and_as_many() {
        for len in 0..80 {
            let one: Vec<u8> = (0..len).collect();
            assert!(same_bytes(&one, &one.clone()), "{len}");
            for place in 0..one.len() {
                let mut two = one.clone();
                two[place] ^= 0x80;
                assert!(!same_bytes(&one, &two), "{len}, {place}");
                assert!(!same_bytes(&one, &one[..place]), "{len}, {place}");
            }
        }
    }
}
