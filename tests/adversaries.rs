//! Those who mean no good: callbacks that panic, readers that never leave, maintenance that does
//! not come, clocks that stand or leap, a close in the middle of everything.
//!
//! A hasher that always collides is the subject of `semantics`, `linearizability`, `bounds` and
//! `expiry`; loaders that misbehave, of `engine` and `storage`.

#[path = "adversaries/allocation.rs"]
mod allocation;
#[path = "adversaries/closing.rs"]
mod closing;
#[path = "adversaries/panics.rs"]
mod panics;
#[path = "support/pressure.rs"]
mod pressure;
#[path = "adversaries/readers.rs"]
mod readers;
#[path = "adversaries/time.rs"]
mod time;

use std::time::Duration;

/// After this a test that waits for another thread gives up: machines may be slow and loaded.
const PATIENCE: Duration = Duration::from_secs(60);
