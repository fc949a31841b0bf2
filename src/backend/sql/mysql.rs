//! The statements for MariaDB and MySQL.
//!
//! Neither `RETURNING` nor anything else that only one of the two has.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::mysql::{MySql, MySqlArguments, MySqlConnection, MySqlRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Row, SqlSafeStr, SqlStr, query, raw_sql};
use tokio::time::Instant;

use super::engine::{BATCH, Cursor, Engine, Owner};
use super::failure::code;
use super::item::{At, COLUMNS, Draft, State, Stored, number};
use super::pool::{Lease, Pool, Session};
use super::schema::{self, Tables};
use crate::error::Result;
use crate::options::Condition;

/// When the statement began, and this very moment, in microseconds after 1970.
const BEGAN: &str = "CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)";
const NOW: &str = "CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)";

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

    async fn say(
        connection: &mut MySqlConnection,
        statement: &'static str,
    ) -> Result<(), sqlx::Error> {
        raw_sql(statement).execute(connection).await.map(drop)
    }
}

/// The text of each statement, or what comes before and after the names of the rows.
///
/// `VALUES` of a duplicate, and assignments from left to right that see those before them, are of both
/// servers. A row that a statement waits for is looked at as it is once the wait is over.
struct Statements {
    get: String,
    insert: SqlStr,
    upsert: SqlStr,
    upsert_keeping: SqlStr,
    update: [[SqlStr; 2]; 2],
    make_user: SqlStr,
    make_session: SqlStr,
    delete_expired: SqlStr,
    delete_version: SqlStr,
    touch: SqlStr,
    renew: SqlStr,
    delete_keys: String,
    lock_session: SqlStr,
    delete_session_keys: SqlStr,
    delete_session: SqlStr,
    lock_user: SqlStr,
    delete_user_keys: SqlStr,
    delete_user: SqlStr,
    keys: SqlStr,
    sessions: SqlStr,
    find_expired: SqlStr,
    scan_sessions: SqlStr,
    scan_users: SqlStr,
    without_keys: String,
    without_sessions: String,
}

