//! The judges: tools that say whether a cache answered rightly.
//!
//! | file | what it is |
//! |---|---|
//! | `op` | the vocabulary: operations and answers over small ids |
//! | `model` | the reference: all rules of a cache, as a plain value with a mock clock |
//! | `engine` | the trait of what can be judged, and the reference behind one lock |
//! | `adapter` | a real `scopecache::Cache` as an engine (declared by the tests that have one) |
//! | `history` | the linearizability checker; `listing` holds its rule for listings |
//! | `recorder` | stamps and notes what threads ask and get |
//! | `program` | random programs from a seed, and their shrinking |
//! | `sequential` | one thread's program, each answer against the reference |
//! | `simulate` | dense interleavings over the model, right ones and faulty ones |
//!
//! One thread: `judge(&engine, &program, &mut transcript)`, or `model.accept(&op, &ret)` step by
//! step, where `None` is a bug.
//! Several threads:
//!
//! ```text
//! let recorder = Recorder::new();
//! in each thread: let mut scribe = recorder.scribe(thread); scribe.run(&engine, op); ..
//! then: check(&Model::new(), &recorder.into_history()) == Verdict::Linearizable
//! ```
//! Keep a history within 128 operations of one owner (of all, if the clock moves), give each
//! write its own value, and leave sliding TTLs to sequential programs.

#![expect(unreachable_pub, reason = "a library in all but name, shared by test binaries")]

pub mod engine;
pub mod history;
pub mod listing;
pub mod model;
pub mod op;
pub mod program;
pub mod recorder;
pub mod sequential;
pub mod simulate;
