//! What a removal listener is told.

use std::fmt;

use crate::item::Version;
use crate::namespace::Namespace;

/// Why an entry is no longer in the cache.
///
/// It is what the one who took the entry out saw when it decided to. Where two are about to do
/// that at once, for different reasons, one of them wins, and its reason counts.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RemovalCause {
    /// Its deadline had come, and somebody noticed: a call, or the timing wheel. What nobody had
    /// noticed yet when its session or user was deleted goes with those.
    Expired,
    /// The cache was full. Also a large entry that was refused when it was set, see
    /// [`CacheBuilder::keep_large`](crate::CacheBuilder::keep_large).
    Evicted,
    /// Its key was written again.
    Replaced,
    /// Its key was deleted or taken.
    Deleted,
    /// Its session was deleted.
    SessionDeleted,
    /// Its user was deleted, whether it was the user's own or a session's.
    UserDeleted,
    /// [`clear`](crate::Cache::clear), or a deletion of the global namespace.
    Cleared,
}

impl RemovalCause {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Expired,
        Self::Evicted,
        Self::Replaced,
        Self::Deleted,
        Self::SessionDeleted,
        Self::UserDeleted,
        Self::Cleared,
    ];

    /// A word for it, as labels of metrics have them: `session_deleted`, say.
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Replaced => "replaced",
            Self::Deleted => "deleted",
            Self::SessionDeleted => "session_deleted",
            Self::UserDeleted => "user_deleted",
            Self::Cleared => "cleared",
        }
    }
}

impl fmt::Display for RemovalCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The end of one entry, as [`CacheBuilder::on_removal`](crate::CacheBuilder::on_removal)
/// reports it.
///
/// # What is reported
///
/// Each version that a write answered ends once, and that end is one event. (Neither a `touch`
/// nor the renewal of a sliding TTL ends one: the version goes on with another deadline.) Never
/// reported is what was not stored: what a lease holds until its value comes, a value that was
/// loaded but lost its right to be stored, a write that failed. Nor is what the cache still
/// holds when it is closed: that goes without an event, as nobody removed it.
pub struct Removal {
    /// User, session and key, one after the other.
    names: Box<[u8]>,
    version: Version,
    bytes: u64,
    key_at: u16,
    user_len: u16,
    kind: Kind,
    cause: RemovalCause,
}

#[derive(Clone, Copy)]
enum Kind {
    Global,
    User,
    Session,
}

/// Whose entry it was, and which.
pub(crate) struct Names<'a> {
    /// None of an entry that belonged to nobody.
    pub(crate) user: Option<&'a [u8]>,
    /// None of one that belonged to no session.
    pub(crate) session: Option<&'a [u8]>,
    pub(crate) key: &'a [u8],
}

impl<'a> Names<'a> {
    pub(crate) fn new(namespace: Namespace<'a>, key: &'a [u8]) -> Self {
        let bytes = str::as_bytes;
        Self { user: namespace.user().map(bytes), session: namespace.session().map(bytes), key }
    }
}

impl Removal {
    pub(crate) fn new(names: Names<'_>, version: Version, bytes: u64, cause: RemovalCause) -> Self {
        let kind = match (names.user, names.session) {
            (None, _) => Kind::Global,
            (_, None) => Kind::User,
            _ => Kind::Session,
        };
        let (user, session) = (names.user.unwrap_or_default(), names.session.unwrap_or_default());
        Self {
            names: [user, session, names.key].concat().into(),
            version,
            bytes,
            // Ids and keys are short, which was checked before anything was stored.
            key_at: (user.len() + session.len()) as u16,
            user_len: user.len() as u16,
            kind,
            cause,
        }
    }

    /// Whom the entry belonged to.
    pub fn namespace(&self) -> Namespace<'_> {
        let (user, session) = self.names[..usize::from(self.key_at)].split_at(self.user_len.into());
        let id = |bytes| std::str::from_utf8(bytes).expect("an id comes from a `str`");
        match self.kind {
            Kind::Global => Namespace::Global,
            Kind::User => Namespace::User { user: id(user) },
            Kind::Session => Namespace::Session { user: id(user), session: id(session) },
        }
    }

    /// Its key.
    pub fn key(&self) -> &[u8] {
        &self.names[usize::from(self.key_at)..]
    }

    /// The version that the write of this value answered.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Bytes that it took in memory, header and key included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Why it is gone.
    pub fn cause(&self) -> RemovalCause {
        self.cause
    }
}

impl fmt::Debug for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Ids and keys may be secrets: they are not shown.
        f.debug_struct("Removal")
            .field("version", &self.version)
            .field("bytes", &self.bytes)
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(scopecache_loom, scopecache_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn names_come_out_as_they_went_in() {
        let long = "é".repeat(128);
        let key = [0xff; 512];
        for namespace in [
            Namespace::Global,
            Namespace::User { user: "ada" },
            Namespace::User { user: &long },
            Namespace::Session { user: "ada", session: "1" },
            Namespace::Session { user: &long, session: &long },
        ] {
            for key in [b"k".as_slice(), &key] {
                let version = Version::from_u64(7);
                let removal =
                    Removal::new(Names::new(namespace, key), version, 100, RemovalCause::Evicted);
                assert_eq!((removal.namespace(), removal.key()), (namespace, key));
                assert_eq!((removal.version(), removal.bytes()), (version, 100));
                assert_eq!(removal.cause(), RemovalCause::Evicted);
            }
        }
    }

    #[test]
    fn each_cause_has_a_word_of_its_own() {
        let words = RemovalCause::ALL.map(RemovalCause::name);
        let distinct = std::collections::HashSet::from(words);
        assert_eq!(distinct.len(), words.len());
        for (cause, word) in RemovalCause::ALL.into_iter().zip(words) {
            assert_eq!(cause.to_string(), word);
            // As the variant, in the case of labels.
            assert_eq!(format!("{cause:?}").to_lowercase(), word.replace('_', ""));
        }
    }

    #[test]
    fn causes_are_numbered_in_their_order() {
        for (at, cause) in RemovalCause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, at, "{cause}");
        }
    }
}
