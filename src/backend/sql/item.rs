//! A row of `kv` as calls need it, and what becomes one.

use std::time::{Duration, SystemTime};

use crate::error::{Error, ErrorKind, Result};
use crate::item::Version;
use crate::namespace::Namespace;
use crate::options::Condition;
use crate::storage::{Expiry, StorageItem};

/// A longer span is as good as for ever, and does not lead past the end of the servers' numbers.
const LONGEST_US: i64 = 1 << 61;

/// A namespace as the tables name it: the global one is the user without a name, a user's own keys
/// are those of the session without a name. No id is empty, so that nothing else is called so.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    pub(super) user: &'a [u8],
    pub(super) session: &'a [u8],
}

impl<'a> From<Namespace<'a>> for At<'a> {
    fn from(namespace: Namespace<'a>) -> Self {
        Self {
            user: namespace.user().unwrap_or_default().as_bytes(),
            session: namespace.session().unwrap_or_default().as_bytes(),
        }
    }
}

/// What is to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draft<'a> {
    pub(super) data: &'a [u8],
    pub(super) version: i64,
    pub(super) condition: Condition,
    /// Spans after now, in microseconds; none for what the item does not have.
    pub(super) deadline_us: Option<i64>,
    pub(super) sliding_us: Option<i64>,
    pub(super) last_us: Option<i64>,
    /// Whether the deadlines of the item that is overwritten stay instead.
    pub(super) keeps_ttl: bool,
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        data: &'a [u8],
        version: Version,
        condition: Condition,
        expiry: Expiry,
    ) -> Self {
        let (deadline_us, sliding_us, last_us) = match expiry {
            Expiry::Default | Expiry::Keep => (None, None, None),
            Expiry::Ttl(ttl) => (Some(micros(ttl)), None, None),
            Expiry::Sliding { ttl, max_lifetime } => {
                let (ttl, last) = (micros(ttl), micros(max_lifetime));
                (Some(ttl.min(last)), Some(ttl), Some(last))
            }
        };
        Self {
            data,
            version: number(version),
            condition,
            deadline_us,
            sliding_us,
            last_us,
            keeps_ttl: expiry == Expiry::Keep,
        }
    }

    /// Whether reads are to lengthen its TTL.
    pub(super) fn slides(&self) -> bool {
        self.sliding_us.is_some()
    }
}

/// A row, and the server's time when it was read.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) data: Vec<u8>,
    pub(super) version: i64,
    pub(super) created_us: i64,
    pub(super) deadline_us: Option<i64>,
    pub(super) sliding_us: Option<i64>,
    pub(super) last_us: Option<i64>,
    /// When the statement began, and when the row was read.
    pub(super) began_us: i64,
    pub(super) seen_us: i64,
}

/// What a row that a statement has found says of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Alive,
    /// It had expired before the statement looked at the table.
    Over,
    /// It has expired while the statement ran; what came after it may have gone unseen.
    Unclear,
}

impl Stored {
    pub(super) fn state(&self) -> State {
        match self.deadline_us {
            Some(deadline) if deadline <= self.began_us => State::Over,
            Some(deadline) if deadline <= self.seen_us => State::Unclear,
            _ => State::Alive,
        }
    }

    /// The deadline that a hit gives the item: where it slides, an eighth of its TTL has gone, and it
    /// may go on.
    pub(super) fn renewed_us(&self) -> Option<i64> {
        let (deadline, ttl) = (self.deadline_us?, self.sliding_us?);
        let last = self.last_us.unwrap_or(i64::MAX);
        let begun = deadline.saturating_sub(ttl);
        let is_worth_it = deadline < last && self.seen_us.saturating_sub(begun) >= ttl / 8;
        is_worth_it.then(|| self.seen_us.saturating_add(ttl).min(last))
    }

    pub(super) fn with_deadline(self, deadline_us: i64) -> Self {
        Self { deadline_us: Some(deadline_us), ..self }
    }

    pub(super) fn into_item(self) -> Result<StorageItem> {
        let moment = |us: i64| {
            let span = u64::try_from(us).map(Duration::from_micros).ok();
            span.and_then(|span| SystemTime::UNIX_EPOCH.checked_add(span)).ok_or_else(|| {
                Error::with_detail(ErrorKind::Corrupt, "a time in a row is before the year 1970")
            })
        };
        Ok(StorageItem {
            data: self.data.into(),
            created_at: moment(self.created_us)?,
            expires_at: self.deadline_us.map(moment).transpose()?,
            version: Version::from_u64(self.version.cast_unsigned()),
        })
    }
}

/// A version as the servers' numbers, which have a sign, hold it.
pub(super) fn number(version: Version) -> i64 {
    version.as_u64().cast_signed()
}

/// Whole microseconds, as the servers count; a shorter rest does not lengthen a TTL.
pub(super) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).map_or(LONGEST_US, |us| us.min(LONGEST_US))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(deadline: Option<i64>, began: i64, seen: i64) -> Stored {
        Stored {
            data: vec![],
            version: 1,
            created_us: 0,
            deadline_us: deadline,
            sliding_us: Some(80),
            last_us: Some(1000),
            began_us: began,
            seen_us: seen,
        }
    }

    #[test]
    fn only_what_was_over_from_the_start_is_absent() {
        assert_eq!(stored(None, 10, 12).state(), State::Alive);
        assert_eq!(stored(Some(13), 10, 12).state(), State::Alive);
        assert_eq!(stored(Some(12), 10, 12).state(), State::Unclear);
        assert_eq!(stored(Some(11), 10, 12).state(), State::Unclear);
        assert_eq!(stored(Some(10), 10, 12).state(), State::Over);
    }

    #[test]
    fn a_hit_renews_once_an_eighth_has_gone_and_never_past_the_end() {
        assert_eq!(stored(Some(100), 0, 29).renewed_us(), None);
        assert_eq!(stored(Some(100), 0, 30).renewed_us(), Some(110));
        assert_eq!(stored(Some(990), 0, 980).renewed_us(), Some(1000));
        assert_eq!(stored(Some(1000), 0, 990).renewed_us(), None);
        assert_eq!(stored(None, 0, 30).renewed_us(), None);
    }

    #[test]
    fn no_span_leads_past_the_end_of_the_numbers() {
        let now_us = 4_000_000_000_000_000;
        assert!(i64::checked_add(now_us, micros(Duration::MAX)).is_some());
        assert_eq!(micros(Duration::from_nanos(1)), 0);
    }
}
