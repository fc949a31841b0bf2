//! What tests of bounds share.

use scopecache::{Blob, Cache, CacheBuilder, Maintenance, Scope};

/// The epochs are those of the process: a test that holds a guard, `validate` included, keeps
/// the memory of all caches from being freed. That is the subject of one test, and must not make
/// the others fail.
pub(crate) fn builder() -> CacheBuilder<Blob> {
    Cache::builder().maintenance(Maintenance::Manual).max_retired_bytes(1 << 30)
}

/// Sets new keys until the first eviction, and as many again.
pub(crate) fn fill(scope: &Scope, bytes: usize) -> scopecache::Result<()> {
    let mut last = 0;
    for key in 0_u64.. {
        scope.set(format!("filler {key}"), vec![7; bytes])?;
        let entries = scope.cache().stats().entries;
        if entries <= last && key > 2 * last {
            return Ok(());
        }
        last = last.max(entries);
    }
    Ok(())
}
