//! What a deletion frees is merged as it goes, as glibc counts it.
//!
//! One test in a process of its own: the figures are those of the whole process.

#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::thread;

use scopecache::{Cache, Maintenance, Namespace};

/// Deletes a user of so many sessions of so many values; answers how much glibc kept at most of what
/// was freed, in bytes, before some call merged it.
fn most_kept(sessions: usize, keys: usize, value: &str) -> scopecache::Result<usize> {
    let cache: Cache = Cache::builder().maintenance(Maintenance::Manual).build()?;
    let fill = || -> scopecache::Result<()> {
        for session in 0..sessions {
            let scope =
                cache.session("ada", &format!("a session of a name as long as {session}"))?;
            (0..keys).try_for_each(|key| scope.set(format!("k{key}"), value).map(drop))?;
        }
        Ok(())
    };
    // From an arena that is not that of who frees: nothing that he allocates merges there.
    thread::scope(|threads| threads.spawn(fill).join()).expect("no panic")?;
    // SAFETY: it only counts.
    let kept = || unsafe { libc::mallinfo2() }.fsmblks;
    let (before, mut most) = (kept(), 0);
    cache.delete_namespace(Namespace::User { user: "ada" })?;
    while cache.maintain(256).pending || cache.stats().retired_bytes > 0 {
        most = most.max(kept());
    }
    assert_eq!(cache.stats().entries, 0);
    Ok(most.saturating_sub(before))
}

#[test]
fn no_call_has_to_merge_all_that_a_deletion_freed() -> scopecache::Result<()> {
    let entries = most_kept(1, 40_000, "small")?;
    assert!(entries < 1 << 20, "{entries} bytes of entries were kept");
    // The values are not small, so it is names and handles.
    let nodes = most_kept(40_000, 1, &"large".repeat(40))?;
    assert!(nodes < 128 << 10, "{nodes} bytes of nodes were kept");
    println!("at most {entries} bytes of entries and {nodes} of nodes were kept");
    Ok(())
}
