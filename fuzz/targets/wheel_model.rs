//! The timing wheel against a map; the body is in `src/wheel/fuzz.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| scopecache::fuzzing::wheel_model(data));
