//! Namespaces, the limits of ids and keys, and the flattening of a composite key to one hash.
//!
//! A key's full name is `(scope_tag, user, session, key)`. It is flattened by feeding a keyed
//! hasher a fixed sequence of writes:
//!
//! ```text
//! tag, user length, session length: one u64 | user | session | key
//! ```
//!
//! Lengths stand before the ids, so no two different names write the same sequence, whatever
//! characters the ids hold. Everything before the key depends on the namespace alone, so a
//! [`Scope`](crate::Scope) keeps the hasher's state after it and clones that for each key. The
//! hash only finds candidates: names are compared whole, always.

use std::hash::{BuildHasher, Hasher};

use crate::error::{Error, ErrorKind, Part, Result};

/// The greatest length of a user or session id, in bytes.
pub const MAX_ID_BYTES: usize = 256;

/// The greatest length of a key, in bytes.
pub const MAX_KEY_BYTES: usize = 512;

/// Whom a key belongs to; the unit of deletion.
///
/// Namespaces are disjoint: a key of a user is not visible in the user's sessions, nor the
/// other way round. Ids may hold any character; nothing is ever joined by a separator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Namespace<'a> {
    /// Belongs to nobody in particular.
    Global,
    /// Belongs to a user.
    User {
        /// The user id, 1 to [`MAX_ID_BYTES`] bytes.
        user: &'a str,
    },
    /// Belongs to one session of a user, and goes with the session or with the user.
    Session {
        /// The user id, 1 to [`MAX_ID_BYTES`] bytes.
        user: &'a str,
        /// The session id, unique within its user, 1 to [`MAX_ID_BYTES`] bytes.
        session: &'a str,
    },
}

impl<'a> Namespace<'a> {
    /// The user, unless this is [`Namespace::Global`].
    pub fn user(&self) -> Option<&'a str> {
        match *self {
            Self::Global => None,
            Self::User { user } | Self::Session { user, .. } => Some(user),
        }
    }

    /// The session, if this is a [`Namespace::Session`].
    pub fn session(&self) -> Option<&'a str> {
        match *self {
            Self::Session { session, .. } => Some(session),
            _ => None,
        }
    }

    /// One byte for the kind of namespace: the first part of the flattened key.
    fn scope_tag(&self) -> u8 {
        match self {
            Self::Global => 0,
            Self::User { .. } => 1,
            Self::Session { .. } => 2,
        }
    }

    /// Fails with [`ErrorKind::InvalidKey`] where an id is empty or too long.
    pub fn check(&self) -> Result<()> {
        if let Some(user) = self.user() {
            check_length(user.as_bytes(), Part::User, MAX_ID_BYTES)?;
        }
        if let Some(session) = self.session() {
            check_length(session.as_bytes(), Part::Session, MAX_ID_BYTES)?;
        }
        Ok(())
    }

    /// A hasher that has been fed everything before the key.
    #[inline]
    pub(crate) fn prefix<S: BuildHasher>(&self, build: &S) -> S::Hasher {
        let mut hasher = build.build_hasher();
        let (user, session) = (self.user().unwrap_or_default(), self.session().unwrap_or_default());
        // One write for all three: a write costs a hasher more than its bytes do.
        let lengths = (user.len() as u64) << 8 | (session.len() as u64) << 32;
        hasher.write_u64(u64::from(self.scope_tag()) | lengths);
        for id in [user, session] {
            if !id.is_empty() {
                hasher.write(id.as_bytes());
            }
        }
        hasher
    }
}

/// A namespace that keeps its ids itself.
#[derive(Clone)]
pub(crate) enum OwnedNamespace {
    Global,
    User(Box<str>),
    Session(Box<str>, Box<str>),
}

impl OwnedNamespace {
    pub(crate) fn get(&self) -> Namespace<'_> {
        match self {
            Self::Global => Namespace::Global,
            Self::User(user) => Namespace::User { user },
            Self::Session(user, session) => Namespace::Session { user, session },
        }
    }
}

