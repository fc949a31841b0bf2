//! The bare driver, in either dialect.

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Row, query, raw_sql};

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

/// `get` answers data, version, creation and deadline, and whether the item expired while the statement ran:
/// only what had before is absent, as what stands there now may have been written since. `less_get` takes it
/// for absent. `lock_user` holds the sessions too, so that all that goes is counted; `less_lock` does not.
pub(super) struct Sql {
    pub(super) get: &'static str,
    pub(super) less_get: &'static str,
    pub(super) set: &'static str,
    pub(super) make_user: &'static str,
    pub(super) make_session: &'static str,
    pub(super) lock_user: &'static str,
    pub(super) less_lock: &'static str,
    pub(super) delete_keys: &'static str,
    pub(super) delete_user: &'static str,
    /// Both in one, where that can tell how many keys went.
    pub(super) delete_all: Option<&'static str>,
    pub(super) plain_get: &'static str,
    pub(super) plain_set: &'static str,
}

static POSTGRES: Sql = Sql {
    get: "SELECT v, ver, created, exp, exp <= clock_timestamp() FROM hand_kv \
          WHERE u = $1 AND s = $2 AND k = $3 AND (exp IS NULL OR exp > now())",
    less_get: "SELECT v, ver, created, exp FROM hand_kv WHERE u = $1 AND s = $2 AND k = $3 \
               AND (exp IS NULL OR exp > clock_timestamp())",
    set: "INSERT INTO hand_kv (u, s, k, v, ver, created, exp) \
          VALUES ($1, $2, $3, $4, $5, now(), now() + $6 * interval '1 microsecond') \
          ON CONFLICT (u, s, k) DO UPDATE SET v = excluded.v, ver = excluded.ver, \
          created = excluded.created, exp = excluded.exp",
    make_user: "INSERT INTO hand_usr (u) VALUES ($1) ON CONFLICT DO NOTHING",
    make_session: "INSERT INTO hand_sess (u, s) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    lock_user: "SELECT count(*) FROM (SELECT 1 FROM hand_usr, hand_sess \
                WHERE hand_usr.u = $1 AND hand_sess.u = $1 FOR UPDATE) AS all_of",
    less_lock: "SELECT 1 FROM hand_usr WHERE u = $1 FOR UPDATE",
    delete_keys: "DELETE FROM hand_kv WHERE u = $1",
    delete_user: "DELETE FROM hand_usr WHERE u = $1",
    delete_all: Some(
        "WITH d AS (DELETE FROM hand_kv WHERE u = $1 RETURNING 1), \
         e AS (DELETE FROM hand_usr WHERE u = $1) SELECT count(*) FROM d",
    ),
    plain_get: "SELECT v FROM plain WHERE k = $1",
    plain_set: "INSERT INTO plain (k, v) VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = excluded.v",
};

/// Microseconds after 1970: when the statement began, and this very moment.
macro_rules! began {
    () => {
        "TIMESTAMPDIFF(MICROSECOND, TIMESTAMP'1970-01-01 00:00:00', NOW(6))"
    };
}
macro_rules! now {
    () => {
        "TIMESTAMPDIFF(MICROSECOND, TIMESTAMP'1970-01-01 00:00:00', SYSDATE(6))"
    };
}

static MYSQL: Sql = Sql {
    get: concat!(
        "SELECT v, ver, created, exp, exp <= ",
        now!(),
        " FROM hand_kv WHERE u = ? AND s = ? AND k = ? AND (exp IS NULL OR exp > ",
        began!(),
        ")"
    ),
    less_get: concat!(
        "SELECT v, ver, created, exp FROM hand_kv WHERE u = ? AND s = ? AND k = ? \
         AND (exp IS NULL OR exp > ",
        now!(),
        ")"
    ),
    set: concat!(
        "INSERT INTO hand_kv (u, s, k, v, ver, created, exp) VALUES (?, ?, ?, ?, ?, ",
        began!(),
        ", ",
        began!(),
        " + ?) ON DUPLICATE KEY UPDATE v = VALUES(v), ver = VALUES(ver), \
         created = VALUES(created), exp = VALUES(exp)"
    ),
    make_user: "INSERT IGNORE INTO hand_usr (u) VALUES (?)",
    make_session: "INSERT IGNORE INTO hand_sess (u, s) VALUES (?, ?)",
    lock_user: "SELECT COUNT(*) FROM hand_usr LEFT JOIN hand_sess ON hand_sess.u = hand_usr.u \
                WHERE hand_usr.u = ? FOR UPDATE",
    less_lock: "SELECT 1 FROM hand_usr WHERE u = ? FOR UPDATE",
    delete_keys: "DELETE FROM hand_kv WHERE u = ?",
    delete_user: "DELETE FROM hand_usr WHERE u = ?",
    delete_all: None,
    plain_get: "SELECT v FROM plain WHERE k = ?",
    plain_set: "INSERT INTO plain (k, v) VALUES (?, ?) ON DUPLICATE KEY UPDATE v = VALUES(v)",
};

