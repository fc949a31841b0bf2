//! What a call is about, and what came of it, without a word of what it was about.

use std::time::Instant;

use super::meters::Meters;
use super::trace::Trace;
use crate::error::ErrorKind;
use crate::namespace::Namespace;
use crate::storage::StorageItem;

/// A method of the trait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Get,
    Set,
    Delete,
    Close,
    Write,
    Take,
    Touch,
    Keys,
    Sessions,
    Load,
    GetMany,
    SetMany,
    DeleteMany,
}

/// Why entries were removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Delete,
    Take,
    DeleteSession,
    DeleteUser,
    DeleteGlobal,
}

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Global,
    User,
    Session,
}

/// A call that is about to be made. Its ids are for [`Trace`] alone, which hashes them.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "what is only traced"))]
pub(super) struct Call<'a> {
    pub(super) op: Op,
    pub(super) namespace: Namespace<'a>,
    pub(super) key: Option<&'a str>,
    /// Of a bulk call, how many.
    pub(super) keys: Option<usize>,
}

/// What a call that succeeded has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Read { hits: u64, misses: u64 },
    Stored(u64),
    Unmet,
    Removed { cause: Cause, entries: u64 },
    Other,
}

/// A call under way: one that is dropped before its end was cancelled.
pub(super) struct Watch<'m> {
    meters: &'m Meters,
    trace: Trace,
    op: Op,
    scope: Scope,
    /// Where somebody hears how long it takes.
    begun: Option<Instant>,
    has_ended: bool,
}

impl Op {
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "what is only counted"))]
    pub(super) const ALL: [Self; 13] = [
        Self::Get,
        Self::Set,
        Self::Delete,
        Self::Close,
        Self::Write,
        Self::Take,
        Self::Touch,
        Self::Keys,
        Self::Sessions,
        Self::Load,
        Self::GetMany,
        Self::SetMany,
        Self::DeleteMany,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Delete => "delete",
            Self::Close => "close",
            Self::Write => "write",
            Self::Take => "take",
            Self::Touch => "touch",
            Self::Keys => "keys",
            Self::Sessions => "sessions",
            Self::Load => "load",
            Self::GetMany => "get_many",
            Self::SetMany => "set_many",
            Self::DeleteMany => "delete_many",
        }
    }
}

#[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "what is only counted"))]
impl Cause {
    pub(super) const ALL: [Self; 5] =
        [Self::Delete, Self::Take, Self::DeleteSession, Self::DeleteUser, Self::DeleteGlobal];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Take => "take",
            Self::DeleteSession => "delete_session",
            Self::DeleteUser => "delete_user",
            Self::DeleteGlobal => "delete_global",
        }
    }
}

impl Cause {
    pub(super) fn of_namespace(namespace: Namespace<'_>) -> Self {
        match namespace {
            Namespace::Global => Self::DeleteGlobal,
            Namespace::User { .. } => Self::DeleteUser,
            Namespace::Session { .. } => Self::DeleteSession,
        }
    }
}

impl Scope {
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "what is only counted"))]
    pub(super) const ALL: [Self; 3] = [Self::Global, Self::User, Self::Session];

    pub(super) fn of(namespace: Namespace<'_>) -> Self {
        match namespace {
            Namespace::Global => Self::Global,
            Namespace::User { .. } => Self::User,
            Namespace::Session { .. } => Self::Session,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::User => "user",
            Self::Session => "session",
        }
    }
}

impl<'a> Call<'a> {
    pub(super) fn new(op: Op, namespace: Namespace<'a>) -> Self {
        Self { op, namespace, key: None, keys: None }
    }

    pub(super) fn key(self, key: &'a str) -> Self {
        Self { key: Some(key), ..self }
    }

    pub(super) fn keys(self, keys: usize) -> Self {
        Self { keys: Some(keys), ..self }
    }
}

impl Done {
    pub(super) fn read<'i>(items: impl IntoIterator<Item = &'i Option<StorageItem>>) -> Self {
        let (mut hits, mut misses) = (0, 0);
        for item in items {
            *if item.is_some() { &mut hits } else { &mut misses } += 1;
        }
        Self::Read { hits, misses }
    }

    pub(super) fn stored(values: u64) -> Self {
        Self::Stored(values)
    }

    /// In one word.
    #[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "what is only traced"))]
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Read { misses: 0, .. } => "hit",
            Self::Read { hits: 0, .. } => "miss",
            Self::Read { .. } => "some",
            Self::Stored(_) => "stored",
            Self::Unmet => "unmet",
            Self::Removed { entries: 0, .. } => "nothing",
            Self::Removed { .. } => "removed",
            Self::Other => "ok",
        }
    }
}

impl<'m> Watch<'m> {
    pub(super) fn begin(meters: &'m Meters, call: &Call<'_>) -> Self {
        let (op, scope) = (call.op, Scope::of(call.namespace));
        let trace = Trace::begin(call);
        let begun = meters.times(op).then(Instant::now);
        Self { meters, trace, op, scope, begun, has_ended: false }
    }

    pub(super) fn trace(&self) -> &Trace {
        &self.trace
    }

    pub(super) fn end(mut self, answer: Result<Done, ErrorKind>) {
        self.tell(match answer {
            Ok(done) => Ok(done),
            Err(kind) => Err(name_of(kind)),
        });
    }

    fn tell(&mut self, answer: Result<Done, &'static str>) {
        self.has_ended = true;
        let took = self.begun.map(|begun| begun.elapsed());
        self.meters.count(self.op, self.scope, answer, took);
        self.trace.end(self.op, answer);
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.tell(Err("cancelled"));
        }
    }
}

fn name_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidOptions => "invalid_options",
        ErrorKind::InvalidKey { .. } => "invalid_key",
        ErrorKind::ValueTooLarge { .. } => "value_too_large",
        ErrorKind::CapacityExceeded => "capacity_exceeded",
        ErrorKind::QuotaExceeded => "quota_exceeded",
        ErrorKind::Conflict => "conflict",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Closed => "closed",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Backend => "backend",
        ErrorKind::Corrupt => "corrupt",
        ErrorKind::Loader => "loader",
    }
}
