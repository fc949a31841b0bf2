//! Cleaning on MariaDB and MySQL.

use sqlx::mysql::MySql;
use sqlx::{AssertSqlSafe, Row, query};

use super::lists::{any_of, one_of, padded, places};
use super::statements::Statements;
use super::{MySqlEngine, names, owners_of};
use crate::backend::sql::engine::{BATCH, Expired, Owner};
use crate::backend::sql::pool::Lease;
use crate::backend::sql::schema::Tables;

const LOCK: &str = "FOR UPDATE SKIP LOCKED";

impl MySqlEngine {
    /// Locks those of the rows that hold nothing and nobody works on, and deletes them. Once they are
    /// locked nobody adds to them; what was added before is seen by the second statement.
    pub(super) async fn tidy_in(
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

    pub(super) async fn expire_in(&self, lease: &mut Lease<MySql>) -> Result<Expired, sqlx::Error> {
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
        Ok(Expired { is_last: owners.len() < BATCH, owners, began_us: None })
    }
}
