//! The fuzz target of the codecs on a plain toolchain, as `tests/fuzz/main.rs` has the others: it needs their
//! features, and an allocator that counts.

#[path = "../fuzz/codec_bytes.rs"]
mod codec_bytes;
#[path = "../fuzz/drive.rs"]
mod drive;
#[path = "../fuzz/peak.rs"]
mod peak;

use drive::drive;

#[test]
fn codec_bytes() {
    drive("codec_bytes", 4000, |data| codec_bytes::run(data, peak::peak));
}
