//! The targets whose bodies are in `tests/fuzz`, where `cargo test` runs them too. Those of private
//! modules are in `scopecache::fuzzing`.

#[path = "../../tests/support/adapter.rs"]
mod adapter;
#[cfg(not(scopecache_shuttle))]
#[path = "../../tests/fuzz/codec_bytes.rs"]
mod codec_bytes;
#[cfg(not(scopecache_shuttle))]
#[path = "../../tests/fuzz/composite_key.rs"]
mod composite_key;
#[cfg(scopecache_shuttle)]
#[path = "../../tests/fuzz/concurrent_ops.rs"]
mod concurrent_ops;
#[cfg(not(scopecache_shuttle))]
#[path = "../../tests/fuzz/engine_model.rs"]
mod engine_model;
#[path = "../../tests/support/same_hash.rs"]
mod same_hash;
#[cfg(not(scopecache_shuttle))]
#[path = "../../tests/fuzz/storage_ops.rs"]
mod storage_ops;
#[expect(dead_code, reason = "every target uses a part")]
#[path = "../../tests/support/mod.rs"]
mod support;
#[cfg(not(scopecache_shuttle))]
#[path = "../../tests/fuzz/worlds.rs"]
mod worlds;

#[cfg(all(feature = "shuttle", not(scopecache_shuttle)))]
compile_error!("the feature `shuttle` goes with RUSTFLAGS=\"--cfg scopecache_shuttle\"");

/// Judges histories of several threads; panics where one is not linearizable.
#[cfg(scopecache_shuttle)]
pub fn concurrent_ops(data: &[u8]) {
    concurrent_ops::run(data);
}

/// Judges the codecs; panics where they are wrong. `peak` answers the most bytes that were allocated at a time
/// during some work.
#[cfg(not(scopecache_shuttle))]
pub fn codec_bytes(data: &[u8], peak: fn(&mut dyn FnMut()) -> usize) {
    codec_bytes::run(data, peak);
}

/// Judges the engine against the reference; panics where it is wrong.
#[cfg(not(scopecache_shuttle))]
pub fn engine_model(data: &[u8]) {
    engine_model::run(data);
}

/// Judges how keys are named and hashed; panics where that is wrong.
#[cfg(not(scopecache_shuttle))]
pub fn composite_key(data: &[u8]) {
    composite_key::run(data);
}

/// Judges the portable interface and its options; panics where it is wrong.
#[cfg(not(scopecache_shuttle))]
pub fn storage_ops(data: &[u8]) {
    storage_ops::run(data);
}
