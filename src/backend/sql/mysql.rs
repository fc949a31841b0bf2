//! The calls on MariaDB and MySQL.
//!
//! Neither `RETURNING` nor anything else that only one of the two has. The number of rows of an
//! `UPDATE` is that of the rows it found, changed or not: the driver asks for that.

mod clean;
mod lists;
mod read;
mod statements;

use std::time::Duration;

use async_trait::async_trait;
use sqlx::mysql::{MySql, MySqlArguments, MySqlConnection, MySqlRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Row, SqlSafeStr, SqlStr, query, raw_sql};
use tokio::time::Instant;

use self::lists::{one_of, padded, places};
use self::statements::{Statements, values};
use super::engine::{Cursor, Engine, Expired, Owner, Row as Found};
use super::failure::code;
use super::item::{At, Draft, State, Stored, number};
use super::pool::{Lease, Pool, Session};
use super::schema::{self, Tables};
use crate::error::Result;
use crate::options::Condition;

const DUPLICATE: &str = "1062";
const NO_PARENT: &str = "1452";
const NO_TABLE: &str = "1146";

/// What a statement has besides the value.
const PACKET_REST: usize = 64 << 10;

pub(super) struct MySqlEngine {
    pool: Pool<MySql>,
    tables: Tables,
    sql: Statements,
}

#[async_trait]
impl Session for MySql {
    async fn set_up(
        connection: &mut MySqlConnection,
        timeout: Duration,
    ) -> Result<(), sqlx::Error> {
        let seconds = timeout.as_secs().clamp(1, 1 << 20);
        // READ COMMITTED: no gaps are locked. Strict, so that nothing is cut to fit.
        let set = format!(
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
             SET SESSION innodb_lock_wait_timeout = {seconds}, foreign_key_checks = 1, \
             sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00'"
        );
        raw_sql(AssertSqlSafe(set)).execute(&mut *connection).await?;
        // Only MariaDB has it: who sits in a transaction after its client has vanished gives way.
        let idle = format!("SET SESSION idle_transaction_timeout = {}", 2 * seconds);
        match raw_sql(AssertSqlSafe(idle)).execute(&mut *connection).await {
            Err(error) if error.as_database_error().is_none() => Err(error),
            _ => Ok(()),
        }
    }

    async fn takes_writes(connection: &mut MySqlConnection) -> Result<bool, sqlx::Error> {
        // A number or a word, as the server's version has it.
        let ask = "SELECT CAST(@@global.read_only AS CHAR) IN ('0', 'OFF') \
                   AND NOT @@global.innodb_read_only";
        let row = raw_sql(ask).fetch_one(connection).await?;
        Ok(row.try_get::<i64, _>(0)? == 1)
    }

    async fn say(
        connection: &mut MySqlConnection,
        statement: &'static str,
    ) -> Result<(), sqlx::Error> {
        raw_sql(statement).execute(connection).await.map(drop)
    }
}

impl MySqlEngine {
    pub(super) fn new(pool: Pool<MySql>, prefix: &str) -> Self {
        let tables = Tables::new(prefix);
        let sql = Statements::new(&tables);
        Self { pool, tables, sql }
    }

    async fn version(&self, lease: &mut Lease<MySql>) -> Result<i64, sqlx::Error> {
        let row = query(self.tables.read_version()).fetch_one(lease.next()).await?;
        row.try_get(0)
    }

