//! When memory that was taken out of a shared structure may be freed.
//!
//! Readers hold a [`Guard`] while they look at shared memory. A writer that has unlinked
//! something hands it over here; it is freed once every guard that existed at that moment is
//! gone. Outside of models this is epoch-based reclamation (K. Fraser, "Practical
//! lock-freedom", 2004) by the `crossbeam-epoch` crate, with a collector of our own, so that
//! other users of that crate neither wait for our readers nor we for theirs.
//!
//! Small and rare things (nodes, chunks of handles) become [`Garbage`], entries go through a
//! [`Stash`]. Both hand over in batches: crossbeam-epoch keeps what a thread defers in a bag private
//! to that thread, and a thread that retires much and then idles would keep it for ever. Any thread
//! can empty a stash, which counts its bytes, and the garbage.
//!
//! What is deferred runs on any thread that takes a guard, readers included, hundreds of closures in
//! one get. So what a closure does is to put a batch where those who write, or maintain, free it; but
//! the last one of a dropped cache frees what is left of that.
//!
//! Under loom and shuttle a stand-in takes the place of the epochs. It frees nothing before the
//! end of an execution and asserts, at every access, that what is read was not yet retired when
//! the reader's guard was taken.

#[cfg(any(scopecache_loom, scopecache_shuttle))]
mod checked;
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
mod epoch;
mod garbage;
mod stash;

#[cfg(any(scopecache_loom, scopecache_shuttle))]
pub use self::checked::{Guard, quiesce};
#[cfg(any(scopecache_loom, scopecache_shuttle))]
pub(crate) use self::checked::{is_pinned, pin};
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
pub use self::epoch::Guard;
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
pub(crate) use self::epoch::{is_pinned, pin};
#[cfg(scopecache_loom)]
pub use self::garbage::litter::Litter;
pub(crate) use self::garbage::{Discard, Garbage};
#[cfg(scopecache_loom)]
pub use self::stash::pile::{LEAST_BYTES, Pile};
pub(crate) use self::stash::{Retire, Retired, Stash};
