//! The engine against the reference; the body is in `tests/fuzz/engine_model.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| scopecache_fuzz::engine_model(data));
