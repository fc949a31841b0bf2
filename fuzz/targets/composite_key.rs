//! Names of keys, and what they feed the hasher; the body is in `tests/fuzz/composite_key.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| scopecache_fuzz::composite_key(data));
