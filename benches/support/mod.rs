//! What the benches share.
#![expect(dead_code, reason = "no bench uses all of it")]

pub(crate) mod data;
pub(crate) mod ours;
pub(crate) mod peers;
pub(crate) mod run;
