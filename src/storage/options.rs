//! For whom a call is, and how it is to be done.

use std::fmt;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::namespace::{Namespace, check_key};
use crate::options::check_ttl;

/// For whom a call of a [`Storage`](crate::Storage) is, how long a value lives, and how long the
/// call may take. It is `Copy` and borrows the ids.
///
/// Without a namespace a call is for [`Namespace::Global`].
///
/// | | `get`, `take`, `get_many`, `delete_many` | `set`, `write`, `load`, `set_many` | `touch` | `delete` | `keys` |
/// |---|---|---|---|---|---|
/// | `with_user`, `with_user_session` | one of them | one of them | one of them | one of them | one of them |
/// | `with_key` | no | no | no | yes: that key alone | no |
/// | `with_ttl` | no | yes | needed | no | no |
/// | `keep_ttl` | no | not with a TTL | no | no | no |
/// | `sliding` | no | with a TTL | no | no | no |
/// | `with_timeout` | yes | yes | yes | yes | yes |
///
/// Everything else is refused with `InvalidOptions` before anything is touched; the message
/// says what does not go together.
///
/// ```
/// use scopecache::Options;
/// use std::time::Duration;
///
/// let session = Options::new().with_user_session("user123", "session456");
/// let state = session.with_ttl(Duration::from_secs(1800));
/// # let _ = state;
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[must_use]
pub struct Options<'a> {
    namespace: Option<Namespace<'a>>,
    key: Option<&'a str>,
    ttl: Option<Duration>,
    keep_ttl: bool,
    max_lifetime: Option<Duration>,
    timeout: Option<Duration>,
    /// What was given more than once, though it can only be one.
    twice: Twice,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Twice {
    #[default]
    Nothing,
    Namespace,
    Key,
}

/// A kind of call, as far as options are concerned; for those who implement
/// [`Storage`](crate::Storage).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `get` and `get_many`.
    Get,
    /// `take`.
    Take,
    /// `set`, `write`, `load` and `set_many`.
    Write,
    /// `touch`.
    Touch,
    /// `delete`: the only one that takes a key from the options.
    Delete,
    /// `delete_many`.
    DeleteMany,
    /// `keys`.
    List,
}

/// Options that go together, as [`Options::check`] returns them; for those who implement
/// [`Storage`](crate::Storage).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked<'a> {
    /// Its ids have valid lengths.
    pub namespace: Namespace<'a>,
    /// Of a `delete`: the one key to delete, of valid length. `None` for all other calls.
    pub key: Option<&'a str>,
    /// How long a written value lives. [`Expiry::Ttl`] for every `touch`.
    pub expiry: Expiry,
    /// How long the call may take; longer than zero.
    pub timeout: Option<Duration>,
}

/// How long a written value lives.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// As long as the storage's default says; for ever if it has none.
    Default,
    /// Until this long after the write; longer than zero.
    Ttl(Duration),
    /// As long as the value that it overwrites would have lived; for ever if there is none.
    Keep,
    /// Until `ttl` after it was last read, and `max_lifetime` after the write at the latest.
    Sliding {
        /// Longer than zero.
        ttl: Duration,
        /// Longer than zero.
        max_lifetime: Duration,
    },
}

impl<'a> Options<'a> {
    /// The global namespace, the storage's default TTL, no timeout.
    pub const fn new() -> Self {
        Self {
            namespace: None,
            key: None,
            ttl: None,
            keep_ttl: false,
            max_lifetime: None,
            timeout: None,
            twice: Twice::Nothing,
        }
    }

    /// The namespace of a user. A second namespace is an error of the call.
    pub const fn with_user(self, user: &'a str) -> Self {
        self.with_namespace(Namespace::User { user })
    }

    /// The namespace of one session of a user. A second namespace is an error of the call.
    pub const fn with_user_session(self, user: &'a str, session: &'a str) -> Self {
        self.with_namespace(Namespace::Session { user, session })
    }

    /// Any namespace. A second one is an error of the call.
    pub const fn with_namespace(mut self, namespace: Namespace<'a>) -> Self {
        if self.namespace.is_some() {
            self.twice = Twice::Namespace;
        }
        self.namespace = Some(namespace);
        self
    }

    /// The one key that a `delete` is to remove. All other calls take their key as an argument
    /// of its own, and refuse this one.
    pub const fn with_key(mut self, key: &'a str) -> Self {
        if self.key.is_some() {
            self.twice = Twice::Key;
        }
        self.key = Some(key);
        self
    }

    /// The value ends `ttl` after it was written (after the call, for a `touch`). Zero is an
    /// error of the call.
    pub const fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The call fails with `Timeout` if it has not answered after `timeout`. Zero is an error of
    /// the call.
    ///
    /// The time counts from when the call's future is first polled, on the system's monotonic
    /// clock. A storage in another process may have carried a timed-out write out or not: read
    /// the key and use `compare_and_set` instead of repeating a blind `set`.
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Keeps the expiry of the value that is overwritten. Excludes a TTL.
    pub const fn keep_ttl(mut self) -> Self {
        self.keep_ttl = true;
        self
    }

    /// Every read renews the TTL, up to `max_lifetime` after the write. Needs a TTL.
    pub const fn sliding(mut self, max_lifetime: Duration) -> Self {
        self.max_lifetime = Some(max_lifetime);
        self
    }

