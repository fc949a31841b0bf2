//! Bytes of serialised values; the body is in `tests/fuzz/codec_bytes.rs`.
#![no_main]

#[path = "../../tests/fuzz/peak.rs"]
mod peak;

libfuzzer_sys::fuzz_target!(|data: &[u8]| scopecache_fuzz::codec_bytes(data, peak::peak));