/// An item with what the interface tells of it.
#[derive(Debug)]
#[expect(
    dead_code,
    reason = "a caller would read the version and the times; the benchmark does not"
)]
pub(super) struct Item {
    pub(super) data: Vec<u8>,
    version: i64,
    created_us: i64,
    deadline_us: Option<i64>,
}

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
            true => {
                let options: PgConnectOptions = url.parse().expect("an address");
                let driver = options.disable_statement_logging().connect().await;
                let mut driver = driver.expect("connects");
                // As the storage does: one plan for all calls.
                let session = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off";
                raw_sql(session).execute(&mut driver).await.expect("set");
                Self::Postgres(driver)
            }
            false => {
                let options: MySqlConnectOptions = url.parse().expect("an address");
                let driver = options.disable_statement_logging().connect().await;
                let mut driver = driver.expect("connects");
                let session = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
                               SET SESSION time_zone = '+00:00'";
                raw_sql(session).execute(&mut driver).await.expect("set");
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

    /// What makes the tables anew, and leaves none of the storage's, whose names begin with `prefix`.
    pub(super) fn tables(&self, prefix: &str) -> Vec<String> {
        let (id, value, time) = match self {
            Self::Postgres(_) => ("bytea", "bytea", "timestamptz"),
            Self::MySql(_) => ("VARBINARY(256)", "LONGBLOB", "BIGINT"),
        };
        let of_storage = ["kv", "sess", "usr", "schema"].map(|table| format!("{prefix}{table}"));
        let mut statements = vec![format!("DROP TABLE IF EXISTS {}", of_storage.join(", "))];
        if let Self::Postgres(_) = self {
            statements.push(format!("DROP DOMAIN IF EXISTS {prefix}key"));
        }
        statements.extend([
            "DROP TABLE IF EXISTS hand_kv, hand_sess, hand_usr, plain".to_owned(),
            format!("CREATE TABLE hand_usr (u {id} NOT NULL, PRIMARY KEY (u))"),
            format!(
                "CREATE TABLE hand_sess (u {id} NOT NULL, s {id} NOT NULL, PRIMARY KEY (u, s), \
                 FOREIGN KEY (u) REFERENCES hand_usr (u) ON DELETE CASCADE)"
            ),
            format!(
                "CREATE TABLE hand_kv (u {id} NOT NULL, s {id} NOT NULL, k {id} NOT NULL, \
                 v {value} NOT NULL, ver BIGINT NOT NULL, created {time} NOT NULL, exp {time}, \
                 PRIMARY KEY (u, s, k), \
                 FOREIGN KEY (u, s) REFERENCES hand_sess (u, s) ON DELETE CASCADE)"
            ),
            "CREATE INDEX hand_exp ON hand_kv (exp)".to_owned(),
            format!("CREATE TABLE plain (k {id} NOT NULL, v {value} NOT NULL, PRIMARY KEY (k))"),
        ]);
        statements
    }

    /// Takes away what writes have left in the tables, where the server does not do so as it goes.
    pub(super) async fn settle(&mut self) {
        if let Self::Postgres(_) = self {
            self.say("VACUUM").await;
        }
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

    /// The one row, as [`Sql::get`] answers it.
    pub(super) async fn get(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Option<Item> {
        loop {
            let (item, is_unclear) = match self {
                Self::Postgres(driver) => {
                    let row = bound!(sql, args).fetch_optional(driver).await.expect("read")?;
                    let item = Item {
                        data: row.get(0),
                        version: row.get(1),
                        created_us: moment(&row, 2).expect("it is never null"),
                        deadline_us: moment(&row, 3),
                    };
                    (item, row.get::<Option<bool>, _>(4) == Some(true))
                }
                Self::MySql(driver) => {
                    let row = bound!(sql, args).fetch_optional(driver).await.expect("read")?;
                    let item = Item {
                        data: row.get(0),
                        version: row.get(1),
                        created_us: row.get(2),
                        deadline_us: row.get(3),
                    };
                    (item, row.get::<Option<bool>, _>(4) == Some(true))
                }
            };
            if !is_unclear {
                return Some(item);
            }
        }
    }

    /// The number that the one row consists of.
    pub(super) async fn count(&mut self, sql: &'static str, args: &[Arg<'_>]) -> i64 {
        match self {
            Self::Postgres(driver) => {
                bound!(sql, args).fetch_one(driver).await.expect("read").get(0)
            }
            Self::MySql(driver) => bound!(sql, args).fetch_one(driver).await.expect("read").get(0),
        }
    }

    /// The data of the one row.
    pub(super) async fn data(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Option<Vec<u8>> {
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

/// A `timestamptz`: microseconds after the year 2000 on the wire, after 1970 here.
fn moment(row: &PgRow, index: usize) -> Option<i64> {
    let value = row.try_get_raw(index).expect("a column");
    let bytes = value.as_bytes().ok()?.try_into().expect("eight bytes");
    Some(i64::from_be_bytes(bytes) + 946_684_800_000_000)
}
