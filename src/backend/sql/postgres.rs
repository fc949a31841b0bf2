//! The calls on PostgreSQL.

mod known;
mod statements;

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Postgres, Row, SqlStr, ValueRef, query, raw_sql};
use tokio::time::Instant;

use self::known::Known;
use self::statements::Statements;
use super::engine::{BATCH, Cursor, Engine, Expired, Owner, Row as Found};
use super::failure::code;
use super::item::{At, Draft, State, Stored, number};
use super::pool::{Lease, Pool, Session};
use super::schema::{self, Tables};
use crate::error::Result;
use crate::options::Condition;

/// A field has 1 GiB, and a value takes up to half of that on its way.
const MOST_BYTES: usize = 1 << 29;

pub(super) struct PostgresEngine {
    pool: Pool<Postgres>,
    tables: Tables,
    sql: Statements,
    known: Known,
}

#[async_trait]
impl Session for Postgres {
    async fn set_up(connection: &mut PgConnection, timeout: Duration) -> Result<(), sqlx::Error> {
        let ms = timeout.as_millis().clamp(1, i32::MAX as u128 / 2);
        // Who waits for a lock, or sits in a transaction, after its client has vanished, gives way.
        //
        // Every statement, and every foreign key, finds its rows by an index, in its order. Where a table was
        // small, or held one user when its rows were last counted, plans would read all of it otherwise. Without
        // compilation, which pays for statements of seconds. One plan serves all calls until it is discarded.
        let set = format!(
            "SELECT set_config('default_transaction_isolation', 'read committed', false), \
             set_config('enable_seqscan', 'off', false), \
             set_config('enable_bitmapscan', 'off', false), \
             set_config('jit', 'off', false), \
             set_config('plan_cache_mode', 'force_generic_plan', false), \
             set_config('lock_timeout', '{ms}', false), \
             set_config('idle_in_transaction_session_timeout', '{}', false)",
            2 * ms
        );
        raw_sql(AssertSqlSafe(set)).execute(&mut *connection).await?;
        // Where the system can tell (PostgreSQL 14, not on Windows), what runs for a client that is
        // gone ends at once; elsewhere when it has something to answer.
        let watch = "SET client_connection_check_interval = 1000";
        match raw_sql(watch).execute(&mut *connection).await {
            Err(error) if error.as_database_error().is_none() => Err(error),
            _ => Ok(()),
        }
    }

    async fn takes_writes(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        // On in a standby too. The next transaction begins with the default of now. And since plans hang on
        // how large tables were, they are made anew.
        let ask = "DISCARD PLANS; SHOW transaction_read_only";
        let row = raw_sql(ask).fetch_one(connection).await?;
        Ok(row.try_get::<&str, _>(0)? == "off")
    }

    async fn say(
        connection: &mut PgConnection,
        statement: &'static str,
    ) -> Result<(), sqlx::Error> {
        raw_sql(statement).execute(connection).await.map(drop)
    }
}

impl PostgresEngine {
    pub(super) fn new(pool: Pool<Postgres>, prefix: &str) -> Self {
        let tables = Tables::new(prefix);
        let sql = Statements::new(&tables);
        Self { pool, tables, sql, known: Known::new() }
    }

    /// Makes or updates the tables inside one transaction, under a lock that all instances know.
    ///
    /// Those that were found are updated, wherever on the search path they are: the first schema of it may have been
    /// made since.
    async fn migrate_in(
        &self,
        are_there: bool,
        lease: &mut Lease<Postgres>,
    ) -> Result<i64, sqlx::Error> {
        lease.begin().await?;
        let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1 || current_schema(), 0))";
        query(lock).bind(&self.tables.schema).execute(lease.next()).await?;
        if !are_there {
            raw_sql(AssertSqlSafe(self.tables.first_step())).execute(lease.next()).await?;
        }
        let version = self.version(lease.next()).await?;
        for step in self.tables.postgres_steps(version) {
            raw_sql(AssertSqlSafe(step)).execute(lease.next()).await?;
        }
        lease.commit().await?;
        Ok(version)
    }

    async fn version(&self, connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
        let row = query(self.tables.read_version()).fetch_one(connection).await?;
        row.try_get(0)
    }
}

