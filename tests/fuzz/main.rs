//! The fuzz targets on a plain toolchain: on their committed seeds and on random inputs.
//!
//! `fuzz/README.md` tells how to let libFuzzer look for more, and what to do with what it finds.
//! The target whose schedule comes from the input runs under `--cfg scopecache_shuttle` alone, and
//! those of private modules are unit tests beside them.

#[path = "../support/adapter.rs"]
mod adapter;
#[cfg(not(scopecache_shuttle))]
mod composite_key;
#[cfg(scopecache_shuttle)]
mod concurrent_ops;
mod drive;
#[cfg(not(scopecache_shuttle))]
mod engine_model;
#[path = "../support/same_hash.rs"]
mod same_hash;
#[cfg(not(scopecache_shuttle))]
mod storage_ops;
#[expect(dead_code, reason = "every target uses a part")]
#[path = "../support/mod.rs"]
mod support;
#[cfg(not(scopecache_shuttle))]
mod worlds;

use drive::drive;

#[cfg(not(scopecache_shuttle))]
#[test]
fn composite_key() {
    drive("composite_key", 1000, composite_key::run);
}

#[cfg(scopecache_shuttle)]
#[test]
fn concurrent_ops() {
    drive("concurrent_ops", 4000, concurrent_ops::run);
}

#[cfg(not(scopecache_shuttle))]
#[test]
fn engine_model() {
    drive("engine_model", 300, engine_model::run);
}

#[cfg(not(scopecache_shuttle))]
#[test]
fn storage_ops() {
    drive("storage_ops", 400, storage_ops::run);
}
