//! Without the feature `tracing` nothing is traced.

use super::call::{Call, Done, Op};

pub(super) struct Trace;

impl Trace {
    pub(super) fn begin(_call: &Call<'_>) -> Self {
        Self
    }

    pub(super) fn is_heard(&self) -> bool {
        false
    }

    pub(super) fn follow<F: Future>(&self, call: F) -> F {
        call
    }

    pub(super) fn end(&self, _: Op, _: Result<Done, &'static str>) {}
}
