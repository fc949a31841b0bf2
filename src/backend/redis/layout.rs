//! Names of keys, and the bytes of an item.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::item::Version;
use crate::namespace::Namespace;
use crate::storage::StorageItem;

/// Version, creation, deadline, sliding TTL, end of the maximum lifetime: eight bytes each.
const HEADER_BYTES: usize = 40;

/// The keys of one namespace on the server; those of one user have one hash tag.
#[derive(Debug)]
pub(super) struct Names {
    /// What all keys of the user begin with.
    user: Vec<u8>,
    /// The id of the session, empty for a user and for the global namespace.
    pub(super) session: Vec<u8>,
}

impl Names {
    pub(super) fn new(prefix: &str, namespace: Namespace<'_>) -> Self {
        // No user looks like this: of theirs every `%` is followed by two digits.
        let Some(id) = namespace.user() else { return Self::of_tag(prefix, "%") };
        let mut user = prefix.as_bytes().to_vec();
        user.push(b'{');
        for byte in id.bytes() {
            match byte {
                // These would end the part that names the slot, or escape something.
                b'{' => user.extend(b"%7B"),
                b'}' => user.extend(b"%7D"),
                b'%' => user.extend(b"%25"),
                byte => user.push(byte),
            }
        }
        user.push(b'}');
        let session = namespace.session().unwrap_or_default().as_bytes().to_vec();
        Self { user, session }
    }

    /// Those that are no user's, by what stands between the braces.
    pub(super) fn of_tag(prefix: &str, tag: &str) -> Self {
        Self { user: format!("{prefix}{{{tag}}}").into_bytes(), session: Vec::new() }
    }

    /// Those of one of the user's sessions.
    pub(super) fn of_session(&self, session: &str) -> Self {
        Self { user: self.user.clone(), session: session.as_bytes().to_vec() }
    }

    /// The incarnation of the user.
    pub(super) fn incarnation(&self) -> Vec<u8> {
        self.key(b"g")
    }

    /// The ids of the sessions.
    pub(super) fn sessions(&self) -> Vec<u8> {
        self.key(b"x")
    }

    /// The hash of the user's own keys.
    pub(super) fn own(&self) -> Vec<u8> {
        self.key(b"n")
    }

    /// What the names of the sessions' hashes begin with.
    pub(super) fn base(&self) -> Vec<u8> {
        self.key(b"s")
    }

    /// The hash of the namespace.
    pub(super) fn hash(&self) -> Vec<u8> {
        if self.session.is_empty() {
            return self.own();
        }
        let mut hash = self.base();
        hash.extend_from_slice(&self.session);
        hash
    }

    /// Of those that are no user's: the lists of sessions of deleted incarnations.
    pub(super) fn waiting(&self) -> Vec<u8> {
        self.key(b"w")
    }

    /// What never exists.
    pub(super) fn nothing(&self) -> Vec<u8> {
        self.key(b"o")
    }

    fn key(&self, tag: &[u8]) -> Vec<u8> {
        [&self.user, tag].concat()
    }
}

/// An item as a reader needs it.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) version: [u8; 8],
    created_us: u64,
    pub(super) deadline_us: u64,
    sliding_us: u64,
    last_us: u64,
    data: Bytes,
}

impl Stored {
    /// # Errors
    ///
    /// `Corrupt` where these are not the bytes of an item.
    pub(super) fn decode(item: Vec<u8>) -> Result<Self> {
        let item = Bytes::from(item);
        let word = |index: usize| -> Option<[u8; 8]> {
            item.get(8 * index..8 * index + 8)?.try_into().ok()
        };
        let number = |index| word(index).map(u64::from_be_bytes);
        let stored = || {
            Some(Self {
                version: word(0)?,
                created_us: number(1)?,
                deadline_us: number(2)?,
                sliding_us: number(3)?,
                last_us: number(4)?,
                data: item.slice(HEADER_BYTES..),
            })
        };
        stored().ok_or_else(|| {
            let words = "an item lacks its header; was the key written by something else?";
            Error::with_detail(ErrorKind::Corrupt, words)
        })
    }

    /// Whether it has ended at this time of the server's clock.
    pub(super) fn is_over(&self, now_us: u64) -> bool {
        self.deadline_us != 0 && self.deadline_us <= now_us
    }

    /// Whether a hit now renews the TTL: it slides, an eighth of it has gone, and it may go on.
    pub(super) fn is_worth_renewing(&self, now_us: u64) -> bool {
        if self.sliding_us == 0 || self.deadline_us >= self.last_us {
            return false;
        }
        let begun = self.deadline_us.saturating_sub(self.sliding_us);
        now_us.saturating_sub(begun) >= self.sliding_us / 8
    }

    pub(super) fn into_item(self) -> StorageItem {
        let moment = |us| SystemTime::UNIX_EPOCH + Duration::from_micros(us);
        StorageItem {
            data: self.data,
            created_at: moment(self.created_us),
            expires_at: (self.deadline_us != 0).then(|| moment(self.deadline_us)),
            version: Version::from_u64(u64::from_be_bytes(self.version)),
        }
    }
}

/// Whole microseconds, as the scripts count; a shorter rest does not lengthen a TTL.
pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_namespaces_have_a_key_in_common() {
        let ids = ["a", "}", "{", "%", "%7D", "{}", "a}n", "s", "\0"];
        let mut namespaces = vec![Namespace::Global];
        for user in ids {
            namespaces.push(Namespace::User { user });
            namespaces.extend(ids.map(|session| Namespace::Session { user, session }));
        }
        let mut seen = std::collections::HashMap::new();
        // The lists that wait are named in the global namespace, or by a slot.
        for tag in ["%", "%w0", "%w7", "%w25"] {
            seen.insert(Names::of_tag("p", tag).waiting(), Namespace::Global);
        }
        for namespace in namespaces {
            let names = Names::new("p", namespace);
            assert_eq!(seen.insert(names.hash(), namespace), None, "{namespace:?}");
            // What names the slot: from the first brace to the first one that closes it.
            let tag = names.hash().splitn(2, |byte| *byte == b'}').next().map(<[u8]>::to_vec);
            assert!(tag.is_some_and(|tag| tag.len() > 2), "{namespace:?}");
        }
    }

    #[test]
    fn what_is_no_item_is_told() {
        let error = Stored::decode(vec![0; 39]).expect_err("too short");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}
