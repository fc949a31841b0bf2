//! What a counting allocator sees: the figures are true, and nothing is left behind.
//!
//! One test in a process of its own: the allocator counts for all threads.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

use scopecache::{Cache, Maintenance};

struct Counting;

static ALLOCATED: AtomicIsize = AtomicIsize::new(0);

/// What the allocator of the system takes for it: 16-byte classes with a word of their own.
fn taken(layout: Layout) -> isize {
    (layout.size() + 8).next_multiple_of(16) as isize
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Relaxed: a count, which orders nothing.
        ALLOCATED.fetch_add(taken(layout), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // Relaxed: as in `alloc`.
        ALLOCATED.fetch_sub(taken(layout), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocated() -> isize {
    // Relaxed: read by the one thread of this test.
    ALLOCATED.load(Ordering::Relaxed)
}

fn fill(cache: &Cache) -> scopecache::Result<()> {
    for user in 0..500 {
        for session in 0..4 {
            let user = format!("user-{user:031}");
            let scope = cache.session(&user, &format!("session-{session:028}"))?;
            for key in 0..8 {
                scope.set(format!("state-{key}"), vec![7; 20 + 300 * key])?;
            }
            scope.touch("state-1", std::time::Duration::from_secs(60))?;
            scope.set("state-2", "overwritten")?;
            // What a load brings too late goes, too.
            let lease = scope.lease("state-9")?;
            scope.set("state-9", "from elsewhere")?;
            assert!(lease.fulfil("too late")?.is_none());
        }
    }
    Ok(())
}

#[test]
fn figures_are_true_and_nothing_is_left_behind() -> scopecache::Result<()> {
    // A table that has to grow by lines of its own.
    let build = || {
        let builder = Cache::builder().max_bytes(64 << 20).expected_entries(1_000);
        builder.maintenance(Maintenance::Manual).build()
    };
    // What the epochs and the threads allocate once.
    let warm: Cache = build()?;
    fill(&warm)?;
    drop(warm);
    let settled: Cache = build()?;
    for _ in 0..100 {
        settled.maintain(1);
    }
    drop(settled);

    let before = allocated();
    let cache: Cache = build()?;
    let empty = allocated();
    fill(&cache)?;
    while cache.stats().retired_bytes > 0 {
        cache.maintain(1);
    }
    let stats = cache.stats();
    assert!(stats.overflow_lines > 1_000, "{stats:?}");
    let (counted, real) = (stats.live_bytes as f64, (allocated() - empty) as f64);
    // Nothing is printed before the end: the harness would keep it in memory.
    assert!((counted / real - 1.0).abs() < 0.03, "{counted} counted, {real} allocated");

    drop(cache);
    // Garbage of the closed cache goes with the epochs that others drive on.
    for _ in 0..100 {
        if allocated() <= before {
            println!("{} entries: {counted} bytes counted, {real} allocated", stats.entries);
            return Ok(());
        }
        build()?.maintain(1);
    }
    panic!("{} bytes are left", allocated() - before);
}
