//! What the comparisons of speed store and ask for; fixed seeds, so that every run sees the same.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::random::{Random, UUID_BYTES, Uuid};

/// The value of every entry.
pub(crate) const VALUE: [u8; 64] = [7; 64];
/// Bytes of every key within its session.
pub(crate) const KEY_BYTES: usize = 16;

/// Keys that are asked for in the distribution `hot`.
const HOT: u64 = 100;
/// Requests before a sequence repeats.
const REQUESTS: usize = 1 << 20;
const SESSIONS_A_USER: usize = 10;
const KEYS_A_SESSION: usize = 10;

/// The names of all entries: entry `i` is key `i % keys` of session `i / keys`.
pub(crate) struct Names {
    /// User and session id of each session, in one place as a connection would have them.
    ids: String,
    keys: Vec<String>,
}

/// The full name of an entry.
#[derive(Clone, Copy)]
pub(crate) struct KeyRef<'a> {
    pub(crate) user: &'a str,
    pub(crate) session: &'a str,
    pub(crate) key: &'a str,
}

/// How entries are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dist {
    /// Entry of rank `r` with probability proportional to `r^-0.99`, ranks scattered.
    Zipf,
    Uniform,
    /// 100 entries, evenly, scattered over all sessions.
    Hot,
    /// One entry: whatever is written for each get is written to the same line.
    One,
}

/// A sequence of entries that goes on where it was left, and repeats.
#[derive(Clone)]
pub(crate) struct Requests {
    entries: Arc<[u32]>,
    next: usize,
}

impl Names {
    /// At least `entries` of them: users of 10 sessions of 10 keys, or one user where there are
    /// fewer than 100.
    pub(crate) fn new(entries: usize, key: &str) -> Self {
        Self::shaped(entries, SESSIONS_A_USER, KEYS_A_SESSION, key)
    }

    /// Keys are `key`, a hyphen and their number, in 16 bytes.
    pub(crate) fn shaped(
        entries: usize,
        sessions_a_user: usize,
        keys_a_session: usize,
        key: &str,
    ) -> Self {
        let sessions = entries.div_ceil(keys_a_session).max(1);
        let mut ids = String::with_capacity(sessions * 2 * UUID_BYTES);
        for session in 0..sessions {
            ids.push_str(Uuid::new(1, (session / sessions_a_user) as u64).as_str());
            ids.push_str(Uuid::new(2, session as u64).as_str());
        }
        Self { ids, keys: keys(key, keys_a_session) }
    }

    /// The entries of one user, who is another one for each number.
    pub(crate) fn of_user(number: u64, entries: usize) -> Self {
        let keys_a_session = entries.min(KEYS_A_SESSION);
        let sessions = entries.div_ceil(keys_a_session);
        let mut ids = String::with_capacity(sessions * 2 * UUID_BYTES);
        for session in 0..sessions {
            ids.push_str(Uuid::new(3, number).as_str());
            ids.push_str(Uuid::new(4 + number, session as u64).as_str());
        }
        Self { ids, keys: keys("state", keys_a_session) }
    }

    pub(crate) fn sessions(&self) -> usize {
        self.ids.len() / (2 * UUID_BYTES)
    }

    pub(crate) fn entries(&self) -> usize {
        self.sessions() * self.keys.len()
    }

    pub(crate) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The user and session id of a session.
    #[inline]
    pub(crate) fn ids(&self, session: usize) -> (&str, &str) {
        self.ids[session * 2 * UUID_BYTES..][..2 * UUID_BYTES].split_at(UUID_BYTES)
    }

    /// The session and the key of an entry.
    #[inline]
    pub(crate) fn split(&self, entry: u32) -> (usize, &str) {
        let entry = entry as usize;
        (entry / self.keys.len(), &self.keys[entry % self.keys.len()])
    }

    #[inline]
    pub(crate) fn of_entry(&self, entry: u32) -> KeyRef<'_> {
        let (session, key) = self.split(entry);
        let (user, session) = self.ids(session);
        KeyRef { user, session, key }
    }

    /// All entries in an order that has nothing to do with their names: memory that was filled
    /// in their order would be walked in order by whoever reads a session.
    pub(crate) fn shuffled(&self, seed: u64) -> Vec<u32> {
        shuffled(self.entries(), seed)
    }
}

impl KeyRef<'_> {
    /// Writes the parts into `buffer`, joined by a character that no id here holds.
    #[inline]
    pub(crate) fn join(&self, buffer: &mut String) {
        buffer.clear();
        buffer.push_str(self.user);
        buffer.push('/');
        buffer.push_str(self.session);
        buffer.push('/');
        buffer.push_str(self.key);
    }
}

