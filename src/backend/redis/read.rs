//! Reads: one round trip, without a script and without a transaction.
//!
//! ```text
//!   TIME ─► now    GET g ─► present    HMGET hash "" key .. ─► incarnation, item ..
//! ```
//!
//! The server carries the three out in this order, but others' commands may come between. An item is
//! returned if its hash carries the incarnation that was present, and its deadline is after `now`.
//! There was a moment within the call at which that was the truth:
//!
//! - **An item is returned.** Incarnations never come back, and an item is only ever stored under the
//!   present one. So the user was not deleted before `GET`, and the item, which was still there at
//!   `HMGET`, was visible from when it was written, or from the begin of the call if that is later,
//!   until the first of three: its deadline, a deletion of the user, `HMGET`. That is not an empty
//!   span: its deadline lies after `now`, and after its write.
//! - **The incarnations differ, or one is missing.** If the hash is of the present incarnation at
//!   `HMGET`, the user was deleted since `GET`, or had nothing at `GET`: the item was absent at one of
//!   the two. If it is not, the item is absent at `HMGET`.
//! - **The item is not in the hash:** it is absent at `HMGET`.
//! - **It has expired:** it had at `now` already, and is absent at `HMGET`.
//!
//! Several keys are read at one moment each, as the interface says, not all at one.

use redis::{Value, from_redis_value, pipe};
use tokio::time::Instant;

use super::RedisStorage;
use super::layout::{Names, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::StorageItem;

/// How many keys one command reads.
const AT_ONCE: usize = 500;

impl RedisStorage {
    /// The live items of some keys in their order, their TTLs renewed where they slide and that is
    /// worth a write.
    pub(super) async fn read(
        &self,
        names: &Names,
        keys: &[&str],
        end: Instant,
    ) -> Result<Vec<Option<StorageItem>>> {
        let (mut stored, now_us) = self.look(names, keys, end).await?;
        let worth = |item: &Stored| item.is_worth_renewing(now_us);
        if stored.iter().flatten().any(worth) {
            self.renew(names, keys, &mut stored, worth, end).await?;
        }
        Ok(stored.into_iter().map(|item| item.map(Stored::into_item)).collect())
    }

    /// Renews the TTLs of those that are worth it.
    async fn renew(
        &self,
        names: &Names,
        keys: &[&str],
        stored: &mut [Option<Stored>],
        worth: impl Fn(&Stored) -> bool,
        end: Instant,
    ) -> Result<()> {
        let mut renew = self.call(&self.scripts.renew, names, &names.hash());
        let mut renewed = Vec::new();
        for (key, item) in keys.iter().zip(stored) {
            if let Some(item) = item.as_mut().filter(|item| worth(item)) {
                renew.arg(key).arg(&item.version);
                renewed.push(item);
            }
        }
        let deadlines: Vec<u64> = self.line.run(end, &self.scripts.renew, &renew).await?;
        for (item, deadline_us) in renewed.into_iter().zip(deadlines) {
            // Zero: it was written, deleted or expired meanwhile; what was read was true then.
            if deadline_us != 0 {
                item.deadline_us = deadline_us;
            }
        }
        Ok(())
    }

    /// The live items, and the time of the server's clock.
    async fn look(
        &self,
        names: &Names,
        keys: &[&str],
        end: Instant,
    ) -> Result<(Vec<Option<Stored>>, u64)> {
        let mut read = pipe();
        read.cmd("TIME").cmd("GET").arg(names.incarnation());
        let hash = names.hash();
        for keys in keys.chunks(AT_ONCE) {
            read.cmd("HMGET").arg(&hash).arg("").arg(keys);
        }
        let mut answers = self.line.ask::<Vec<Value>>(end, &read).await?.into_iter();
        let (Some(time), Some(present)) = (answers.next(), answers.next()) else {
            return Err(nonsense());
        };
        let (seconds, rest_us): (u64, u64) = from_redis_value(time).map_err(|_| nonsense())?;
        let now_us = seconds * 1_000_000 + rest_us;
        let mut stored = Vec::with_capacity(keys.len());
        for answer in answers {
            let Value::Array(fields) = answer else { return Err(nonsense()) };
            let mut fields = fields.into_iter();
            let incarnation = fields.next();
            let is_of_present = present != Value::Nil && incarnation.as_ref() == Some(&present);
            for field in fields {
                stored.push(match field {
                    Value::BulkString(item) if is_of_present => {
                        Some(Stored::decode(item)?).filter(|item| !item.is_over(now_us))
                    }
                    _ => None,
                });
            }
        }
        Ok((stored, now_us))
    }
}

fn nonsense() -> Error {
    Error::with_detail(ErrorKind::Backend, "the server's answer to a read makes no sense")
}
