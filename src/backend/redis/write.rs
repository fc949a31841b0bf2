//! Writes: how the conditions and the expiry of a call are told to its script.

use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use redis::Cmd;
use tokio::time::Instant;

use super::RedisStorage;
use super::layout::{Names, micros};
use crate::error::{Error, ErrorKind, Result};
use crate::item::Version;
use crate::options::Condition;
use crate::storage::Expiry;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Of several items, so many are stored by one script, and no more bytes than this unless one item
/// has more.
const ITEMS_AT_ONCE: usize = 64;
const BYTES_AT_ONCE: usize = 256 << 10;

/// What is sent before an answer is waited for, in bytes.
const BYTES_UNDER_WAY: usize = 16 << 20;

/// Numbers that nobody else hands out: they follow each other from a random start of 64 bits.
pub(super) struct Numbers(AtomicU64);

/// Under which condition to store, and for how long.
#[derive(Clone, Copy)]
pub(super) struct How {
    pub(super) condition: Condition,
    pub(super) expiry: Expiry,
}

impl Numbers {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(RandomState::new().hash_one("versions")))
    }

    pub(super) fn next(&self) -> Version {
        // Relaxed: only uniqueness is asked for.
        Version::from_u64(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

impl RedisStorage {
    /// Stores an item if the condition holds; returns its version, or `None` if it did not.
    pub(super) async fn store(
        &self,
        names: &Names,
        (key, data): (&str, &Bytes),
        how: How,
        end: Instant,
    ) -> Result<Option<Version>> {
        self.check_value(data)?;
        if how.condition == Condition::Always && how.expiry != Expiry::Keep {
            return self.put(names, (key, data), how.expiry, end).await.map(Some);
        }
        let mut write = self.write_call(names, how);
        let version = self.add_item(&mut write, key, data);
        let stored: u64 = self.line.run(end, &self.scripts.write, &write).await?;
        Ok((stored == 1).then_some(version))
    }

    /// Stores an item whatever is there, for a TTL or for good; returns its version.
    async fn put(
        &self,
        names: &Names,
        (key, data): (&str, &Bytes),
        expiry: Expiry,
        end: Instant,
    ) -> Result<Version> {
        let script = &self.scripts.set;
        let lists = self.lists.keys(names);
        let version = self.numbers.next();
        // Room for names and all the rest.
        let mut set = Cmd::with_capacity(16, 1024 + data.len());
        set.arg("EVALSHA").arg(&script.hash).arg(3 + lists.len());
        set.arg(names.incarnation()).arg(names.sessions()).arg(names.hash()).arg(&lists[..]);
        set.arg(&names.session).arg(key).arg(&bytes_of(version)).arg(&data[..]);
        match expiry {
            Expiry::Default | Expiry::Keep => {}
            Expiry::Ttl(ttl) => {
                set.arg(micros(ttl));
            }
            Expiry::Sliding { ttl, max_lifetime } => {
                set.arg(micros(ttl)).arg(micros(max_lifetime));
            }
        }
        self.line.run::<()>(end, script, &set).await?;
        Ok(version)
    }

    /// Stores items whatever was there, up to the first that is too large; returns their versions.
    pub(super) async fn store_all(
        &self,
        names: &Names,
        items: &[(&str, Bytes)],
        expiry: Expiry,
        end: Instant,
    ) -> Result<Vec<Version>> {
        let how = How { condition: Condition::Always, expiry };
        let fit = items.iter().take_while(|(_, data)| self.check_value(data).is_ok()).count();
        let mut versions = Vec::with_capacity(fit);
        let mut rest = &items[..fit];
        while !rest.is_empty() {
            let (mut calls, mut under_way) = (Vec::new(), 0);
            while !rest.is_empty() && under_way < BYTES_UNDER_WAY {
                let mut write = self.write_call(names, how);
                let mut bytes = 0;
                let sizes = rest.iter().map(|(_, data)| data.len());
                let count = sizes
                    .take(ITEMS_AT_ONCE)
                    .take_while(|size| {
                        let fits = bytes == 0 || bytes + size <= BYTES_AT_ONCE;
                        bytes += size;
                        fits
                    })
                    .count()
                    .max(1);
                let (now, later) = rest.split_at(count);
                for (key, data) in now {
                    under_way += data.len();
                    versions.push(self.add_item(&mut write, key, data));
                }
                calls.push(write);
                rest = later;
            }
            self.line.run_all(end, &self.scripts.write, &calls).await?;
        }
        match items.get(fit) {
            Some((_, data)) => self.check_value(data).map(|()| versions),
            None => Ok(versions),
        }
    }

    /// A call that stores nothing yet.
    fn write_call(&self, names: &Names, how: How) -> Cmd {
        let (condition, fits) = match how.condition {
            Condition::Always => (b'a', None),
            Condition::Absent => (b'n', None),
            Condition::Present => (b'p', None),
            Condition::Version(version) => (b'v', Some(bytes_of(version))),
        };
        let (kind, span, lifetime) = match how.expiry {
            Expiry::Default => (b'n', 0, 0),
            Expiry::Keep => (b'k', 0, 0),
            Expiry::Ttl(ttl) => (b't', micros(ttl), 0),
            Expiry::Sliding { ttl, max_lifetime } => (b's', micros(ttl), micros(max_lifetime)),
        };
        let mut write = self.call(&self.scripts.write, names, &names.hash());
        write.arg(&bytes_of(self.numbers.next()));
        write.arg(&[condition, kind]).arg(fits.as_ref().map_or(&[][..], |fits| fits));
        write.arg(span).arg(lifetime);
        write
    }

    fn add_item(&self, write: &mut Cmd, key: &str, data: &Bytes) -> Version {
        let version = self.numbers.next();
        write.arg(key).arg(&bytes_of(version)).arg(&data[..]);
        version
    }

    fn check_value(&self, data: &Bytes) -> Result<()> {
        let limit = self.max_value_bytes;
        if data.len() > limit {
            return Err(Error::new(ErrorKind::ValueTooLarge { limit }));
        }
        Ok(())
    }
}

/// As it is stored.
pub(super) fn bytes_of(version: Version) -> [u8; 8] {
    version.as_u64().to_be_bytes()
}
