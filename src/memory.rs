//! Hints to the memory system; none changes what a program can see.

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

/// Asks for huge pages where the system gives them on demand (Linux's `madvise` mode): buckets are
/// read at random, and on small pages nearly every read also misses the processor's table of
/// addresses. Only a hint.
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
pub(crate) fn prefer_huge_pages<T>(range: std::ops::Range<*mut T>) {
    #[cfg(target_os = "linux")]
    {
        const HUGE_PAGE: usize = 2 << 20;
        let start = range.start.addr().next_multiple_of(HUGE_PAGE);
        let end = range.end.addr() / HUGE_PAGE * HUGE_PAGE;
        if start < end {
            // SAFETY: the range is ours, and the advice changes nothing that a program can see.
            unsafe {
                libc::madvise(
                    range.start.with_addr(start).cast(),
                    end - start,
                    libc::MADV_HUGEPAGE,
                );
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = range;
}
