//! The fuzz targets on a plain toolchain: on their committed seeds and on random inputs.
//!
//! `fuzz/README.md` tells how to let libFuzzer look for more, and what to do with what it finds.

#[path = "../support/adapter.rs"]
mod adapter;
mod composite_key;
mod drive;
mod engine_model;
#[path = "../support/same_hash.rs"]
mod same_hash;
mod storage_ops;
#[expect(dead_code, reason = "the tools for histories and for programs of their own")]
#[path = "../support/mod.rs"]
mod support;
mod worlds;

use drive::drive;

#[test]
fn composite_key() {
    drive("composite_key", 1000, composite_key::run);
}

#[test]
fn engine_model() {
    drive("engine_model", 300, engine_model::run);
}

#[test]
fn storage_ops() {
    drive("storage_ops", 400, storage_ops::run);
}
