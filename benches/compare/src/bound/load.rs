//! What the writers do.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use scopecache::{Cache, ErrorKind, Scope, SetOptions};

use crate::random::{Random, Uuid};

/// The largest value; the smallest has one byte.
pub(super) const MOST_VALUE_BYTES: u64 = 1 << 20;

const SESSIONS_A_USER: u64 = 3;
const KEYS_A_NAMESPACE: u64 = 10;
/// The user's own keys, and those of its sessions.
const KEYS_A_USER: u64 = (1 + SESSIONS_A_USER) * KEYS_A_NAMESPACE;

/// Operations on one namespace before the next is chosen: about as long as a connection's burst.
const BURST: u64 = 16;

/// Names and values, shared by the writers.
pub(super) struct Load {
    users: Vec<User>,
    /// Values are its beginnings: no writer holds a buffer of its own that would be measured.
    source: Vec<u8>,
    /// Bytes of the values that are being set: copied already, it may be, and not counted yet.
    on_their_way: AtomicU64,
}

struct User {
    id: Uuid,
    sessions: Vec<Uuid>,
}

/// What became of the operations.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcomes {
    pub(super) sets: u64,
    /// Sets that failed because the bound was reached.
    pub(super) without_room: u64,
    /// Sets that failed because retired memory could not be freed in time.
    pub(super) held_up: u64,
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) deletes: u64,
    pub(super) deleted_sessions: u64,
    pub(super) deleted_users: u64,
    pub(super) largest_deletion_bytes: u64,
}

impl Load {
    /// One whose values, all keys set, would take about `bytes`.
    pub(super) fn new(bytes: u64) -> Self {
        let mean = MOST_VALUE_BYTES as f64 / (MOST_VALUE_BYTES as f64).ln();
        let keys = (bytes as f64 / mean).ceil() as u64;
        let user = |number| User {
            id: Uuid::new(1, number),
            sessions: (0..SESSIONS_A_USER)
                .map(|session| Uuid::new(2, number * SESSIONS_A_USER + session))
                .collect(),
        };
        Self {
            users: (0..keys.div_ceil(KEYS_A_USER)).map(user).collect(),
            source: vec![7; MOST_VALUE_BYTES as usize],
            on_their_way: AtomicU64::new(0),
        }
    }

    /// Bytes of the values that are being set.
    pub(super) fn on_their_way(&self) -> u64 {
        // SeqCst, as where it changes: as exact as a look at what others do can be.
        self.on_their_way.load(Ordering::SeqCst)
    }

    /// Works until it is told to stop.
    pub(super) fn run(&self, cache: &Cache, seed: u64, stop: &AtomicBool) -> Result<Outcomes> {
        let mut random = Random::new(seed);
        let mut outcomes = Outcomes::default();
        // Relaxed: it ends the loop, it orders nothing.
        while !stop.load(Ordering::Relaxed) {
            let user = &self.users[random.below(self.users.len() as u64) as usize];
            let scope = match random.below(1 + SESSIONS_A_USER) {
                0 => cache.user(user.id.as_str())?,
                session => {
                    cache.session(user.id.as_str(), user.sessions[session as usize - 1].as_str())?
                }
            };
            for _ in 0..BURST {
                self.step(&scope, &mut random, &mut outcomes)?;
            }
            match random.below(64) {
                0 => {
                    let removed = cache.user(user.id.as_str())?.delete_all()?;
                    outcomes.deleted_users += 1;
                    outcomes.saw_deletion_of(removed.bytes);
                }
                1..4 => {
                    let session = &user.sessions[random.below(SESSIONS_A_USER) as usize];
                    let removed =
                        cache.session(user.id.as_str(), session.as_str())?.delete_all()?;
                    outcomes.deleted_sessions += 1;
                    outcomes.saw_deletion_of(removed.bytes);
                }
                _ => {}
            }
        }
        Ok(outcomes)
    }

    fn step(&self, scope: &Scope, random: &mut Random, outcomes: &mut Outcomes) -> Result<()> {
        // One byte: names of keys shall not allocate.
        let key = [b'a' + random.below(KEYS_A_NAMESPACE) as u8];
        match random.below(100) {
            0..70 => {
                let bytes = random.log_uniform(1.0, MOST_VALUE_BYTES as f64) as usize;
                let options = if random.below(2) == 0 {
                    let seconds = random.log_uniform(0.001, 10.0);
                    SetOptions::new().ttl(Duration::from_secs_f64(seconds))
                } else {
                    SetOptions::new()
                };
                outcomes.sets += 1;
                // SeqCst: see `on_their_way`.
                self.on_their_way.fetch_add(bytes as u64, Ordering::SeqCst);
                let outcome = scope.set_with(key, &self.source[..bytes], options);
                self.on_their_way.fetch_sub(bytes as u64, Ordering::SeqCst);
                match outcome {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::CapacityExceeded => {
                        // The two causes have one kind, and differ in their words alone.
                        if error.to_string().contains("guard that is held") {
                            outcomes.held_up += 1;
                        } else {
                            outcomes.without_room += 1;
                        }
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            70..90 => match scope.get(key)? {
                Some(_) => outcomes.hits += 1,
                None => outcomes.misses += 1,
            },
            _ => {
                scope.delete(key)?;
                outcomes.deletes += 1;
            }
        }
        Ok(())
    }
}

impl Outcomes {
    fn saw_deletion_of(&mut self, bytes: u64) {
        self.largest_deletion_bytes = self.largest_deletion_bytes.max(bytes);
    }

    pub(super) fn rows(&self) -> [(&'static str, u64); 9] {
        [
            ("sets", self.sets),
            ("sets that failed: no room", self.without_room),
            ("sets that failed: retired memory held up", self.held_up),
            ("gets that hit", self.hits),
            ("gets that missed", self.misses),
            ("deletes of keys", self.deletes),
            ("deletes of sessions", self.deleted_sessions),
            ("deletes of users", self.deleted_users),
            ("bytes of the largest deletion", self.largest_deletion_bytes),
        ]
    }
}

impl AddAssign for Outcomes {
    fn add_assign(&mut self, other: Self) {
        self.sets += other.sets;
        self.without_room += other.without_room;
        self.held_up += other.held_up;
        self.hits += other.hits;
        self.misses += other.misses;
        self.deletes += other.deletes;
        self.deleted_sessions += other.deleted_sessions;
        self.deleted_users += other.deleted_users;
        self.saw_deletion_of(other.largest_deletion_bytes);
    }
}
