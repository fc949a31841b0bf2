//! A span for each call, in which nobody can be recognised.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use tracing::field::Empty;
use tracing::instrument::{Instrument, Instrumented};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Span, debug, debug_span, warn};

use super::call::{Call, Done, Op, Scope};
use crate::error::Part;

pub(super) struct Trace(Span);

/// The keyed hash of an id: SipHash with the process's own key, so that ids that are easily guessed
/// cannot be found by trying. The part goes in too: a user and a key of the same name look different.
struct Hashed(u64);

impl Trace {
    pub(super) fn begin(call: &Call<'_>) -> Self {
        // Asked before the ids are hashed: where `tracing` may tell the crate `log`, its macro evaluates the
        // fields of a span that nobody wants.
        if LevelFilter::current() < Level::DEBUG {
            return Self(Span::none());
        }
        Self(debug_span!(
            "scopecache",
            op = call.op.name(),
            scope = Scope::of(call.namespace).name(),
            user = call.namespace.user().map(|user| display(Hashed::of(Part::User, user))),
            session = call.namespace.session().map(|id| display(Hashed::of(Part::Session, id))),
            key = call.key.map(|key| display(Hashed::of(Part::Key, key))),
            keys = call.keys,
            outcome = Empty,
            error = Empty,
        ))
    }

    /// Whether there is a span.
    pub(super) fn is_heard(&self) -> bool {
        !self.0.is_none()
    }

    pub(super) fn follow<F: Future>(&self, call: F) -> Instrumented<F> {
        call.instrument(self.0.clone())
    }

    pub(super) fn end(&self, op: Op, answer: Result<Done, &'static str>) {
        match answer {
            Ok(done) => drop(self.0.record("outcome", done.word())),
            Err(kind) => {
                self.0.record("error", kind);
                let op = op.name();
                if matches!(kind, "unavailable" | "backend" | "corrupt" | "timeout") {
                    warn!(parent: &self.0, op, kind, "the storage failed");
                } else {
                    debug!(parent: &self.0, op, kind, "the call failed");
                }
            }
        }
    }
}

impl Hashed {
    fn of(part: Part, id: &str) -> Self {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self(KEY.hash_one((part, id)))
    }
}

impl fmt::Display for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
