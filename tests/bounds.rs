//! The bounds on memory and on entries, and what a full cache does: evict, reject, or refuse.
//!
//! The faults of other caches that have a test here are listed in the issues named beside it.

#[path = "bounds/common.rs"]
mod common;
#[path = "bounds/entries.rs"]
mod entries;
#[path = "bounds/eviction.rs"]
mod eviction;
#[path = "bounds/full.rs"]
mod full;
#[path = "bounds/loads.rs"]
mod loads;
#[path = "bounds/memory.rs"]
mod memory;
#[path = "support/pressure.rs"]
mod pressure;
#[path = "bounds/resize.rs"]
mod resize;
#[path = "support/same_hash.rs"]
mod same_hash;

use std::time::Duration;

/// After this a test that waits for another thread gives up.
const PATIENCE: Duration = Duration::from_secs(10);
