//! Maintenance by a task of a Tokio runtime.

use std::time::{Duration, Instant};

use scopecache::{Cache, Maintenance, SetOptions};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("threads and a timer")
}

fn fill(cache: &Cache, entries: u32) -> scopecache::Result<()> {
    let scope = cache.user("ada")?;
    let options = SetOptions::new().ttl(Duration::from_millis(20));
    for key in 0..entries {
        scope.set_with(key.to_be_bytes(), "value", options)?;
    }
    Ok(())
}

#[test]
fn a_task_frees_what_has_expired_in_an_idle_cache() -> scopecache::Result<()> {
    let runtime = runtime();
    let cache: Cache = Cache::builder()
        .maintenance(Maintenance::Tokio(runtime.handle().clone()))
        .tick(Duration::from_millis(10))
        .build()?;
    fill(&cache, 1000)?;
    let start = Instant::now();
    // The user goes after the last of its entries, not with it.
    while cache.stats().entries > 0 || cache.stats().users > 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", cache.stats());
        std::thread::yield_now();
    }
    Ok(())
}

#[test]
fn the_task_ends_with_its_cache() -> scopecache::Result<()> {
    let runtime = runtime();
    let cache: Cache =
        Cache::builder().maintenance(Maintenance::Tokio(runtime.handle().clone())).build()?;
    assert_eq!(runtime.metrics().num_alive_tasks(), 1);
    drop(cache);
    let start = Instant::now();
    while runtime.metrics().num_alive_tasks() > 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "the task goes on");
        std::thread::yield_now();
    }
    Ok(())
}

#[test]
fn a_cache_outlives_its_runtime_and_is_maintained_by_hand_then() -> scopecache::Result<()> {
    let runtime = runtime();
    let cache: Cache = Cache::builder()
        .maintenance(Maintenance::Tokio(runtime.handle().clone()))
        .tick(Duration::from_millis(10))
        .build()?;
    drop(runtime);
    fill(&cache, 1000)?;
    let start = Instant::now();
    while cache.stats().entries > 0 {
        cache.maintain(1000);
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", cache.stats());
    }
    cache.validate().expect("sound");
    Ok(())
}
