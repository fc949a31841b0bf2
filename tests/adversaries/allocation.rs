//! No memory: the process ends, as Rust programs do (`handle_alloc_error`); nothing half done is
//! ever seen by anybody, since nobody is left.
//!
//! The same test binary is run again with an allocator that begins to fail.

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use scopecache::Cache;

const CHILD: &str = "SCOPECACHE_TEST_OUT_OF_MEMORY";

/// The system's, until it is told to fail.
struct Failing;

static FAILS: AtomicBool = AtomicBool::new(false);

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// Only what is as large as the values of this test fails: the message has still to be printed.
const LARGE: usize = 2000;

// SAFETY: all is passed on to the system's allocator, or refused with null, as a caller of
// `alloc` must expect.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Relaxed: a switch of one thread.
        if layout.size() >= LARGE && FAILS.load(Ordering::Relaxed) {
            return std::ptr::null_mut();
        }
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: passed on; everything came from the system's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[test]
fn a_failing_allocation_aborts_the_process() -> scopecache::Result<()> {
    if std::env::var_os(CHILD).is_some() {
        // A large typed value stands in its entry: the allocation that fails is the cache's own.
        let cache = Cache::<[u8; LARGE]>::builder().build()?;
        let scope = cache.user("ada")?;
        scope.set("before", [7; LARGE])?;
        // Relaxed, here and below: a switch of one thread.
        FAILS.store(true, Ordering::Relaxed);
        let outcome = scope.set("after", [7; LARGE]).map(drop);
        FAILS.store(false, Ordering::Relaxed);
        println!("survived: {outcome:?}");
        return Ok(());
    }
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "allocation::a_failing_allocation_aborts_the_process", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&child.stderr);
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(!child.status.success() && !output.contains("survived"), "{output}\n{said}");
    assert!(said.contains("memory allocation of"), "{said}");
    Ok(())
}