    /// Makes or updates the tables under a lock that all instances know. Each statement commits, and
    /// may be repeated; the lock goes with the connection, should this end half way.
    async fn migrate_in(&self, lease: &mut Lease<MySql>) -> Result<i64, sqlx::Error> {
        // A name has 64 characters; MySQL 9 has no shorter hash.
        let name = "CONCAT('sc:', LEFT(SHA2(CONCAT(DATABASE(), '/', ?), 256), 40))";
        let text = |text: String| AssertSqlSafe(text).into_sql_str();
        // Longer than any call; what ends the wait is the end of the call.
        let lock = query(text(format!("SELECT GET_LOCK({name}, 86400)")));
        lock.bind(&self.tables.schema).execute(lease.next()).await?;
        raw_sql(text(self.tables.first_step())).execute(lease.next()).await?;
        let version = self.version(lease).await?;
        for step in self.tables.mysql_steps(version) {
            raw_sql(text(step)).execute(lease.next()).await?;
        }
        let unlock = query(text(format!("SELECT RELEASE_LOCK({name})")));
        unlock.bind(&self.tables.schema).execute(lease.next()).await?;
        Ok(version)
    }

    /// Makes the rows that a key needs to stand in, and writes it. They are held until it is written:
    /// else a client that deletes them all the time would keep it from ever being.
    async fn write_with_parents(
        &self,
        at: At<'_>,
        write: Query<'_, MySql, MySqlArguments>,
        lease: &mut Lease<MySql>,
    ) -> Result<(), sqlx::Error> {
        lease.begin().await?;
        query(self.sql.make_user.clone()).bind(at.user).execute(lease.next()).await?;
        let session = query(self.sql.make_session.clone()).bind(at.user).bind(at.session);
        session.execute(lease.next()).await?;
        write.execute(lease.next()).await?;
        lease.commit().await
    }

    async fn upsert(
        &self,
        at: At<'_>,
        key: &str,
        draft: &Draft<'_>,
        lease: &mut Lease<MySql>,
    ) -> Result<bool, sqlx::Error> {
        let text = match draft.slides() {
            false => &self.sql.upsert[usize::from(draft.keeps_ttl)],
            true => &self.sql.upsert_sliding,
        };
        let upsert = || insertion(text, at, key, draft);
        match upsert().execute(lease.next()).await {
            Err(error) if code(&error).as_deref() == Some(NO_PARENT) => {
                self.write_with_parents(at, upsert(), lease).await?;
            }
            done => {
                done?;
            }
        }
        Ok(true)
    }

    async fn insert(
        &self,
        at: At<'_>,
        key: &str,
        draft: &Draft<'_>,
        lease: &mut Lease<MySql>,
    ) -> Result<bool, sqlx::Error> {
        let text = &self.sql.insert[usize::from(draft.slides())];
        let insert = || insertion(text, at, key, draft);
        loop {
            let mut inserted = insert().execute(lease.next()).await.map(drop);
            if let Err(error) = &inserted
                && code(error).as_deref() == Some(NO_PARENT)
            {
                inserted = self.write_with_parents(at, insert(), lease).await;
            }
            let Err(error) = inserted else { return Ok(true) };
            if code(&error).as_deref() != Some(DUPLICATE) || !lease.roll_back().await {
                return Err(error);
            }
            // What has expired is absent. Who goes first after that has inserted.
            let expired = query(self.sql.delete_expired.clone());
            let expired = expired.bind(at.user).bind(at.session).bind(key.as_bytes());
            if expired.execute(lease.next()).await?.rows_affected() == 0 {
                return Ok(false);
            }
        }
    }

    async fn update(
        &self,
        at: At<'_>,
        key: &str,
        draft: &Draft<'_>,
        lease: &mut Lease<MySql>,
    ) -> Result<bool, sqlx::Error> {
        let fits = match draft.condition {
            Condition::Version(version) => Some(number(version)),
            _ => None,
        };
        let text = &self.sql.update[usize::from(draft.keeps_ttl)][usize::from(fits.is_some())];
        let mut update = query(text.clone()).bind(draft.data).bind(draft.version);
        if !draft.keeps_ttl {
            update = update.bind(draft.deadline_us).bind(draft.sliding_us).bind(draft.last_us);
        }
        update = update.bind(at.user).bind(at.session).bind(key.as_bytes());
        if let Some(version) = fits {
            update = update.bind(version);
        }
        Ok(update.execute(lease.next()).await?.rows_affected() == 1)
    }
}

