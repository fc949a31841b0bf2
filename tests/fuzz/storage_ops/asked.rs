//! Options as an input asks for them, and what is wrong with them: what goes together is told here
//! a second time, after the table at `Options`.

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use scopecache::{ErrorKind, MAX_ID_BYTES, MAX_KEY_BYTES, Namespace, Options, Part};

use crate::support::op::{Life, Space};

/// Valid ones, and then one that is too short and one that is too long.
pub(super) const USERS: [&str; 4] = ["u", "u:s", "", TOO_LONG.split_at(MAX_ID_BYTES + 1).0];
pub(super) const SESSIONS: [&str; 4] = ["s", "u", "", TOO_LONG.split_at(MAX_ID_BYTES + 1).0];
pub(super) const KEYS: [&str; 5] = ["k", "s:k", "\0", "", TOO_LONG];
const TOO_LONG: &str = match std::str::from_utf8(&[b'k'; MAX_KEY_BYTES + 1]) {
    Ok(text) => text,
    Err(_) => unreachable!(),
};
/// Nanoseconds; no call takes as long as the last.
pub(super) const SPANS: [u64; 4] = [0, 80_000_000, 8_000_000_000, 28_800_000_000_000];

/// Options as they were asked for.
pub(super) struct Asked(Vec<With>);

/// A call of the builder of options.
#[derive(Clone, Copy, Debug)]
enum With {
    User(usize),
    UserSession(usize, usize),
    Global,
    Key(usize),
    Ttl(u64),
    KeepTtl,
    Sliding(u64),
    Timeout(u64),
}

/// The calls, as far as options are concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Call {
    Read,
    Write,
    Touch,
    Delete,
    Update,
}

