//! Clients that write all the time, and know what must be there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use scopecache::{Options, Page, Storage};

use crate::Result;

const SESSIONS: usize = 5;
const KEYS: usize = 20;
/// What a user has at first.
pub(crate) const USER_ITEMS: usize = SESSIONS * KEYS;
/// No deadline may be further off.
const DEADLINE_SLACK: Duration = Duration::from_secs(1);

/// One of two clients: every other user is its own, so that it knows what is there.
pub(crate) struct Client {
    users: Vec<usize>,
    random: u64,
    known: HashMap<Place, Value>,
    writes: u64,
}

type Place = (usize, usize, usize);

#[derive(Clone)]
struct Value {
    data: Bytes,
    ends: Option<SystemTime>,
}

/// What became of what the clients know.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) items: u64,
    pub(crate) writes: u64,
    pub(crate) lost: u64,
    pub(crate) different: u64,
    pub(crate) returned: u64,
    pub(crate) deadlines_off: u64,
    pub(crate) most_off: Duration,
}

pub(crate) fn user_name(user: usize) -> String {
    format!("user:{user}")
}

impl Client {
    pub(crate) fn new(first: usize, users: usize) -> Self {
        let users = (first..users).step_by(2).collect();
        Self { users, random: first as u64 + 1, known: HashMap::new(), writes: 0 }
    }

    pub(crate) async fn fill(&mut self, storage: &dyn Storage) -> Result<()> {
        for user in self.users.clone() {
            for session in 0..SESSIONS {
                for key in 0..KEYS {
                    self.set(storage, (user, session, key)).await?;
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn write_until(
        mut self,
        storage: &dyn Storage,
        stop: &AtomicBool,
    ) -> Result<Self> {
        // Relaxed: some more writes do no harm.
        while !stop.load(Ordering::Relaxed) {
            let at = self.below(self.users.len());
            let user = self.users[at];
            let place = (user, self.below(SESSIONS), self.below(KEYS));
            let (name, session) = (user_name(user), place.1.to_string());
            let options = Options::new().with_user_session(&name, &session);
            match self.below(1000) {
                0 => {
                    storage.delete(Options::new().with_user(&name)).await?;
                    self.known.retain(|known, _| known.0 != user);
                }
                1..10 => {
                    storage.delete(options).await?;
                    self.known.retain(|known, _| (known.0, known.1) != (user, place.1));
                }
                10..150 => {
                    storage.delete(options.with_key(&place.2.to_string())).await?;
                    self.known.remove(&place);
                }
                150..250 => {
                    let ttl = Duration::from_secs(3600 + self.below(3600) as u64);
                    let ends = SystemTime::now() + ttl;
                    let there = storage.touch(&place.2.to_string(), options.with_ttl(ttl)).await?;
                    match self.known.get_mut(&place) {
                        Some(known) if there => known.ends = Some(ends),
                        None if !there => {}
                        _ => return Err(format!("{place:?} is not there, or there again").into()),
                    }
                }
                _ => self.set(storage, place).await?,
            }
            self.writes += 1;
        }
        Ok(self)
    }

    async fn set(&mut self, storage: &dyn Storage, place: Place) -> Result<()> {
        let data: Vec<u8> = (0..self.below(200)).map(|_| self.below(256) as u8).collect();
        let data = Bytes::from(data);
        let ttl = (self.below(3) == 0).then(|| Duration::from_secs(3600 + self.below(3600) as u64));
        let (user, session) = (user_name(place.0), place.1.to_string());
        let mut options = Options::new().with_user_session(&user, &session);
        if let Some(ttl) = ttl {
            options = options.with_ttl(ttl);
        }
        let ends = ttl.map(|ttl| SystemTime::now() + ttl);
        storage.set(&place.2.to_string(), data.clone(), options).await?;
        self.known.insert(place, Value { data, ends });
        Ok(())
    }

    /// Compares all that is known with all that is there.
    pub(crate) async fn compare(mut self, storage: &dyn Storage) -> Result<Kept> {
        let mut kept = Kept { writes: self.writes, ..Kept::default() };
        for &user in &self.users {
            let name = user_name(user);
            for session in storage.sessions(&name, Page::new(2 * SESSIONS)).await?.names {
                let options = Options::new().with_user_session(&name, &session);
                let keys = storage.keys(Page::new(2 * KEYS), options).await?.names;
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                let items = storage.get_many(&keys, options).await?;
                for (key, item) in keys.iter().zip(items) {
                    let Some(item) = item else { continue };
                    kept.items += 1;
                    let place = (user, session.parse()?, key.parse()?);
                    let Some(known) = self.known.remove(&place) else {
                        kept.returned += 1;
                        continue;
                    };
                    kept.different += u64::from(known.data != item.data);
                    let off = match (known.ends, item.expires_at) {
                        (None, None) => Duration::ZERO,
                        (Some(one), Some(two)) => one
                            .duration_since(two)
                            .unwrap_or_else(|_| two.duration_since(one).unwrap_or_default()),
                        _ => Duration::MAX,
                    };
                    kept.deadlines_off += u64::from(off > DEADLINE_SLACK);
                    kept.most_off = kept.most_off.max(off);
                }
            }
        }
        kept.lost = self.known.len() as u64;
        Ok(kept)
    }

    /// A number below `limit` (xorshift).
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as usize % limit
    }
}

impl Kept {
    pub(crate) fn add(&mut self, other: Self) {
        self.items += other.items;
        self.writes += other.writes;
        self.lost += other.lost;
        self.different += other.different;
        self.returned += other.returned;
        self.deadlines_off += other.deadlines_off;
        self.most_off = self.most_off.max(other.most_off);
    }

    pub(crate) fn is_good(&self) -> bool {
        self.items > 0 && self.lost + self.different + self.returned + self.deadlines_off == 0
    }
}
