//! A watcher that lowers the bound of a cache while memory is short: with files that the test writes
//! in the place of the kernel. `tests/survival.rs` shows what that is good for.

#![cfg(target_os = "linux")]

use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use scopecache::{
    Cache, ErrorKind, Maintenance, OnFull, PressureFigures, PressureOptions, PressureWatcher,
};

const MIB: u64 = 1 << 20;
/// After this a test that waits for the watcher gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A cgroup of files, and a file of stalls.
struct Kernel {
    dir: PathBuf,
}

impl Kernel {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Relaxed: a number for each.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("scopecache-pressure-{}-{number}", std::process::id());
        let kernel = Self { dir: std::env::temp_dir().join(name) };
        fs::create_dir_all(&kernel.dir).expect("a temporary folder");
        kernel.write("memory.max", "1000000000");
        kernel.write("memory.high", "max");
        kernel.used(100_000_000);
        kernel.stalled(0.0);
        kernel
    }

    /// Readers see the old text or the new one.
    fn write(&self, name: &str, text: &str) {
        let new = self.dir.join("new");
        fs::write(&new, format!("{text}\n")).expect("it can be written");
        fs::rename(new, self.dir.join(name)).expect("it can be renamed");
    }

    /// Of 1,000,000,000 bytes.
    fn used(&self, bytes: u64) {
        self.write("memory.current", &bytes.to_string());
    }

    fn stalled(&self, percent: f64) {
        let text =
            format!("some avg10={percent:.2} avg60=0.00 avg300=0.00 total=1\nfull avg10=99.00");
        self.write("memory.pressure", &text);
        self.write("stalls", &text);
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.dir.join(name)).expect("it was there");
    }

    fn options(&self) -> PressureOptions {
        PressureOptions::new()
            .interval(Duration::from_millis(1))
            .calm_readings(3)
            .cgroup(&self.dir)
            .stall_file(self.dir.join("stalls"))
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // What is left in a temporary folder harms nobody.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn cache(max_bytes: u64) -> Cache {
    let settings = Cache::builder().max_bytes(max_bytes).maintenance(Maintenance::Manual);
    settings.build().expect("valid settings")
}

/// About so much.
fn fill(cache: &Cache, bytes: u64) {
    for key in 0..bytes / 1100 {
        let scope = cache.user(&format!("user {}", key % 64)).expect("a valid id");
        scope.set(key.to_be_bytes(), vec![7; 1000]).expect("there is room");
    }
}

#[track_caller]
fn wait_for(
    watcher: &PressureWatcher,
    is_so: impl Fn(&PressureFigures) -> bool,
) -> PressureFigures {
    let start = Instant::now();
    loop {
        let figures = watcher.figures();
        if is_so(&figures) {
            return figures;
        }
        assert!(start.elapsed() < PATIENCE, "{figures:?}");
        thread::yield_now();
    }
}

/// Two readings that began after this call.
#[track_caller]
fn wait_for_readings(watcher: &PressureWatcher) -> PressureFigures {
    let before = watcher.figures().readings;
    wait_for(watcher, |figures| figures.readings >= before + 2)
}

#[test]
fn a_full_cgroup_lowers_the_bound_to_the_floor_and_a_calm_one_restores_it() -> scopecache::Result<()>
{
    let kernel = Kernel::new();
    let cache = cache(8 * MIB);
    fill(&cache, 8 * MIB);
    let watcher = PressureWatcher::spawn(&cache, kernel.options().floor_bytes(2 * MIB))?;
    let figures = wait_for_readings(&watcher);
    assert_eq!((figures.bound_bytes, figures.lowered), (8 * MIB, 0));
    assert_eq!((figures.usage, figures.stalled), (Some(0.1), Some(0.0)));

    kernel.used(950_000_000);
    let figures = wait_for(&watcher, |figures| figures.bound_bytes == 2 * MIB);
    assert!(figures.lowered >= 4, "by steps: {figures:?}");
    let figures = wait_for_readings(&watcher);
    assert_eq!((figures.bound_bytes, figures.usage), (2 * MIB, Some(0.95)), "no lower");
    assert_eq!(cache.capacity_bytes(), 2 * MIB);
    assert!(cache.stats().live_bytes <= 2 * MIB, "the watcher has evicted");

    // Neither short nor calm.
    kernel.used(850_000_000);
    wait_for(&watcher, |figures| figures.usage == Some(0.85));
    assert_eq!(wait_for_readings(&watcher).bound_bytes, 2 * MIB);

    kernel.used(500_000_000);
    let figures = wait_for(&watcher, |figures| figures.bound_bytes == 8 * MIB);
    assert_eq!((figures.raised, figures.configured_bytes), (6, 8 * MIB), "an eighth at a time");
    assert_eq!(cache.capacity_bytes(), 8 * MIB);
    fill(&cache, 7 * MIB);
    cache.validate().expect("sound");
    Ok(())
}

