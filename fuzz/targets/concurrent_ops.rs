//! Threads whose programs and schedule come from the input; the body is in
//! `tests/fuzz/concurrent_ops.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| scopecache_fuzz::concurrent_ops(data));
