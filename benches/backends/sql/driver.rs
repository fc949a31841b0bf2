//! The bare driver, in either dialect.

use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row, query, raw_sql};

pub(super) enum Driver {
    Postgres(PgConnection),
    MySql(MySqlConnection),
}

/// A value of a statement.
#[derive(Clone, Copy)]
pub(super) enum Arg<'a> {
    Id(&'a str),
    Bytes(&'a [u8]),
    Number(i64),
}

pub(super) struct Sql {
    pub(super) get: &'static str,
    pub(super) set: &'static str,
    pub(super) make_user: &'static str,
    pub(super) make_session: &'static str,
    pub(super) lock_user: &'static str,
    pub(super) delete_keys: &'static str,
    pub(super) delete_user: &'static str,
    pub(super) plain_get: &'static str,
    pub(super) plain_set: &'static str,
}

static POSTGRES: Sql = Sql {
    get: "SELECT v, ver, created, exp FROM hand_kv WHERE u = $1 AND s = $2 AND k = $3 \
          AND (exp IS NULL OR exp > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)",
    set: "INSERT INTO hand_kv (u, s, k, v, ver, created, exp) VALUES ($1, $2, $3, $4, $5, \
          (extract(epoch FROM now()) * 1000000)::bigint, \
          (extract(epoch FROM now()) * 1000000)::bigint + $6) \
          ON CONFLICT (u, s, k) DO UPDATE SET v = excluded.v, ver = excluded.ver, \
          created = excluded.created, exp = excluded.exp",
    make_user: "INSERT INTO hand_usr (u) VALUES ($1) ON CONFLICT DO NOTHING",
    make_session: "INSERT INTO hand_sess (u, s) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    lock_user: "SELECT 1 FROM hand_usr WHERE u = $1 FOR UPDATE",
    delete_keys: "DELETE FROM hand_kv WHERE u = $1",
    delete_user: "DELETE FROM hand_usr WHERE u = $1",
    plain_get: "SELECT v FROM plain WHERE k = $1",
    plain_set: "INSERT INTO plain (k, v) VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = excluded.v",
};

static MYSQL: Sql = Sql {
    get: "SELECT v, ver, created, exp FROM hand_kv WHERE u = ? AND s = ? AND k = ? \
          AND (exp IS NULL OR exp > CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED))",
    set: "INSERT INTO hand_kv (u, s, k, v, ver, created, exp) VALUES (?, ?, ?, ?, ?, \
          CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED), \
          CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED) + ?) \
          ON DUPLICATE KEY UPDATE v = VALUES(v), ver = VALUES(ver), created = VALUES(created), \
          exp = VALUES(exp)",
    make_user: "INSERT IGNORE INTO hand_usr (u) VALUES (?)",
    make_session: "INSERT IGNORE INTO hand_sess (u, s) VALUES (?, ?)",
    lock_user: "SELECT 1 FROM hand_usr WHERE u = ? FOR UPDATE",
    delete_keys: "DELETE FROM hand_kv WHERE u = ?",
    delete_user: "DELETE FROM hand_usr WHERE u = ?",
    plain_get: "SELECT v FROM plain WHERE k = ?",
    plain_set: "INSERT INTO plain (k, v) VALUES (?, ?) ON DUPLICATE KEY UPDATE v = VALUES(v)",
};

macro_rules! bound {
    ($sql:expr, $args:expr) => {
        $args.iter().fold(query($sql), |query, arg| match *arg {
            Arg::Id(id) => query.bind(id.as_bytes()),
            Arg::Bytes(bytes) => query.bind(bytes),
            Arg::Number(number) => query.bind(number),
        })
    };
}

impl Driver {
    pub(super) async fn connect(url: &str) -> Self {
        match url.starts_with("postgres") {
            true => Self::Postgres(PgConnection::connect(url).await.expect("connects")),
            false => {
                let mut driver = MySqlConnection::connect(url).await.expect("connects");
                let isolation = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
                raw_sql(isolation).execute(&mut driver).await.expect("set");
                Self::MySql(driver)
            }
        }
    }

    pub(super) fn sql(&self) -> &'static Sql {
        match self {
            Self::Postgres(_) => &POSTGRES,
            Self::MySql(_) => &MYSQL,
        }
    }

    /// What lets the server not wait for its disk.
    pub(super) fn no_disk(&self) -> &'static [&'static str] {
        match self {
            Self::Postgres(_) => {
                &["ALTER SYSTEM SET synchronous_commit = off", "SELECT pg_reload_conf()"]
            }
            Self::MySql(_) => &["SET GLOBAL innodb_flush_log_at_trx_commit = 0"],
        }
    }

    /// What makes the tables anew.
    pub(super) fn tables(&self) -> Vec<String> {
        let (id, value) = match self {
            Self::Postgres(_) => ("bytea", "bytea"),
            Self::MySql(_) => ("VARBINARY(256)", "LONGBLOB"),
        };
        vec![
            "DROP TABLE IF EXISTS hand_kv, hand_sess, hand_usr, plain".to_owned(),
            format!("CREATE TABLE hand_usr (u {id} NOT NULL, PRIMARY KEY (u))"),
            format!(
                "CREATE TABLE hand_sess (u {id} NOT NULL, s {id} NOT NULL, PRIMARY KEY (u, s), \
                 FOREIGN KEY (u) REFERENCES hand_usr (u) ON DELETE CASCADE)"
            ),
            format!(
                "CREATE TABLE hand_kv (u {id} NOT NULL, s {id} NOT NULL, k {id} NOT NULL, \
                 v {value} NOT NULL, ver BIGINT NOT NULL, created BIGINT NOT NULL, exp BIGINT, \
                 PRIMARY KEY (u, s, k), \
                 FOREIGN KEY (u, s) REFERENCES hand_sess (u, s) ON DELETE CASCADE)"
            ),
            "CREATE INDEX hand_exp ON hand_kv (exp)".to_owned(),
            format!("CREATE TABLE plain (k {id} NOT NULL, v {value} NOT NULL, PRIMARY KEY (k))"),
        ]
    }

    pub(super) async fn say(&mut self, statement: &str) {
        let statement = raw_sql(AssertSqlSafe(statement));
        let done = match self {
            Self::Postgres(driver) => statement.execute(driver).await.map(drop),
            Self::MySql(driver) => statement.execute(driver).await.map(drop),
        };
        done.expect("it runs");
    }

    /// How many rows there were; none where a foreign key refuses it.
    pub(super) async fn run(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Option<u64> {
        let done = match self {
            Self::Postgres(driver) => {
                bound!(sql, args).execute(driver).await.map(|done| done.rows_affected())
            }
            Self::MySql(driver) => {
                bound!(sql, args).execute(driver).await.map(|done| done.rows_affected())
            }
        };
        match done {
            Ok(rows) => Some(rows),
            Err(sqlx::Error::Database(error)) if error.is_foreign_key_violation() => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The data of the one row, with its version and times.
    pub(super) async fn get(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Option<Vec<u8>> {
        match self {
            Self::Postgres(driver) => {
                let row = bound!(sql, args).fetch_optional(driver).await.expect("read")?;
                Some(row.get(0))
            }
            Self::MySql(driver) => {
                let row = bound!(sql, args).fetch_optional(driver).await.expect("read")?;
                Some(row.get(0))
            }
        }
    }
}
