//! Who frees, as an allocator that counts by thread sees it.
//!
//! Where AddressSanitizer is to see whatever is read after its end, readers free as well.

#![cfg(not(scopecache_keeps_no_memory))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::mpsc::{channel, sync_channel};
use std::thread;

use scopecache::{Cache, Maintenance, Namespace};

struct Counting;

/// Entries, names and what leads to them; the bags of crossbeam-epoch, which it frees wherever it
/// likes, are larger.
const SMALL: usize = 1024;

thread_local! {
    static FREED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if layout.size() <= SMALL {
            FREED.set(FREED.get() + 1);
        }
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many small blocks this thread frees in the course of it.
fn freed_in(work: impl FnOnce()) -> usize {
    let before = FREED.get();
    work();
    FREED.get() - before
}

#[test]
fn no_get_frees_what_a_deletion_left() -> scopecache::Result<()> {
    const SESSIONS: usize = 8 << 10;
    let cache: Cache = Cache::builder().maintenance(Maintenance::Manual).build()?;
    for session in 0..SESSIONS {
        let scope = cache.session("ada", &format!("a session of a name as long as {session}"))?;
        (0..8).try_for_each(|key| scope.set(format!("k{key}"), "value").map(drop))?;
    }
    let other = cache.user("ben")?;
    other.set("k", "value")?;
    let (turns, turn) = sync_channel(0);
    let (answers, answer) = channel();
    thread::scope(|threads| {
        threads.spawn(|| {
            for () in turn {
                // The epochs have closures run at each 128th guard of a thread.
                let most = (0..256)
                    .map(|_| freed_in(|| assert!(matches!(other.get("k"), Ok(Some(_))))))
                    .max();
                answers.send(most.unwrap_or(0)).expect("somebody asks");
            }
        });
        let mut freed_here = 0;
        let mut most = 0;
        cache.delete_namespace(Namespace::User { user: "ada" })?;
        while cache.stats().entries > 1 || cache.stats().sessions > 0 {
            freed_here += freed_in(|| _ = cache.maintain(64));
            turns.send(()).expect("it waits for its turn");
            most = most.max(answer.recv().expect("it answers"));
        }
        drop(turns);
        assert_eq!(most, 0, "one get freed {most} blocks");
        // What is left by rounds of maintenance.
        (0..64).for_each(|_| freed_here += freed_in(|| _ = cache.maintain(64)));
        // Eight entries a session, its node and its name.
        assert!(freed_here >= 10 * SESSIONS, "somebody has to: {freed_here}");
        println!("maintenance freed {freed_here} blocks");
        Ok(())
    })
}