impl Statements {
    fn new(tables: &Tables) -> Self {
        let Tables { usr, sess, kv, .. } = tables;
        let text = |text: String| AssertSqlSafe(text).into_sql_str();
        let insert = format!(
            "INSERT INTO {kv} (u, s, k, v, ver, created, exp, ttl, last) \
             VALUES (?, ?, ?, ?, ?, {BEGAN}, {BEGAN} + ?, ?, {BEGAN} + ?)"
        );
        let upsert = format!(
            "{insert} ON DUPLICATE KEY UPDATE \
             v = VALUES(v), ver = VALUES(ver), created = VALUES(created)"
        );
        // One look at the clock for all three.
        let keeping = format!(
            "exp = IF(exp > {NOW}, exp, NULL), ttl = IF(exp IS NULL, NULL, ttl), \
             last = IF(exp IS NULL, NULL, last)"
        );
        let of_key = "u = ? AND s = ? AND k = ?";
        let alive = format!("(exp IS NULL OR exp > {NOW})");
        let update = |expiry: &str, condition: &str| {
            text(format!(
                "UPDATE {kv} SET v = ?, ver = ?, created = {BEGAN}{expiry} \
                 WHERE {of_key} AND {alive}{condition}"
            ))
        };
        let expiry = format!(", exp = {BEGAN} + ?, ttl = ?, last = {BEGAN} + ?");
        let fits = " AND ver = ?";
        Self {
            get: format!("SELECT {COLUMNS}, {BEGAN}, {NOW} FROM {kv} WHERE u = ? AND s = ? AND "),
            upsert: text(format!(
                "{upsert}, exp = VALUES(exp), ttl = VALUES(ttl), last = VALUES(last)"
            )),
            upsert_keeping: text(format!("{upsert}, {keeping}")),
            insert: text(insert),
            update: [
                [update(&expiry, ""), update(&expiry, fits)],
                [update("", ""), update("", fits)],
            ],
            make_user: text(format!("INSERT IGNORE INTO {usr} (u) VALUES (?)")),
            make_session: text(format!("INSERT IGNORE INTO {sess} (u, s) VALUES (?, ?)")),
            delete_expired: text(format!("DELETE FROM {kv} WHERE {of_key} AND exp <= {NOW}")),
            delete_version: text(format!(
                "DELETE FROM {kv} WHERE {of_key} AND {alive} AND ver = ?"
            )),
            touch: text(format!(
                "UPDATE {kv} SET exp = LEAST({BEGAN} + ?, IFNULL(last, {BEGAN} + ?)), \
                 ttl = IF(ttl IS NULL, NULL, ?) WHERE {of_key} AND {alive}"
            )),
            renew: text(format!(
                "UPDATE {kv} SET exp = ? WHERE {of_key} AND {alive} AND ver = ? AND ttl = ? \
                 AND exp < ?"
            )),
            delete_keys: format!("DELETE FROM {kv} WHERE u = ? AND s = ? AND "),
            lock_session: text(format!("SELECT s FROM {sess} WHERE u = ? AND s = ? FOR UPDATE")),
            delete_session_keys: text(format!("DELETE FROM {kv} WHERE u = ? AND s = ?")),
            delete_session: text(format!("DELETE FROM {sess} WHERE u = ? AND s = ?")),
            lock_user: text(format!(
                "SELECT COUNT(*) FROM {usr} LEFT JOIN {sess} ON {sess}.u = {usr}.u \
                 WHERE {usr}.u = ? FOR UPDATE"
            )),
            delete_user_keys: text(format!("DELETE FROM {kv} WHERE u = ?")),
            delete_user: text(format!("DELETE FROM {usr} WHERE u = ?")),
            keys: text(format!(
                "SELECT k FROM {kv} WHERE u = ? AND s = ? AND k > ? AND {alive} ORDER BY k LIMIT ?"
            )),
            sessions: text(format!(
                "SELECT s FROM {sess} WHERE u = ? AND s > ? AND EXISTS (SELECT 1 FROM {kv} \
                 WHERE {kv}.u = {sess}.u AND {kv}.s = {sess}.s AND {alive}) ORDER BY s LIMIT ?"
            )),
            find_expired: text(format!(
                "SELECT u, s, k FROM {kv} WHERE exp <= {BEGAN} ORDER BY exp LIMIT {BATCH} \
                 FOR UPDATE SKIP LOCKED"
            )),
            scan_sessions: text(format!(
                "SELECT u, s, CAST(NOT EXISTS (SELECT 1 FROM {kv} WHERE {kv}.u = {sess}.u \
                 AND {kv}.s = {sess}.s) AS SIGNED) FROM {sess} \
                 WHERE u > ? OR (u = ? AND s > ?) ORDER BY u, s LIMIT {BATCH}"
            )),
            scan_users: text(format!(
                "SELECT u, CAST(NOT EXISTS (SELECT 1 FROM {sess} WHERE {sess}.u = {usr}.u) \
                 AS SIGNED) FROM {usr} WHERE u > ? ORDER BY u LIMIT {BATCH}"
            )),
            without_keys: format!(
                " AND NOT EXISTS (SELECT 1 FROM {kv} WHERE {kv}.u = {sess}.u AND {kv}.s = {sess}.s)"
            ),
            without_sessions: format!(
                " AND NOT EXISTS (SELECT 1 FROM {sess} WHERE {sess}.u = {usr}.u)"
            ),
        }
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
        let name = "CONCAT('sc:', SHA1(CONCAT(DATABASE(), '/', ?)))";
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
        let keeping = [&self.sql.upsert, &self.sql.upsert_keeping];
        let upsert = || insertion(keeping[usize::from(draft.keeps_ttl)], at, key, draft);
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
        let insert = || insertion(&self.sql.insert, at, key, draft);
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

    async fn read(
        &self,
        at: At<'_>,
        keys: &[&str],
        lease: &mut Lease<MySql>,
    ) -> Result<Vec<Stored>, sqlx::Error> {
        let text = format!("{}{}", self.sql.get, one_of("k", places(keys.len())));
        let mut get = query(AssertSqlSafe(text)).bind(at.user).bind(at.session);
        for key in padded(keys) {
            get = get.bind(key.as_bytes());
        }
        get.fetch_all(lease.next()).await?.iter().map(Stored::from_row).collect()
    }

    /// Locks those of the rows that hold nothing and nobody works on, and deletes them. Once they are
    /// locked nobody adds to them; what was added before is seen by the second statement.
    async fn tidy_in(
        &self,
        owners: &[Owner],
        lease: &mut Lease<MySql>,
    ) -> Result<u64, sqlx::Error> {
        let Tables { usr, sess, .. } = &self.tables;
        let Statements { without_keys, without_sessions, .. } = &self.sql;
        lease.begin().await?;
        let any = any_of("u = ? AND s = ?", places(owners.len()));
        let lock = format!("SELECT u, s FROM {sess} WHERE {any}{without_keys} {LOCK}");
        let mut lock = query(AssertSqlSafe(lock));
        for (user, session) in padded(owners) {
            lock = lock.bind(user).bind(session);
        }
        let mut gone = 0;
        let locked: Vec<Owner> = owners_of(&lock.fetch_all(lease.next()).await?)?;
        if !locked.is_empty() {
            let any = any_of("u = ? AND s = ?", places(locked.len()));
            let delete = format!("DELETE FROM {sess} WHERE {any}{without_keys}");
            let mut delete = query(AssertSqlSafe(delete));
            for (user, session) in padded(&locked) {
                delete = delete.bind(user).bind(session);
            }
            gone += delete.execute(lease.next()).await?.rows_affected();
        }
        let any = one_of("u", places(owners.len()));
        let lock = format!("SELECT u FROM {usr} WHERE {any}{without_sessions} {LOCK}");
        let mut lock = query(AssertSqlSafe(lock));
        for (user, _) in padded(owners) {
            lock = lock.bind(user);
        }
        let locked = names(lock.fetch_all(lease.next()).await?)?;
        if !locked.is_empty() {
            let any = one_of("u", places(locked.len()));
            let delete = format!("DELETE FROM {usr} WHERE {any}{without_sessions}");
            let mut delete = query(AssertSqlSafe(delete));
            for user in padded(&locked) {
                delete = delete.bind(user);
            }
            gone += delete.execute(lease.next()).await?.rows_affected();
        }
        lease.commit().await?;
        Ok(gone)
    }

    async fn expire_in(&self, lease: &mut Lease<MySql>) -> Result<Vec<Owner>, sqlx::Error> {
        lease.begin().await?;
        let rows = query(self.sql.find_expired.clone()).fetch_all(lease.next()).await?;
        let owners = owners_of(&rows)?;
        let keys: Vec<Vec<u8>> =
            rows.iter().map(|row| row.try_get(2)).collect::<Result<_, sqlx::Error>>()?;
        let expired: Vec<_> = owners.iter().zip(&keys).collect();
        for some in expired.chunks(128) {
            let any = any_of("u = ? AND s = ? AND k = ?", places(some.len()));
            let delete = format!("DELETE FROM {} WHERE {any}", self.tables.kv);
            let mut delete = query(AssertSqlSafe(delete));
            for ((user, session), key) in padded(some) {
                delete = delete.bind(user).bind(session).bind(*key);
            }
            delete.execute(lease.next()).await?;
        }
        lease.commit().await?;
        Ok(owners)
    }
}

const LOCK: &str = "FOR UPDATE SKIP LOCKED";

#[async_trait]
impl Engine for MySqlEngine {
    async fn migrate(&self, end: Instant) -> Result<usize> {
        let migrate = |mut lease: Lease<MySql>| async move {
            let answer = async {
                let version = match self.version(&mut lease).await {
                    Ok(version) if version >= schema::VERSION => version,
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
        schema::check(version)?;
        Ok(packet_bytes.saturating_sub(PACKET_REST))
    }

    async fn get(&self, at: At<'_>, keys: &[&str], end: Instant) -> Result<Vec<Stored>> {
        let get = |mut lease: Lease<MySql>| async move {
            let items = self.read(at, keys, &mut lease).await;
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

    /// Reads the item and deletes that version: whoever deletes it has taken it.
    async fn take(&self, at: At<'_>, key: &str, end: Instant) -> Result<Option<Stored>> {
        let take = |mut lease: Lease<MySql>| async move {
            let answer = async {
                loop {
                    let read = self.read(at, &[key], &mut lease).await?.pop();
                    let Some(item) = read else { return Ok(None) };
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
        item: &Stored,
        deadline_us: i64,
        end: Instant,
    ) -> Result<bool> {
        let renew = |mut lease: Lease<MySql>| async move {
            let renew = query(self.sql.renew.clone()).bind(deadline_us);
            let renew = renew.bind(at.user).bind(at.session).bind(&item.key);
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

    async fn expire(&self, end: Instant) -> Result<Vec<Owner>> {
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

    fn close(&self) {
        self.pool.close();
    }
}

fn insertion<'q>(
    text: &SqlStr,
    at: At<'_>,
    key: &str,
    draft: &Draft<'_>,
) -> Query<'q, MySql, MySqlArguments> {
    let insert = query(text.clone()).bind(at.user).bind(at.session).bind(key.as_bytes());
    let insert = insert.bind(draft.data).bind(draft.version);
    insert.bind(draft.deadline_us).bind(draft.sliding_us).bind(draft.last_us)
}

/// How many places a statement has for so many names: a power of two, so that few statements are
/// prepared.
fn places(count: usize) -> usize {
    count.next_power_of_two()
}

/// All of them, the last again and again until each place has one.
fn padded<T>(all: &[T]) -> impl Iterator<Item = &T> {
    let missing = if all.is_empty() { 0 } else { places(all.len()) - all.len() };
    all.iter().chain(all.last().into_iter().cycle().take(missing))
}

fn one_of(column: &str, places: usize) -> String {
    format!("{column} IN ({})", vec!["?"; places].join(", "))
}

fn any_of(condition: &str, places: usize) -> String {
    format!("({})", vec![format!("({condition})"); places].join(" OR "))
}

fn names(rows: Vec<MySqlRow>) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    rows.iter().map(|row| row.try_get(0)).collect()
}

fn owners_of(rows: &[MySqlRow]) -> Result<Vec<Owner>, sqlx::Error> {
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_a_name() {
        for count in 1..40 {
            let all: Vec<usize> = (0..count).collect();
            let padded: Vec<_> = padded(&all).copied().collect();
            assert_eq!(padded.len(), places(count));
            assert_eq!(padded[..count], all);
            assert!(padded[count..].iter().all(|&name| name == count - 1));
        }
        assert_eq!(padded::<u8>(&[]).count(), 0);
        assert_eq!(one_of("k", 2), "k IN (?, ?)");
        assert_eq!(any_of("u = ?", 2), "((u = ?) OR (u = ?))");
    }
}