impl From<Namespace<'_>> for OwnedNamespace {
    fn from(namespace: Namespace<'_>) -> Self {
        match namespace {
            Namespace::Global => Self::Global,
            Namespace::User { user } => Self::User(user.into()),
            Namespace::Session { user, session } => Self::Session(user.into(), session.into()),
        }
    }
}

/// The hash of a key in the namespace that `prefix` was made for.
#[inline]
pub(crate) fn key_hash<H: Hasher + Clone>(prefix: &H, key: &[u8]) -> u64 {
    let mut hasher = prefix.clone();
    hasher.write(key);
    hasher.finish()
}

/// Fails with [`ErrorKind::InvalidKey`] where a key is empty or too long.
#[inline]
pub(crate) fn check_key(key: &[u8]) -> Result<()> {
    check_length(key, Part::Key, MAX_KEY_BYTES)
}

#[inline]
fn check_length(bytes: &[u8], part: Part, limit: usize) -> Result<()> {
    if bytes.is_empty() || bytes.len() > limit {
        return Err(invalid_length(part, limit));
    }
    Ok(())
}

#[cold]
fn invalid_length(part: Part, limit: usize) -> Error {
    Error::new(ErrorKind::InvalidKey { part, limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers what it was fed.
    #[derive(Clone, Default)]
    struct Tape(Vec<u8>);

    impl Hasher for Tape {
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }

    struct Tapes;

    impl BuildHasher for Tapes {
        type Hasher = Tape;
        fn build_hasher(&self) -> Tape {
            Tape::default()
        }
    }

    #[test]
    fn different_names_never_flatten_alike() {
        let ids = ["a", "b", "ab", "a:b", "a\0", "\0", "aa", "a\u{1}\0b"];
        let mut seen = std::collections::HashMap::new();
        let mut namespaces = vec![Namespace::Global];
        for user in ids {
            namespaces.push(Namespace::User { user });
            namespaces.extend(ids.map(|session| Namespace::Session { user, session }));
        }
        for namespace in namespaces {
            for key in ids {
                let mut tape = namespace.prefix(&Tapes);
                tape.write(key.as_bytes());
                let other = seen.insert(tape.0, (namespace, key));
                assert_eq!(other, None, "{namespace:?} {key:?}");
            }
        }
    }

    #[test]
    fn the_kind_of_a_namespace_is_part_of_the_name_even_without_ids() {
        let (user, session) = ("", "");
        let kinds =
            [Namespace::Global, Namespace::User { user }, Namespace::Session { user, session }];
        let fed: Vec<Vec<u8>> = kinds.iter().map(|kind| kind.prefix(&Tapes).0).collect();
        assert!(fed[0] != fed[1] && fed[1] != fed[2] && fed[0] != fed[2], "{fed:?}");
    }

    #[test]
    fn keys_have_hashes_of_their_own() {
        let build = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let mut hashes = std::collections::HashSet::new();
        for user in ["a", "b"] {
            let prefix = Namespace::User { user }.prefix(&build);
            for key in 0..1000_u64 {
                assert!(hashes.insert(key_hash(&prefix, &key.to_le_bytes())), "{user} {key}");
            }
        }
    }

    #[test]
    fn lengths_are_checked_at_both_ends() {
        let long = "x".repeat(MAX_ID_BYTES);
        let longer = "x".repeat(MAX_ID_BYTES + 1);
        assert!(Namespace::Session { user: &long, session: &long }.check().is_ok());
        let error = Namespace::User { user: "" }.check().expect_err("empty");
        assert_eq!(error.kind(), ErrorKind::InvalidKey { part: Part::User, limit: 256 });
        let error = Namespace::Session { user: "a", session: &longer }.check().expect_err("long");
        assert_eq!(error.kind(), ErrorKind::InvalidKey { part: Part::Session, limit: 256 });
        assert!(check_key(&[0; MAX_KEY_BYTES]).is_ok());
        assert!(check_key(&[0; MAX_KEY_BYTES + 1]).is_err());
        assert!(check_key(b"").is_err());
    }
}