    /// Whom the call is for, unchecked.
    pub fn namespace(&self) -> Namespace<'a> {
        self.namespace.unwrap_or(Namespace::Global)
    }

    /// The key of [`with_key`](Self::with_key), unchecked.
    pub fn key(&self) -> Option<&'a str> {
        self.key
    }

    /// Returns what the options say to a call, once they are known to go together.
    ///
    /// # Errors
    ///
    /// `InvalidOptions` where they do not go together, or not with the call; `InvalidKey` where
    /// an id, or the key in the options, is empty or too long.
    pub fn check(&self, operation: Operation) -> Result<Checked<'a>> {
        match self.twice {
            Twice::Nothing => {}
            Twice::Namespace => {
                return Err(Error::options(
                    "two namespaces are given; with_user and with_user_session each name one",
                ));
            }
            Twice::Key => return Err(Error::options("two keys are given; call delete for each")),
        }
        if self.key.is_some() && operation != Operation::Delete {
            return Err(Error::options(match operation {
                Operation::List => "with_key is for delete alone; a listing has no key",
                Operation::Get => "with_key is for delete alone; get has its key as an argument",
                Operation::Take => "with_key is for delete alone; take has its key as an argument",
                Operation::Touch => {
                    "with_key is for delete alone; touch has its key as an argument"
                }
                _ => "with_key is for delete alone; this call has its keys as an argument",
            }));
        }
        let expiry = match operation {
            Operation::Write => self.expiry_of_write()?,
            Operation::Touch => self.expiry_of_touch()?,
            _ => self.no_expiry(operation)?,
        };
        if self.timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(Error::options("a timeout must be longer than zero"));
        }
        let namespace = self.namespace();
        namespace.check()?;
        if let Some(key) = self.key {
            check_key(key.as_bytes())?;
        }
        Ok(Checked { namespace, key: self.key, expiry, timeout: self.timeout })
    }

    /// The same without what only writes take: as the read of the same key wants them.
    pub const fn without_expiry(mut self) -> Self {
        self.ttl = None;
        self.keep_ttl = false;
        self.max_lifetime = None;
        self
    }

    /// The same, but a write keeps the expiry of what it overwrites unless they say otherwise.
    pub(super) fn or_keep_ttl(mut self) -> Self {
        self.keep_ttl |= self.ttl.is_none() && self.max_lifetime.is_none();
        self
    }

    fn expiry_of_write(&self) -> Result<Expiry> {
        match (self.keep_ttl, self.ttl, self.max_lifetime) {
            (true, Some(_), _) => {
                Err(Error::options("keep_ttl and with_ttl exclude each other; drop one of them"))
            }
            (true, None, Some(_)) => {
                Err(Error::options("keep_ttl and sliding exclude each other; drop one of them"))
            }
            (false, None, Some(_)) => Err(Error::options("sliding needs a TTL; add with_ttl")),
            (true, None, None) => Ok(Expiry::Keep),
            (false, None, None) => Ok(Expiry::Default),
            (false, Some(ttl), None) => Ok(Expiry::Ttl(check_ttl(ttl)?)),
            (false, Some(_), Some(Duration::ZERO)) => {
                Err(Error::options("the maximum lifetime of sliding must be longer than zero"))
            }
            (false, Some(ttl), Some(max_lifetime)) => {
                Ok(Expiry::Sliding { ttl: check_ttl(ttl)?, max_lifetime })
            }
        }
    }

    fn expiry_of_touch(&self) -> Result<Expiry> {
        if self.keep_ttl {
            return Err(Error::options("keep_ttl does not go with touch, which changes the TTL"));
        }
        if self.max_lifetime.is_some() {
            return Err(Error::options(
                "sliding does not go with touch; a sliding TTL stays one, give with_ttl alone",
            ));
        }
        let ttl = self.ttl.ok_or_else(|| Error::options("touch needs a TTL; add with_ttl"))?;
        Ok(Expiry::Ttl(check_ttl(ttl)?))
    }

    fn no_expiry(&self, operation: Operation) -> Result<Expiry> {
        if self.ttl.is_some() {
            return Err(Error::options(match operation {
                Operation::Get => "a TTL does not go with get; to renew one, use touch",
                Operation::Take => "a TTL does not go with take, which removes the value",
                Operation::List => "a TTL does not go with a listing",
                _ => "a TTL does not go with delete",
            }));
        }
        if self.keep_ttl {
            return Err(Error::options("keep_ttl is for calls that write a value"));
        }
        if self.max_lifetime.is_some() {
            return Err(Error::options("sliding is for calls that write a value"));
        }
        Ok(Expiry::Default)
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Ids and keys may be secrets: they are not shown.
        let kind = match self.namespace {
            None | Some(Namespace::Global) => "global",
            Some(Namespace::User { .. }) => "user",
            Some(Namespace::Session { .. }) => "session",
        };
        f.debug_struct("Options")
            .field("namespace", &kind)
            .field("key", &self.key.map(|_| ".."))
            .field("ttl", &self.ttl)
            .field("keep_ttl", &self.keep_ttl)
            .field("max_lifetime", &self.max_lifetime)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorKind, Part};

    #[test]
    fn the_key_to_delete_is_checked() {
        let long = "x".repeat(513);
        for key in ["", &long] {
            let error = Options::new().with_key(key).check(Operation::Delete).expect_err("length");
            assert_eq!(error.kind(), ErrorKind::InvalidKey { part: Part::Key, limit: 512 });
        }
    }

    #[test]
    fn nothing_of_an_id_or_a_key_is_shown() {
        let options = Options::new().with_user_session("secret", "secret").with_key("secret");
        assert!(!format!("{options:?}").contains("secret"));
    }

    #[test]
    fn an_update_keeps_the_ttl_unless_it_gives_one() {
        let second = Duration::from_secs(1);
        let expiry = |options: Options<'_>| {
            options.or_keep_ttl().check(Operation::Write).expect("valid").expiry
        };
        assert_eq!(expiry(Options::new()), Expiry::Keep);
        assert_eq!(expiry(Options::new().with_ttl(second)), Expiry::Ttl(second));
    }
}
