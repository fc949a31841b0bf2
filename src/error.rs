//! What can go wrong, and what to do about it.

use std::error::Error as StdError;
use std::fmt;

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed: a [kind](ErrorKind) to match on, words for a person, and the cause if
/// there is one.
///
/// Messages name the part and the limit that was passed, never the content of an id, a key or
/// a value, so that they can be logged.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    detail: Option<&'static str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

const HELD_UP: &str = "a guard that is held for long keeps deleted data from being freed";

/// The kinds of [`Error`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The options of the call contradict each other or make no sense; the message says which.
    InvalidOptions,
    /// An id or a key is empty or too long. Nothing was changed.
    InvalidKey {
        /// Which part of the composite key.
        part: Part,
        /// Its greatest length in bytes; the least is 1.
        limit: usize,
    },
    /// The value is larger than the cache accepts. Nothing was changed.
    ValueTooLarge {
        /// The greatest length in bytes.
        limit: usize,
    },
    /// There is no room. Nothing was changed; deleting, waiting for expiry, or releasing
    /// long-held guards makes room.
    CapacityExceeded,
    /// The user's quota is used up. Nothing was changed.
    QuotaExceeded,
    /// The call cannot be served because of what others do with the key.
    Conflict,
    /// The time given for the call ran out.
    Timeout,
    /// The storage was closed.
    Closed,
    /// The storage cannot be reached at present; trying again later may help.
    Unavailable,
    /// The storage engine behind the interface failed; see the source.
    Backend,
    /// Stored data could not be understood.
    Corrupt,
    /// The loader given to `get_or_load` failed; see the source. Nothing was stored.
    Loader,
}

/// A part of a composite key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The user id.
    User,
    /// The session id.
    Session,
    /// The key within its namespace.
    Key,
}

impl Error {
    /// An error of this kind without further words.
    pub fn new(kind: ErrorKind) -> Self {
        Self(Box::new(Inner { kind, detail: None, source: None }))
    }

    /// An error of this kind whose message ends in `detail`.
    pub fn with_detail(kind: ErrorKind, detail: &'static str) -> Self {
        Self(Box::new(Inner { kind, detail: Some(detail), source: None }))
    }

    /// An error of this kind caused by `source`.
    pub fn with_source(
        kind: ErrorKind,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self(Box::new(Inner { kind, detail: None, source: Some(source.into()) }))
    }

    /// An error of this kind with words and a cause.
    #[cfg(any(feature = "redis", feature = "postgres", feature = "mysql"))]
    pub(crate) fn because(
        kind: ErrorKind,
        detail: &'static str,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self(Box::new(Inner { kind, detail: Some(detail), source: Some(source.into()) }))
    }

    /// Options that do not go together.
    pub(crate) fn options(detail: &'static str) -> Self {
        Self::with_detail(ErrorKind::InvalidOptions, detail)
    }

    /// No room because readers keep what was deleted from being freed: that passes by itself.
    pub(crate) fn held_up() -> Self {
        Self::with_detail(ErrorKind::CapacityExceeded, HELD_UP)
    }

    /// Whether this is [`held_up`](Self::held_up).
    pub(crate) fn is_held_up(&self) -> bool {
        self.0.detail == Some(HELD_UP)
    }

    /// What to match on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.kind)?;
        match self.0.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("detail", &self.0.detail)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidOptions => f.write_str("invalid options"),
            Self::InvalidKey { part, limit } => {
                write!(f, "the {part} must be 1 to {limit} bytes long")
            }
            Self::ValueTooLarge { limit } => {
                write!(f, "the value is larger than {limit} bytes; raise max_value_bytes")
            }
            Self::CapacityExceeded => f.write_str(
                "no room: delete something, wait for expiry, drop long-held guards, or raise max_bytes",
            ),
            Self::QuotaExceeded => f.write_str("the user's quota is used up"),
            Self::Conflict => f.write_str("conflicting use of the key"),
            Self::Timeout => f.write_str("the call timed out"),
            Self::Closed => f.write_str("the storage is closed"),
            Self::Unavailable => f.write_str("the storage is unavailable; try again later"),
            Self::Backend => f.write_str("the storage backend failed"),
            Self::Corrupt => f.write_str("stored data could not be understood"),
            Self::Loader => f.write_str("the loader failed; nothing was stored"),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user id",
            Self::Session => "session id",
            Self::Key => "key",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_part_and_the_limit() {
        let error = Error::new(ErrorKind::InvalidKey { part: Part::Session, limit: 256 });
        assert_eq!(error.to_string(), "the session id must be 1 to 256 bytes long");
        let error = Error::options("keep_ttl and ttl exclude each other");
        assert_eq!(error.to_string(), "invalid options: keep_ttl and ttl exclude each other");
    }

    #[test]
    fn a_source_is_kept() {
        let error = Error::with_source(ErrorKind::Loader, "disk on fire");
        assert_eq!(error.source().expect("a source").to_string(), "disk on fire");
        assert_eq!(error.kind(), ErrorKind::Loader);
    }
}