#[async_trait]
impl Engine for MySqlEngine {
    async fn migrate(&self, end: Instant) -> Result<usize> {
        let migrate = |mut lease: Lease<MySql>| async move {
            let answer = async {
                let version = match self.version(&mut lease).await {
                    Ok(version) if version >= schema::MYSQL => version,
                    Err(error) if code(&error).as_deref() != Some(NO_TABLE) => return Err(error),
                    _ => self.migrate_in(&mut lease).await?,
                };
                let limit = "SELECT CAST(@@max_allowed_packet AS SIGNED)";
                let most: i64 = query(limit).fetch_one(lease.next()).await?.try_get(0)?;
                Ok((version, usize::try_from(most).unwrap_or_default()))
            };
            let answer = answer.await;
            (lease, answer)
        };
        let (version, packet_bytes) = self.pool.run(end, migrate).await?;
        schema::check(version, schema::MYSQL)?;
        Ok(packet_bytes.saturating_sub(PACKET_REST))
    }

    async fn get(&self, at: At<'_>, key: &str, end: Instant) -> Result<Option<Stored>> {
        let get = |mut lease: Lease<MySql>| async move {
            let item = self.read(at, key, &mut lease).await;
            (lease, item)
        };
        self.pool.run(end, get).await
    }

    async fn get_many(&self, at: At<'_>, keys: &[&str], end: Instant) -> Result<Vec<Found>> {
        let get = |mut lease: Lease<MySql>| async move {
            let items = self.read_many(at, keys, &mut lease).await;
            (lease, items)
        };
        self.pool.run(end, get).await
    }

    async fn write(&self, at: At<'_>, key: &str, draft: &Draft<'_>, end: Instant) -> Result<bool> {
        let write = |mut lease: Lease<MySql>| async move {
            let is_stored = match draft.condition {
                Condition::Always => self.upsert(at, key, draft, &mut lease).await,
                Condition::Absent => self.insert(at, key, draft, &mut lease).await,
                Condition::Present | Condition::Version(_) => {
                    self.update(at, key, draft, &mut lease).await
                }
            };
            (lease, is_stored)
        };
        self.pool.run(end, write).await
    }

