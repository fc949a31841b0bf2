//! The eviction policy against its invariants; the body is in `src/policy/fuzz.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| scopecache::fuzzing::policy_model(data));