#[test]
fn stalls_of_the_cgroup_or_of_the_system_lower_the_bound() -> scopecache::Result<()> {
    for file in ["memory.pressure", "stalls"] {
        let kernel = Kernel::new();
        kernel.write("memory.max", "max");
        let cache = cache(8 * MIB);
        fill(&cache, 8 * MIB);
        let watcher = PressureWatcher::spawn(&cache, kernel.options())?;
        assert_eq!(wait_for_readings(&watcher).usage, None, "there is no limit");
        kernel.write(file, "some avg10=12.50 avg60=0.00 avg300=0.00 total=1");
        let figures = wait_for(&watcher, |figures| figures.lowered == 1);
        assert_eq!(figures.stalled, Some(12.5));
        // The average goes on to tell of the past: no second step for it, at this interval for
        // 10,000 readings.
        for _ in 0..20 {
            assert_eq!(wait_for_readings(&watcher).lowered, 1);
        }
        assert!(cache.stats().live_bytes <= 6 * MIB);
    }
    Ok(())
}

#[test]
fn what_the_system_can_drop_is_not_used_and_high_is_a_limit_like_max() -> scopecache::Result<()> {
    let kernel = Kernel::new();
    kernel.used(950_000_000);
    kernel.write("memory.stat", "anon 1\ninactive_file 450000000\nactive_file 1");
    let cache = cache(8 * MIB);
    let watcher = PressureWatcher::spawn(&cache, kernel.options())?;
    assert_eq!(wait_for_readings(&watcher).usage, Some(0.5));
    kernel.write("memory.high", "550000000");
    wait_for(&watcher, |figures| figures.lowered == 1);
    Ok(())
}

#[test]
fn a_store_is_bounded_and_loses_nothing() -> scopecache::Result<()> {
    let kernel = Kernel::new();
    let settings = Cache::builder().max_bytes(8 * MIB).on_full(OnFull::Reject);
    let cache = settings.maintenance(Maintenance::Manual).build()?;
    fill(&cache, 4 * MIB);
    let before = cache.stats();
    kernel.used(999_000_000);
    let watcher = PressureWatcher::spawn(&cache, kernel.options())?;
    wait_for(&watcher, |figures| figures.bound_bytes == MIB);
    assert_eq!(cache.stats().entries, before.entries);
    let error = cache.user("ada")?.set("one more", vec![7; 1000]).expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::CapacityExceeded);
    Ok(())
}

#[test]
fn a_reading_that_fails_changes_nothing_and_is_counted() -> scopecache::Result<()> {
    let kernel = Kernel::new();
    let cache = cache(8 * MIB);
    fill(&cache, 8 * MIB);
    let watcher = PressureWatcher::spawn(&cache, kernel.options())?;
    kernel.used(950_000_000);
    let low = wait_for(&watcher, |figures| figures.bound_bytes == MIB);
    // Calm, had it been read: the bound would be raised.
    let calm = || kernel.used(100_000_000);
    let breaks: [&dyn Fn(); 4] = [
        &|| {
            kernel.remove("memory.max");
            calm();
        },
        &|| {
            kernel.write("memory.max", "many");
            calm();
        },
        &|| {
            kernel.write("stalls", "some avg10=NaN");
            calm();
        },
        &|| kernel.write("memory.current", "-1"),
    ];
    for (number, break_it) in breaks.into_iter().enumerate() {
        let failed = watcher.figures().failed_readings;
        break_it();
        // For longer than it takes to raise the bound.
        let figures = wait_for(&watcher, |figures| figures.failed_readings > failed + 6);
        assert_eq!(figures.bound_bytes, low.bound_bytes, "{number}: {figures:?}");
        kernel.used(950_000_000);
        kernel.write("memory.max", "1000000000");
        kernel.stalled(0.0);
        wait_for(&watcher, |figures| figures.bound_bytes == MIB && figures.usage == Some(0.95));
    }
    kernel.used(100_000_000);
    wait_for(&watcher, |figures| figures.bound_bytes == 8 * MIB);
    Ok(())
}