    async fn write_many(
        &self,
        at: At<'_>,
        items: &[(&str, Draft<'_>)],
        end: Instant,
    ) -> Result<()> {
        let Some(least) = items.iter().min_by_key(|(_, draft)| draft.data.len()) else {
            return Ok(());
        };
        // Few lengths, so that all stay prepared: the driver closes one that does not by a packet that nobody
        // answers, and leaves the system to hold back the next one until it is acknowledged, 40 ms later. A row
        // that is written again is as it was.
        let places = places(items.len());
        let rows = vec![values(least.1.slides()); places].join(", ");
        let rest = &self.sql.upsert_many[usize::from(least.1.keeps_ttl)];
        let text = &AssertSqlSafe(format!("{} {rows} {rest}", self.sql.insert_many)).into_sql_str();
        let write = |mut lease: Lease<MySql>| async move {
            let upsert = || {
                let again = std::iter::repeat_n(least, places - items.len());
                items
                    .iter()
                    .chain(again)
                    .fold(query(text.clone()), |upsert, (key, draft)| bind(upsert, at, key, draft))
            };
            let mut done = upsert().execute(lease.next()).await.map(drop);
            if let Err(error) = &done
                && code(error).as_deref() == Some(NO_PARENT)
            {
                done = self.write_with_parents(at, upsert(), &mut lease).await;
            }
            (lease, done)
        };
        self.pool.run(end, write).await
    }

    /// Reads the item and deletes that version: whoever deletes it has taken it.
    async fn take(&self, at: At<'_>, key: &str, end: Instant) -> Result<Option<Stored>> {
        let take = |mut lease: Lease<MySql>| async move {
            let answer = async {
                loop {
                    let Some(item) = self.read(at, key, &mut lease).await? else { return Ok(None) };
                    if item.state() == State::Over {
                        return Ok(None);
                    }
                    let delete = query(self.sql.delete_version.clone());
                    let delete = delete.bind(at.user).bind(at.session).bind(key.as_bytes());
                    let done = delete.bind(item.version).execute(lease.next()).await?;
                    if done.rows_affected() == 1 {
                        return Ok(Some(item));
                    }
                }
            };
            let answer = answer.await;
            (lease, answer)
        };
        self.pool.run(end, take).await
    }

    async fn touch(&self, at: At<'_>, key: &str, ttl_us: i64, end: Instant) -> Result<bool> {
        let touch = |mut lease: Lease<MySql>| async move {
            let touch = query(self.sql.touch.clone()).bind(ttl_us).bind(ttl_us).bind(ttl_us);
            let touch = touch.bind(at.user).bind(at.session).bind(key.as_bytes());
            let done = touch.execute(lease.next()).await;
            (lease, done.map(|done| done.rows_affected() == 1))
        };
        self.pool.run(end, touch).await
    }

    async fn renew(
        &self,
        at: At<'_>,
        key: &[u8],
        item: &Stored,
        deadline_us: i64,
        end: Instant,
    ) -> Result<bool> {
        let renew = |mut lease: Lease<MySql>| async move {
            let renew = query(self.sql.renew.clone()).bind(deadline_us);
            let renew = renew.bind(at.user).bind(at.session).bind(key);
            let renew = renew.bind(item.version).bind(item.sliding_us).bind(deadline_us);
            let done = renew.execute(lease.next()).await;
            (lease, done.map(|done| done.rows_affected() == 1))
        };
        self.pool.run(end, renew).await
    }

    async fn delete_keys(&self, at: At<'_>, keys: &[&str], end: Instant) -> Result<u64> {
        let delete = |mut lease: Lease<MySql>| async move {
            let text = format!("{}{}", self.sql.delete_keys, one_of("k", places(keys.len())));
            let mut delete = query(AssertSqlSafe(text)).bind(at.user).bind(at.session);
            for key in padded(keys) {
                delete = delete.bind(key.as_bytes());
            }
            let done = delete.execute(lease.next()).await;
            (lease, done.map(|done| done.rows_affected()))
        };
        self.pool.run(end, delete).await
    }

    async fn delete_session(&self, at: At<'_>, end: Instant) -> Result<u64> {
        let delete = |mut lease: Lease<MySql>| async move {
            let of_session = |text: &SqlStr| query(text.clone()).bind(at.user).bind(at.session);
            let answer = async {
                lease.begin().await?;
                let lock = of_session(&self.sql.lock_session);
                let mut removed = 0;
                if lock.fetch_optional(lease.next()).await?.is_some() {
                    let keys = of_session(&self.sql.delete_session_keys);
                    removed = keys.execute(lease.next()).await?.rows_affected();
                    of_session(&self.sql.delete_session).execute(lease.next()).await?;
                }
                lease.commit().await?;
                Ok(removed)
            };
            let answer = answer.await;
            (lease, answer)
        };
        self.pool.run(end, delete).await
    }

    async fn delete_user(&self, user: &[u8], end: Instant) -> Result<u64> {
        let delete = |mut lease: Lease<MySql>| async move {
            let answer = async {
                lease.begin().await?;
                let lock = query(self.sql.lock_user.clone()).bind(user);
                let rows: i64 = lock.fetch_one(lease.next()).await?.try_get(0)?;
                let mut removed = 0;
                if rows > 0 {
                    let keys = query(self.sql.delete_user_keys.clone()).bind(user);
                    removed = keys.execute(lease.next()).await?.rows_affected();
                    let rest = query(self.sql.delete_user.clone()).bind(user);
                    rest.execute(lease.next()).await?;
                }
                lease.commit().await?;
                Ok(removed)
            };
            let answer = answer.await;
            (lease, answer)
        };
        self.pool.run(end, delete).await
    }

    async fn keys(
        &self,
        at: At<'_>,
        after: &str,
        limit: i64,
        end: Instant,
    ) -> Result<Vec<Vec<u8>>> {
        let list = |mut lease: Lease<MySql>| async move {
            let list = query(self.sql.keys.clone()).bind(at.user).bind(at.session);
            let rows = list.bind(after.as_bytes()).bind(limit).fetch_all(lease.next()).await;
            (lease, rows.and_then(names))
        };
        self.pool.run(end, list).await
    }

    async fn sessions(
        &self,
        user: &[u8],
        after: &str,
        limit: i64,
        end: Instant,
    ) -> Result<Vec<Vec<u8>>> {
        let list = |mut lease: Lease<MySql>| async move {
            let list = query(self.sql.sessions.clone()).bind(user).bind(after.as_bytes());
            let rows = list.bind(limit).fetch_all(lease.next()).await;
            (lease, rows.and_then(names))
        };
        self.pool.run(end, list).await
    }

    async fn expire(&self, _: Option<i64>, end: Instant) -> Result<Expired> {
        let expire = |mut lease: Lease<MySql>| async move {
            let owners = self.expire_in(&mut lease).await;
            (lease, owners)
        };
        self.pool.run(end, expire).await
    }

    async fn scan(&self, cursor: &mut Cursor, end: Instant) -> Result<Vec<Owner>> {
        let (user, session) = &cursor.session;
        let sessions = |mut lease: Lease<MySql>| async move {
            let scan = query(self.sql.scan_sessions.clone()).bind(user).bind(user).bind(session);
            let rows = scan.fetch_all(lease.next()).await;
            let seen = |row: &MySqlRow| {
                Ok(((row.try_get(0)?, row.try_get(1)?), row.try_get::<i64, _>(2)? == 1))
            };
            (lease, rows.and_then(|rows| rows.iter().map(seen).collect()))
        };
        let sessions: Vec<(Owner, bool)> = self.pool.run(end, sessions).await?;
        let after = &cursor.user;
        let users = |mut lease: Lease<MySql>| async move {
            let scan = query(self.sql.scan_users.clone()).bind(after);
            let rows = scan.fetch_all(lease.next()).await;
            let seen = |row: &MySqlRow| {
                Ok(((row.try_get(0)?, Vec::new()), row.try_get::<i64, _>(1)? == 1))
            };
            (lease, rows.and_then(|rows| rows.iter().map(seen).collect()))
        };
        let users: Vec<(Owner, bool)> = self.pool.run(end, users).await?;
        Ok(cursor.advance(sessions, users))
    }

    async fn tidy(&self, owners: &[Owner], end: Instant) -> Result<u64> {
        let tidy = |mut lease: Lease<MySql>| async move {
            let gone = self.tidy_in(owners, &mut lease).await;
            (lease, gone)
        };
        self.pool.run(end, tidy).await
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

fn insertion<'q>(
    text: &SqlStr,
    at: At<'_>,
    key: &str,
    draft: &Draft<'_>,
) -> Query<'q, MySql, MySqlArguments> {
    bind(query(text.clone()), at, key, draft)
}

/// Gives one row of [`values`] its values, the last two where it slides.
fn bind<'q>(
    insert: Query<'q, MySql, MySqlArguments>,
    at: At<'_>,
    key: &str,
    draft: &Draft<'_>,
) -> Query<'q, MySql, MySqlArguments> {
    let insert = insert.bind(at.user).bind(at.session).bind(key.as_bytes());
    let insert = insert.bind(draft.data).bind(draft.version);
    let insert = insert.bind(draft.deadline_us);
    if draft.slides() { insert.bind(draft.sliding_us).bind(draft.last_us) } else { insert }
}

fn names(rows: Vec<MySqlRow>) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    rows.iter().map(|row| row.try_get(0)).collect()
}

fn owners_of(rows: &[MySqlRow]) -> Result<Vec<Owner>, sqlx::Error> {
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}