#[async_trait]
impl Engine for PostgresEngine {
    async fn migrate(&self, end: Instant) -> Result<usize> {
        let migrate = |mut lease: Lease<Postgres>| async move {
            let answer = async {
                let are_there = match self.version(lease.next()).await {
                    Ok(version) if version >= schema::POSTGRES => return Ok(version),
                    Ok(_) => true,
                    Err(error) if code(&error).as_deref() == Some("42P01") => false,
                    Err(error) => return Err(error),
                };
                self.migrate_in(are_there, &mut lease).await
            };
            let answer = answer.await;
            (lease, answer)
        };
        schema::check(self.pool.run(end, migrate).await?, schema::POSTGRES)?;
        Ok(MOST_BYTES)
    }

    async fn get(&self, at: At<'_>, key: &str, end: Instant) -> Result<Option<Stored>> {
        let get = |mut lease: Lease<Postgres>| async move {
            let get = query(self.sql.get.clone()).bind(at.user).bind(at.session);
            // This driver reads the answer to its end, so that a connection that goes back has said all.
            let row = get.bind(key.as_bytes()).fetch_optional(lease.next()).await;
            (lease, row.and_then(|row| row.as_ref().map(stored).transpose()))
        };
        self.pool.run(end, get).await
    }

    async fn get_many(&self, at: At<'_>, keys: &[&str], end: Instant) -> Result<Vec<Found>> {
        let keys = &bytes_of(keys);
        let get = |mut lease: Lease<Postgres>| async move {
            let get = query(self.sql.get_many.clone()).bind(at.user).bind(at.session).bind(keys);
            let rows = get.fetch_all(lease.next()).await;
            let found = |row: &PgRow| Ok((row.try_get(8)?, stored(row)?));
            (lease, rows.and_then(|rows| rows.iter().map(found).collect()))
        };
        self.pool.run(end, get).await
    }

    async fn write(&self, at: At<'_>, key: &str, draft: &Draft<'_>, end: Instant) -> Result<bool> {
        let keeps = usize::from(draft.keeps_ttl);
        let (text, version) = match draft.condition {
            Condition::Always => (&self.sql.upsert[keeps], None),
            Condition::Absent => (&self.sql.insert, None),
            Condition::Present => (&self.sql.update, Some(None)),
            Condition::Version(version) => (&self.sql.update, Some(Some(number(version)))),
        };
        // Where its session is there nothing else is needed. Where it is not, nothing happens.
        let is_put = draft.condition == Condition::Always && !draft.slides();
        let write = |mut lease: Lease<Postgres>| async move {
            let item = |text: &SqlStr| {
                let item = query(text.clone()).bind(at.user).bind(at.session).bind(key.as_bytes());
                item.bind(draft.data).bind(draft.version).bind(draft.deadline_us)
            };
            let answer = async {
                if is_put {
                    let is_known = self.known.trusts(at);
                    let put = if is_known { &self.sql.put_known } else { &self.sql.put };
                    match item(&put[keeps]).execute(lease.next()).await {
                        Ok(done) if done.rows_affected() == 1 => {
                            self.known.note(at);
                            return Ok(true);
                        }
                        Err(error) if !(is_known && is_orphan(&error)) => return Err(error),
                        _ => self.known.forget(at),
                    }
                }
                let mut write = item(text).bind(draft.sliding_us).bind(draft.last_us);
                if let Some(version) = version {
                    write = write.bind(draft.keeps_ttl).bind(version);
                }
                let is_written = write.execute(lease.next()).await?.rows_affected() == 1;
                if is_put && is_written {
                    self.known.note(at);
                }
                Ok(is_written)
            };
            let answer = answer.await;
            (lease, answer)
        };
        self.pool.run(end, write).await
    }