impl Dist {
    /// A sequence of numbers below `entries` for each seed.
    pub(crate) fn requests(
        self,
        entries: usize,
        seeds: impl IntoIterator<Item = u64>,
    ) -> Vec<Requests> {
        let hot: Vec<u32> = shuffled(entries, 3).into_iter().take(HOT as usize).collect();
        let by_rank = if self == Self::Zipf { shuffled(entries, 4) } else { Vec::new() };
        let mut sum = 0.0;
        let cumulated: Vec<f64> = (1..=by_rank.len())
            .map(|rank| {
                sum += (rank as f64).powf(-0.99);
                sum
            })
            .collect();
        let sequence = |seed| {
            let mut random = Random::new(0x5eed ^ seed);
            let draw = |_| match self {
                Self::Uniform => random.below(entries as u64) as u32,
                Self::Hot => hot[random.below(hot.len() as u64) as usize],
                Self::One => hot[0],
                Self::Zipf => {
                    // By inversion: the first rank whose cumulated weight exceeds a uniform number.
                    let at = random.unit() * sum;
                    by_rank[cumulated.partition_point(|&weight| weight <= at).min(entries - 1)]
                }
            };
            Requests { entries: (0..REQUESTS).map(draw).collect(), next: 0 }
        };
        seeds.into_iter().map(sequence).collect()
    }
}

impl Requests {
    #[inline]
    pub(crate) fn next(&mut self) -> u32 {
        let entry = self.entries[self.next];
        self.next = (self.next + 1) % REQUESTS;
        entry
    }

    /// Whether the next request is one of those `percent`, evenly spread over the sequence.
    #[inline]
    pub(crate) fn is_among(&self, percent: u64) -> bool {
        (self.next as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 < (percent << 32) / 100
    }
}

impl fmt::Display for Dist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zipf => "zipf",
            Self::Uniform => "uniform",
            Self::Hot => "hot",
            Self::One => "one",
        })
    }
}

impl FromStr for Dist {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Zipf, Self::Uniform, Self::Hot, Self::One];
        let found = all.into_iter().find(|dist| dist.to_string() == text);
        found.ok_or_else(|| format!("no distribution `{text}`; there are zipf, uniform, hot, one"))
    }
}

fn keys(key: &str, number: usize) -> Vec<String> {
    let digits = KEY_BYTES - key.len() - 1;
    (0..number).map(|number| format!("{key}-{number:0digits$}")).collect()
}

fn shuffled(entries: usize, seed: u64) -> Vec<u32> {
    let mut random = Random::new(seed);
    let mut all: Vec<u32> = (0..entries as u32).collect();
    for last in (1..entries).rev() {
        all.swap(last, random.below(last as u64 + 1) as usize);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_have_their_lengths() {
        let names = Names::new(1000, "state");
        assert_eq!((names.entries(), names.sessions()), (1000, 100));
        let (first, last) = (names.of_entry(0), names.of_entry(999));
        assert_eq!((first.user.len(), first.session.len(), first.key.len()), (36, 36, 16));
        assert!(first.user != last.user && first.session != last.session && first.key != last.key);
        assert_eq!(first.user, names.of_entry(99).user);
        let user = Names::of_user(5, 25);
        assert_eq!(user.entries(), 30);
        assert_eq!(user.of_entry(0).user, user.of_entry(29).user);
        assert_ne!(user.of_entry(0).user, Names::of_user(6, 25).of_entry(0).user);
    }

    #[test]
    fn distributions_choose_as_they_say() {
        for dist in [Dist::Zipf, Dist::Uniform, Dist::Hot, Dist::One] {
            assert_eq!(dist.to_string().parse(), Ok(dist));
            let mut requests = dist.requests(1000, [1]).remove(0);
            let mut counts = [0; 1000];
            (0..100_000).for_each(|_| counts[requests.next() as usize] += 1);
            let asked = counts.iter().filter(|&&count| count > 0).count();
            let most = counts.iter().max().copied().unwrap_or(0);
            match dist {
                Dist::Zipf => assert!(most > 10_000 && asked > 900, "{most}, {asked}"),
                Dist::Uniform => assert!(most < 200 && asked == 1000, "{most}, {asked}"),
                Dist::Hot => assert_eq!(asked, 100),
                Dist::One => assert_eq!(asked, 1),
            }
            let mut among = 0;
            for _ in 0..10_000 {
                among += u32::from(requests.is_among(25));
                requests.next();
            }
            assert!((2_400..2_600).contains(&among), "{among}");
        }
    }
}
