//! Entries on huge pages, as the system counts them.
//!
//! One test in a process of its own: the figures are those of the whole process.

#![cfg(target_os = "linux")]

use std::fs;

use scopecache::{Cache, Maintenance};

const ENTRIES: usize = 100_000;
const VALUE: [u8; 100] = [7; 100];

/// What of the process stands on huge pages, in bytes.
fn on_huge_pages() -> u64 {
    let text = fs::read_to_string("/proc/self/smaps_rollup").expect("a figure of the system");
    let line = text.lines().find(|line| line.starts_with("AnonHugePages:")).expect("its line");
    line.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("KiB")
        * 1024
}

/// What the system does when it is asked: `None` where somebody turned it off.
fn moves_at_once() -> Option<bool> {
    let modes = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a figure of the system");
    let mut parts = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    (!modes.contains("[never]")).then_some(version >= (6, 1))
}

fn filled(huge_pages: bool) -> scopecache::Result<Cache> {
    let cache: Cache = Cache::builder()
        .max_bytes(1 << 30)
        .expected_entries(ENTRIES)
        .maintenance(Maintenance::Manual)
        .huge_pages(huge_pages)
        .build()?;
    let scope = cache.user("ada")?;
    for key in 0..ENTRIES {
        scope.set(format!("key-{key}"), &VALUE)?;
    }
    Ok(cache)
}

/// Maintains until nothing is left; answers by how much what stands on huge pages grew.
fn maintained(cache: &Cache) -> u64 {
    let before = on_huge_pages();
    while cache.maintain(1024).pending {}
    on_huge_pages().saturating_sub(before)
}

#[test]
fn maintenance_moves_entries_to_huge_pages_unless_it_is_told_not_to() -> scopecache::Result<()> {
    let off = filled(false)?;
    assert_eq!(maintained(&off), 0, "nobody asked for it");
    let on = filled(true)?;
    let (before, moved) = (on_huge_pages(), maintained(&on));
    match moves_at_once() {
        None => assert_eq!(moved, 0, "the system does not want it"),
        // In its own time, or from the start.
        Some(false) => {}
        Some(true) => {
            let bytes = on.stats().live_bytes;
            assert!(before + moved > bytes / 4 * 3, "{before} and {moved} bytes of {bytes}");
        }
    }
    for cache in [off, on] {
        let scope = cache.user("ada")?;
        for key in 0..ENTRIES {
            assert_eq!(scope.get(format!("key-{key}"))?.expect("as it was").value(), VALUE);
        }
        if let Err(broken) = cache.validate() {
            panic!("{broken}");
        }
    }
    Ok(())
}