#[test]
fn what_is_missing_or_malformed_is_told_when_it_begins() {
    let cache = cache(8 * MIB);
    let words = |options: PressureOptions| {
        let error = PressureWatcher::spawn(&cache, options).expect_err("nothing to watch");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        error.source().expect("which file").to_string()
    };
    let new = PressureOptions::new;
    let nowhere = Path::new("/nonexistent/of scopecache");
    assert!(words(new().cgroup(nowhere)).contains("of scopecache/memory.current"));
    assert!(words(new().stall_file(nowhere)).contains("of scopecache"));
    for (file, text) in [
        ("memory.current", ""),
        ("memory.current", "12 34"),
        ("memory.max", "maximum"),
        ("memory.high", "1e9"),
        ("memory.pressure", "full avg10=0.00"),
        ("stalls", ""),
        ("stalls", "some avg10=high"),
    ] {
        let kernel = Kernel::new();
        kernel.write(file, text);
        let words = words(kernel.options());
        assert!(words.contains(file) && words.contains("kernel"), "{file} {text:?}: {words}");
    }
    let kernel = Kernel::new();
    kernel.remove("memory.max");
    assert!(words(kernel.options()).contains("memory.max"));
    // What not every system has.
    for file in ["memory.high", "memory.pressure"] {
        let kernel = Kernel::new();
        kernel.remove(file);
        drop(PressureWatcher::spawn(&cache, kernel.options()).expect("enough is left"));
    }
    let senseless = PressureWatcher::spawn(&cache, new().floor_bytes(0)).expect_err("senseless");
    assert_eq!(senseless.kind(), ErrorKind::InvalidOptions);
    cache.close();
    let closed = PressureWatcher::spawn(&cache, new()).expect_err("closed");
    assert_eq!(closed.kind(), ErrorKind::Closed);
}

#[test]
fn a_bound_that_somebody_else_sets_is_the_one_to_come_back_to() -> scopecache::Result<()> {
    let kernel = Kernel::new();
    let cache = cache(8 * MIB);
    fill(&cache, 8 * MIB);
    let watcher = PressureWatcher::spawn(&cache, kernel.options())?;
    wait_for_readings(&watcher);
    cache.set_max_bytes(4 * MIB)?;
    assert_eq!(wait_for_readings(&watcher).configured_bytes, 4 * MIB);
    kernel.used(950_000_000);
    wait_for(&watcher, |figures| figures.bound_bytes == MIB);
    kernel.used(100_000_000);
    wait_for(&watcher, |figures| figures.bound_bytes == 4 * MIB);
    assert_eq!(wait_for_readings(&watcher).bound_bytes, 4 * MIB);
    Ok(())
}

#[test]
fn a_watcher_that_is_dropped_restores_the_bound_and_one_ends_with_its_cache()
-> scopecache::Result<()> {
    let kernel = Kernel::new();
    kernel.used(950_000_000);
    let first = cache(8 * MIB);
    fill(&first, 8 * MIB);
    let watcher = PressureWatcher::spawn(&first, kernel.options())?;
    wait_for(&watcher, |figures| figures.bound_bytes == MIB);
    drop(watcher);
    assert_eq!(first.capacity_bytes(), 8 * MIB);

    let watcher = PressureWatcher::spawn(&first, kernel.options())?;
    wait_for_readings(&watcher);
    assert!(watcher.is_watching());
    drop(first);
    let start = Instant::now();
    while watcher.is_watching() {
        assert!(start.elapsed() < PATIENCE, "it goes on: {:?}", watcher.figures());
        thread::yield_now();
    }
    drop(watcher);
    Ok(())
}
