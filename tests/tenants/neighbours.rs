//! Two tenants, one of whom scans: what that costs the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use scopecache::{Cache, Maintenance, Scope};

use crate::pressure::{Random, settle};

const MAX_BYTES: u64 = 8 << 20;
/// Keys that the quiet tenant asks for: about a third of the cache.
const KEYS: u64 = 15_000;

/// The share of hits among the requests of a tenant that asks for a few keys often.
fn hit_ratio(scope: &Scope, requests: u64, random: &mut Random) -> scopecache::Result<f64> {
    let mut hits = 0;
    for _ in 0..requests {
        // The product of two: small numbers are more likely.
        let key = (random.below(KEYS) * random.below(KEYS) / KEYS).to_string();
        if scope.get(&key)?.is_some() {
            hits += 1;
        } else {
            scope.set(&key, &[1; 64])?;
        }
    }
    Ok(hits as f64 / requests as f64)
}

fn cache(quota: Option<u64>) -> scopecache::Result<Cache> {
    let builder = Cache::builder().max_bytes(MAX_BYTES).maintenance(Maintenance::Manual);
    let builder = builder.max_retired_bytes(1 << 30);
    match quota {
        Some(quota) => builder.user_quota(quota),
        None => builder,
    }
    .build()
}

/// The quiet tenant's hit ratio, the other one setting four keys for each of its requests.
fn beside_a_scan(cache: &Cache, scans: u64) -> scopecache::Result<f64> {
    let requests = if cfg!(debug_assertions) { 40_000 } else { 600_000 };
    let (quiet, loud) = (cache.session("quiet", "s")?, cache.session("loud", "s")?);
    let mut random = Random(7);
    // Warm first.
    hit_ratio(&quiet, requests, &mut random)?;
    let (mut ratio, mut scanned) = (0.0, 0);
    let parts = 100;
    for _ in 0..parts {
        ratio += hit_ratio(&quiet, requests / parts, &mut random)?;
        for _ in 0..scans * requests / parts {
            loud.set(format!("{scanned}"), &[2; 64])?;
            scanned += 1;
        }
        cache.maintain(10_000);
    }
    Ok(ratio / parts as f64)
}

#[test]
fn with_quotas_a_scan_costs_the_other_at_most_a_point() -> scopecache::Result<()> {
    let alone = beside_a_scan(&cache(Some(MAX_BYTES * 2 / 5))?, 0)?;
    let scanned = cache(Some(MAX_BYTES * 2 / 5))?;
    let beside = beside_a_scan(&scanned, 4)?;
    assert!(alone > 0.8, "{alone}");
    assert!(alone - beside <= 0.01, "{beside} beside a scan, {alone} alone");
    assert!(scanned.user("loud")?.usage()?.bytes <= MAX_BYTES * 2 / 5);
    settle(&scanned);
    Ok(())
}

/// The same on two threads at once.
#[test]
fn with_quotas_a_scan_at_the_same_time_costs_the_other_at_most_a_point() -> scopecache::Result<()> {
    let requests = if cfg!(debug_assertions) { 40_000 } else { 600_000 };
    let stop = AtomicBool::new(false);
    let cache = cache(Some(MAX_BYTES * 2 / 5))?;
    let (quiet, loud) = (cache.session("quiet", "s")?, cache.session("loud", "s")?);
    let mut random = Random(7);
    hit_ratio(&quiet, requests, &mut random)?;
    let alone = hit_ratio(&quiet, requests, &mut random)?;
    let beside = thread::scope(|threads| -> scopecache::Result<f64> {
        let scan = threads.spawn(|| {
            (0..2 * requests).try_for_each(|key| loud.set(key.to_string(), &[2; 64]).map(drop))
        });
        threads.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                cache.maintain(10_000);
                thread::yield_now();
            }
        });
        let beside = hit_ratio(&quiet, requests, &mut random);
        let scanned = scan.join().expect("no panic");
        stop.store(true, Ordering::Relaxed);
        scanned?;
        let beside = beside?;
        Ok(beside)
    })?;
    assert!(alone - beside <= 0.01, "{beside} beside a scan, {alone} alone");
    settle(&cache);
    Ok(())
}
