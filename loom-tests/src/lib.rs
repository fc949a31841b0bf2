//! Models of scopecache's concurrent core, run by loom on the real code.
//!
//! A [`Model`] is a little program: operations that set the scene, and two or three threads of
//! operations. Loom runs it in every interleaving up to a bound of preemptions; after each, the
//! answers must be those of some sequential order ([`spec`]), and the cache must be whole.
//! The models themselves are in `tests/`.

#![cfg(scopecache_loom)]

mod explore;
mod model;
mod op;
mod run;
pub mod spec;

pub use self::explore::{at_once, explore};
pub use self::model::Model;
pub use self::op::{Op, Owner, Place, global, session, user};
