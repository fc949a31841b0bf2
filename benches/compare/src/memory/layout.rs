//! What is stored: names are made when they are needed, so that no table of them is measured.
//!
//! They stand on the stack until then. Short-lived allocations between lasting ones would leave
//! holes in the heap, which would be resident, and none of the peers' doing.

use std::fmt;
use std::io::Write;
use std::str::FromStr;

use crate::random::{UUID_BYTES, Uuid};

/// Bytes of a key within its namespace.
pub(super) const KEY_BYTES: usize = 16;
const JOINED_BYTES: usize = 2 * (UUID_BYTES + 1) + KEY_BYTES;
/// Bytes of a value where its type fixes them.
pub(super) const FIXED_VALUE_BYTES: usize = 64;

/// How entries are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Byte strings of any length under keys of any length, one namespace.
    Plain,
    /// Keys and values whose types fix their length: the best case of maps that are generic.
    Fixed,
    /// So many keys in each session of each user; peers join the three parts.
    Sessions { keys: u64 },
}

/// The names of entries of a layout.
#[derive(Clone, Copy)]
pub(super) struct Names {
    pub(super) seed: u64,
    pub(super) keys_a_session: u64,
    pub(super) sessions_a_user: u64,
}

impl Layout {
    pub(super) const ALL: [Self; 4] =
        [Self::Plain, Self::Fixed, Self::Sessions { keys: 1 }, Self::Sessions { keys: 8 }];

    pub(super) fn names(self, seed: u64, sessions_a_user: u64) -> Names {
        let keys_a_session = match self {
            Self::Sessions { keys } => keys,
            Self::Plain | Self::Fixed => 1,
        };
        Names { seed, keys_a_session, sessions_a_user }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => f.write_str("plain"),
            Self::Fixed => f.write_str("fixed"),
            Self::Sessions { keys } => write!(f, "sessions-{keys}"),
        }
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let keys = text.strip_prefix("sessions-").and_then(|keys| keys.parse().ok());
        match (text, keys) {
            ("plain", _) => Ok(Self::Plain),
            ("fixed", _) => Ok(Self::Fixed),
            (_, Some(keys)) if keys > 0 => Ok(Self::Sessions { keys }),
            _ => Err(format!("no layout `{text}`; there are plain, fixed, sessions-N")),
        }
    }
}

impl Names {
    pub(super) fn session_of(&self, entry: u64) -> u64 {
        entry / self.keys_a_session
    }

    /// User and session id of a session.
    pub(super) fn ids(&self, session: u64) -> (Uuid, Uuid) {
        let user = session / self.sessions_a_user;
        (Uuid::new(self.seed, user), Uuid::new(!self.seed, session))
    }

    /// The key of an entry within its session: the same few in all of them.
    pub(super) fn key_in_session(&self, entry: u64) -> [u8; KEY_BYTES] {
        let mut key = *b"state-0000000000";
        write!(&mut key[6..], "{:010}", entry % self.keys_a_session).expect("at most 10 digits");
        key
    }

    /// User, session and key in one, joined by a character that none of them holds.
    pub(super) fn joined(&self, entry: u64) -> [u8; JOINED_BYTES] {
        let (user, session) = self.ids(self.session_of(entry));
        let mut joined = [b'/'; JOINED_BYTES];
        joined[..UUID_BYTES].copy_from_slice(user.as_str().as_bytes());
        joined[UUID_BYTES + 1..][..UUID_BYTES].copy_from_slice(session.as_str().as_bytes());
        joined[2 * UUID_BYTES + 2..].copy_from_slice(&self.key_in_session(entry));
        joined
    }

    /// The key of an entry where there is one namespace.
    pub(super) fn plain(&self, entry: u64) -> [u8; KEY_BYTES] {
        let mut key = [0; KEY_BYTES];
        write!(&mut key[..], "{entry:08x}{:08x}", self.seed as u32).expect("16 digits");
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_read_as_they_are_written() {
        for layout in Layout::ALL {
            assert_eq!(layout.to_string().parse(), Ok(layout));
        }
        assert!("sessions-0".parse::<Layout>().is_err());
    }

    #[test]
    fn names_have_their_lengths() {
        let names = Layout::Sessions { keys: 8 }.names(1, 10);
        assert_eq!(&names.key_in_session(15), b"state-0000000007");
        let joined = names.joined(9);
        let parts: Vec<&[u8]> = joined.split(|&byte| byte == b'/').collect();
        let (user, session) = names.ids(1);
        assert_eq!(parts[..2], [user.as_str().as_bytes(), session.as_str().as_bytes()]);
        assert_eq!(parts[2], b"state-0000000001");
        assert_eq!(names.ids(0).0, names.ids(9).0);
        assert_ne!(names.ids(9).0, names.ids(10).0);
        assert_ne!(names.plain(1), names.plain(2));
    }
}