/// A rule that a call breaks: what kind of error it is, and a word that must stand in the message.
pub(super) type Fault = (ErrorKind, &'static str);

impl Asked {
    pub(super) fn read(input: &mut Unstructured<'_>) -> Result<Asked> {
        let mut calls = Vec::new();
        for _ in 0..input.int_in_range(0..=4_u8)? {
            let byte: u8 = input.arbitrary()?;
            // Invalid ids are rare: they would hide all else.
            let id = [0, 0, 0, 0, 1, 1, 2, 3][usize::from(byte >> 3 & 7)];
            let span = SPANS[usize::from(byte >> 3 & 3)];
            calls.push(match byte & 7 {
                0 => With::User(id),
                1 => With::UserSession(id, [0, 1, 0, 3][usize::from(byte >> 6)]),
                2 => With::Global,
                3 => With::Key(id),
                4 => With::Ttl(span),
                5 => With::KeepTtl,
                6 => With::Sliding(span),
                _ => With::Timeout(if span == 0 { 0 } else { SPANS[3] }),
            });
        }
        Ok(Asked(calls))
    }

    pub(super) fn options(&self) -> Options<'static> {
        self.0.iter().fold(Options::new(), |options, call| match *call {
            With::User(user) => options.with_user(USERS[user]),
            With::UserSession(user, session) => {
                options.with_user_session(USERS[user], SESSIONS[session])
            }
            With::Global => options.with_namespace(Namespace::Global),
            With::Key(key) => options.with_key(KEYS[key]),
            With::Ttl(span) => options.with_ttl(Duration::from_nanos(span)),
            With::KeepTtl => options.keep_ttl(),
            With::Sliding(span) => options.sliding(Duration::from_nanos(span)),
            With::Timeout(span) => options.with_timeout(Duration::from_nanos(span)),
        })
    }

    fn last<T>(&self, pick: impl Fn(&With) -> Option<T>) -> Option<T> {
        self.0.iter().rev().find_map(pick)
    }

    fn count(&self, pick: impl Fn(&With) -> bool) -> usize {
        self.0.iter().filter(|call| pick(call)).count()
    }

    pub(super) fn key(&self) -> Option<usize> {
        self.last(|call| if let With::Key(key) = call { Some(*key) } else { None })
    }

    pub(super) fn ttl(&self) -> Option<u64> {
        self.last(|call| if let With::Ttl(span) = call { Some(*span) } else { None })
    }

    fn max_lifetime(&self) -> Option<u64> {
        self.last(|call| if let With::Sliding(span) = call { Some(*span) } else { None })
    }

    fn keeps_ttl(&self) -> bool {
        self.count(|call| matches!(call, With::KeepTtl)) > 0
    }

    /// For whom the call is; ids that are invalid stand for nobody.
    pub(super) fn space(&self) -> Space {
        let space = self.last(|call| match *call {
            With::User(user) => Some(Space::User(user as u8)),
            With::UserSession(user, session) => Some(Space::Session(user as u8, session as u8)),
            With::Global => Some(Space::Global),
            _ => None,
        });
        space.unwrap_or(Space::Global)
    }

    pub(super) fn life(&self, call: Call) -> Life {
        match (self.ttl(), self.max_lifetime()) {
            (Some(ttl), Some(max_lifetime)) => Life::Sliding { ttl, max_lifetime },
            (Some(ttl), None) => Life::For(ttl),
            _ if self.keeps_ttl() || call == Call::Update => Life::Keep,
            _ => Life::Forever,
        }
    }

    /// Every rule that is broken.
    pub(super) fn faults(&self, call: Call) -> Vec<Fault> {
        let mut words = Vec::new();
        let is_namespace =
            |call: &With| matches!(call, With::User(_) | With::UserSession(..) | With::Global);
        if self.count(is_namespace) > 1 {
            words.push("namespace");
        }
        if self.count(|call| matches!(call, With::Key(_))) > 1 {
            words.push("two keys");
        }
        if self.key().is_some() && call != Call::Delete {
            words.push("with_key");
        }
        if self.last(|call| if let With::Timeout(span) = call { Some(*span) } else { None })
            == Some(0)
        {
            words.push("timeout");
        }
        let (ttl, sliding, keep) = (self.ttl(), self.max_lifetime(), self.keeps_ttl());
        match call {
            Call::Write | Call::Update => {
                words.extend((keep && (ttl.is_some() || sliding.is_some())).then_some("keep_ttl"));
                words.extend((sliding.is_some() && ttl.is_none()).then_some("sliding"));
                words.extend((ttl == Some(0)).then_some("ttl"));
                words.extend((sliding == Some(0)).then_some("lifetime"));
            }
            Call::Touch => {
                words.extend(keep.then_some("keep_ttl"));
                words.extend(sliding.is_some().then_some("sliding"));
                words.extend(ttl.is_none().then_some("needs a TTL"));
                words.extend((ttl == Some(0)).then_some("ttl"));
            }
            Call::Read | Call::Delete => {
                words.extend(ttl.is_some().then_some("TTL"));
                words.extend(keep.then_some("keep_ttl"));
                words.extend(sliding.is_some().then_some("sliding"));
            }
        }
        let mut faults: Vec<Fault> =
            words.into_iter().map(|words| (ErrorKind::InvalidOptions, words)).collect();
        let (user, session) = match self.space() {
            Space::Global => (None, None),
            Space::User(user) => (Some(user), None),
            Space::Session(user, session) => (Some(user), Some(session)),
        };
        faults.extend(user.and_then(|user| of_id(USERS[usize::from(user)], Part::User)));
        faults.extend(session.and_then(|it| of_id(SESSIONS[usize::from(it)], Part::Session)));
        if call == Call::Delete {
            faults.extend(self.key().and_then(of_key));
        }
        faults
    }
}

pub(super) fn of_id(id: &str, part: Part) -> Option<Fault> {
    let kind = ErrorKind::InvalidKey { part, limit: MAX_ID_BYTES };
    (id.is_empty() || id.len() > MAX_ID_BYTES).then_some((kind, "256 bytes"))
}

pub(super) fn of_key(key: usize) -> Option<Fault> {
    let kind = ErrorKind::InvalidKey { part: Part::Key, limit: MAX_KEY_BYTES };
    let length = KEYS[key].len();
    (length == 0 || length > MAX_KEY_BYTES).then_some((kind, "512 bytes"))
}

pub(super) fn of_page(limit: usize) -> Option<Fault> {
    (limit == 0).then_some((ErrorKind::InvalidOptions, "page"))
}
