//! Removals: each entry that was stored is reported once, for the right reason, whatever the
//! listener does; and the figures agree with that.

#[path = "events/causes.rs"]
mod causes;
#[path = "events/figures.rs"]
mod figures;
#[path = "events/listeners.rs"]
mod listeners;
#[path = "events/random.rs"]
mod random;
#[path = "events/recorder.rs"]
mod recorder;
