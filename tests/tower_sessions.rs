//! Web sessions that belong to their users: the traits of tower-sessions, logins and log-outs in every
//! order, cut off at every place.

#[path = "tower_sessions/calls.rs"]
mod calls;
#[path = "tower_sessions/common.rs"]
mod common;
#[path = "tower_sessions/cuts.rs"]
mod cuts;
#[path = "support/orders.rs"]
mod every;
#[path = "tower_sessions/faults.rs"]
mod faults;
#[path = "tower_sessions/orders.rs"]
mod orders;
#[path = "tower_sessions/sweeps.rs"]
mod sweeps;
#[path = "tower_sessions/threads.rs"]
mod threads;
