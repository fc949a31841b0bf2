//! The portable interface and its options; the body is in `tests/fuzz/storage_ops.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| scopecache_fuzz::storage_ops(data));
