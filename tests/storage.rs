//! The portable interface: what it refuses, and that it changes nothing then; what it answers.

#[path = "storage/calls.rs"]
mod calls;
#[path = "storage/common.rs"]
mod common;
#[path = "storage/limits.rs"]
mod limits;
#[path = "storage/load.rs"]
mod load;
#[path = "storage/wait.rs"]
mod wait;