    async fn write_many(
        &self,
        at: At<'_>,
        items: &[(&str, Draft<'_>)],
        end: Instant,
    ) -> Result<()> {
        let Some((_, draft)) = items.first() else { return Ok(()) };
        let keys: &Vec<&[u8]> = &items.iter().map(|(key, _)| key.as_bytes()).collect();
        let data: &Vec<&[u8]> = &items.iter().map(|(_, draft)| draft.data).collect();
        let versions: &Vec<i64> = &items.iter().map(|(_, draft)| draft.version).collect();
        let text = &self.sql.upsert_many[usize::from(draft.keeps_ttl)];
        let write = |mut lease: Lease<Postgres>| async move {
            let write = query(text.clone()).bind(at.user).bind(at.session).bind(keys);
            let write = write.bind(data).bind(versions);
            let write = write.bind(draft.deadline_us).bind(draft.sliding_us).bind(draft.last_us);
            let done = write.execute(lease.next()).await;
            (lease, done.map(drop))
        };
        self.pool.run(end, write).await
    }

    async fn take(&self, at: At<'_>, key: &str, end: Instant) -> Result<Option<Stored>> {
        let take = |mut lease: Lease<Postgres>| async move {
            let take = query(self.sql.take.clone()).bind(at.user).bind(at.session);
            let row = take.bind(key.as_bytes()).fetch_optional(lease.next()).await;
            (lease, row.and_then(|row| row.as_ref().map(stored).transpose()))
        };
        // One that had expired is gone now as well, and was absent.
        let taken = self.pool.run(end, take).await?;
        Ok(taken.filter(|item| item.state() == State::Alive))
    }

    async fn touch(&self, at: At<'_>, key: &str, ttl_us: i64, end: Instant) -> Result<bool> {
        let touch = |mut lease: Lease<Postgres>| async move {
            let touch = query(self.sql.touch.clone()).bind(at.user).bind(at.session);
            let done = touch.bind(key.as_bytes()).bind(ttl_us).execute(lease.next()).await;
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
        let renew = |mut lease: Lease<Postgres>| async move {
            let renew = query(self.sql.renew.clone()).bind(at.user).bind(at.session);
            let renew = renew.bind(key).bind(deadline_us);
            let renew = renew.bind(item.version).bind(item.sliding_us);
            let done = renew.execute(lease.next()).await;
            (lease, done.map(|done| done.rows_affected() == 1))
        };
        self.pool.run(end, renew).await
    }

    async fn delete_keys(&self, at: At<'_>, keys: &[&str], end: Instant) -> Result<u64> {
        let keys = &bytes_of(keys);
        let delete = |mut lease: Lease<Postgres>| async move {
            let of = |text: &SqlStr| query(text.clone()).bind(at.user).bind(at.session);
            let delete = match keys[..] {
                [key] => of(&self.sql.delete_key).bind(key),
                _ => of(&self.sql.delete_keys).bind(keys),
            };
            let done = delete.execute(lease.next()).await;
            (lease, done.map(|done| done.rows_affected()))
        };
        self.pool.run(end, delete).await
    }

    async fn delete_session(&self, at: At<'_>, end: Instant) -> Result<u64> {
        let delete = |mut lease: Lease<Postgres>| async move {
            let answer = async {
                lease.begin().await?;
                let lock = query(self.sql.lock_session.clone()).bind(at.user).bind(at.session);
                let mut removed = 0_i64;
                if lock.fetch_optional(lease.next()).await?.is_some() {
                    let delete = query(self.sql.delete_session.clone());
                    let delete = delete.bind(at.user).bind(at.session);
                    removed = delete.fetch_one(lease.next()).await?.try_get(0)?;
                }
                lease.commit().await?;
                Ok(removed.cast_unsigned())
            };
            let answer = answer.await;
            (lease, answer)
        };
        self.pool.run(end, delete).await
    }

    async fn delete_user(&self, user: &[u8], end: Instant) -> Result<u64> {
        let delete = |mut lease: Lease<Postgres>| async move {
            let answer = async {
                lease.begin().await?;
                let lock = query(self.sql.lock_user.clone()).bind(user);
                let sessions: i64 = lock.fetch_one(lease.next()).await?.try_get(0)?;
                let mut removed = 0_i64;
                // Without a session a user holds nothing.
                if sessions > 0 {
                    let delete = query(self.sql.delete_user.clone()).bind(user);
                    removed = delete.fetch_one(lease.next()).await?.try_get(0)?;
                }
                lease.commit().await?;
                Ok(removed.cast_unsigned())
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
        let list = |mut lease: Lease<Postgres>| async move {
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
        let list = |mut lease: Lease<Postgres>| async move {
            let list = query(self.sql.sessions.clone()).bind(user).bind(after.as_bytes());
            let rows = list.bind(limit).fetch_all(lease.next()).await;
            (lease, rows.and_then(names))
        };
        self.pool.run(end, list).await
    }

    async fn expire(&self, due_by_us: Option<i64>, end: Instant) -> Result<Expired> {
        let expire = |mut lease: Lease<Postgres>| async move {
            let expire = query(self.sql.expire.clone()).bind(due_by_us);
            let rows = expire.fetch_all(lease.next()).await;
            let expired = rows.and_then(|rows| {
                // There is one where nothing went, with nobody in it.
                let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
                let is_last = first.try_get::<i64, _>(0)? < BATCH as i64;
                let began_us = moment(first, 1)?;
                let mut owners = Vec::with_capacity(rows.len());
                for row in &rows {
                    if let Some(user) = row.try_get(2)? {
                        owners.push((user, row.try_get(3)?));
                    }
                }
                Ok(Expired { owners, is_last, began_us })
            });
            (lease, expired)
        };
        self.pool.run(end, expire).await
    }

    async fn scan(&self, cursor: &mut Cursor, end: Instant) -> Result<Vec<Owner>> {
        let (user, session) = &cursor.session;
        let sessions = |mut lease: Lease<Postgres>| async move {
            let scan = query(self.sql.scan_sessions.clone()).bind(user).bind(session);
            let rows = scan.fetch_all(lease.next()).await;
            let owner = |row: &PgRow| Ok(((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?));
            (lease, rows.and_then(|rows| rows.iter().map(owner).collect()))
        };
        let sessions: Vec<(Owner, bool)> = self.pool.run(end, sessions).await?;
        let after = &cursor.user;
        let users = |mut lease: Lease<Postgres>| async move {
            let scan = query(self.sql.scan_users.clone()).bind(after);
            let rows = scan.fetch_all(lease.next()).await;
            let owner = |row: &PgRow| Ok(((row.try_get(0)?, Vec::new()), row.try_get(1)?));
            (lease, rows.and_then(|rows| rows.iter().map(owner).collect()))
        };
        let users: Vec<(Owner, bool)> = self.pool.run(end, users).await?;
        Ok(cursor.advance(sessions, users))
    }

    async fn tidy(&self, owners: &[Owner], end: Instant) -> Result<u64> {
        let (users, sessions): (Vec<&[u8]>, Vec<&[u8]>) =
            owners.iter().map(|(user, session)| (&user[..], &session[..])).unzip();
        let (users, sessions) = (&users, &sessions);
        let tidy = |mut lease: Lease<Postgres>| async move {
            let answer = async {
                lease.begin().await?;
                // Once they are locked nobody adds to them; what was added before is seen by the
                // next statement, not always by the same.
                let lock = query(self.sql.lock_empty_sessions.clone()).bind(users).bind(sessions);
                let locked = lock.fetch_all(lease.next()).await?;
                let locked_users: Vec<Vec<u8>> = column(&locked, 0)?;
                let locked_sessions: Vec<Vec<u8>> = column(&locked, 1)?;
                let delete = query(self.sql.delete_empty_sessions.clone());
                let delete = delete.bind(&locked_users).bind(&locked_sessions);
                let mut gone = delete.execute(lease.next()).await?.rows_affected();
                let lock = query(self.sql.lock_empty_users.clone()).bind(users);
                let locked: Vec<Vec<u8>> = column(&lock.fetch_all(lease.next()).await?, 0)?;
                let delete = query(self.sql.delete_empty_users.clone()).bind(&locked);
                gone += delete.execute(lease.next()).await?.rows_affected();
                lease.commit().await?;
                Ok(gone)
            };
            let answer = answer.await;
            (lease, answer)
        };
        self.pool.run(end, tidy).await
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

fn bytes_of<'k>(keys: &[&'k str]) -> Vec<&'k [u8]> {
    keys.iter().map(|key| key.as_bytes()).collect()
}

/// Whether the session of what was to be inserted is not there.
fn is_orphan(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_foreign_key_violation())
}

/// What a read answers of a key.
fn stored(row: &PgRow) -> Result<Stored, sqlx::Error> {
    let known = |index| moment(row, index)?.ok_or_else(|| sqlx::Error::Decode("no moment".into()));
    Ok(Stored {
        data: row.try_get(0)?,
        version: row.try_get(1)?,
        created_us: known(2)?,
        deadline_us: moment(row, 3)?,
        sliding_us: row.try_get(4)?,
        last_us: moment(row, 5)?,
        began_us: known(6)?,
        seen_us: known(7)?,
    })
}

/// A `timestamptz`, which is in microseconds after the year 2000, in those after 1970; `None` where it is
/// null.
fn moment(row: &PgRow, index: usize) -> Result<Option<i64>, sqlx::Error> {
    const YEAR_2000_US: i64 = 946_684_800_000_000;
    let value = row.try_get_raw(index)?;
    if value.is_null() {
        return Ok(None);
    }
    let bytes = value.as_bytes().map_err(sqlx::Error::Decode)?;
    let bytes = bytes.try_into().map_err(|_| sqlx::Error::Decode("no moment".into()))?;
    Ok(Some(i64::from_be_bytes(bytes).saturating_add(YEAR_2000_US)))
}

fn names(rows: Vec<PgRow>) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    column(&rows, 0)
}

fn column(rows: &[PgRow], index: usize) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    rows.iter().map(|row| row.try_get(index)).collect()
}
