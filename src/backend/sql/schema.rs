//! The tables, and the steps that bring older ones up to date.
//!
//! ```text
//!   usr   u                                          one row a user; '' for the global keys
//!   sess  u, s      -> usr                           one row a session; s = '' for a user's own keys
//!   kv    u, s, k   -> sess   v, ver, created, exp, ttl, last, due
//! ```
//!
//! `created`, `exp` and `last` (the end of the maximum lifetime) are moments: on PostgreSQL of its own type,
//! on MariaDB and MySQL microseconds after 1970. `ttl` is the microseconds of a sliding TTL. Each but `created`
//! is null where there is none.
//!
//! `due`, on PostgreSQL, is from when on cleaning looks at the item: not later than `exp`, and null only if `exp` is.
//! A write that moves `exp` further away leaves it. So nothing changes that has an index, and where the page has
//! room the server adds to none (a heap-only tuple). Cleaning moves it where the item lives on.
//!
//! A step that was released is never changed: the next one changes what it left.

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use crate::error::{Error, ErrorKind, Result};

/// How many steps there are on each.
#[cfg(feature = "postgres")]
pub(super) const POSTGRES: i64 = 3;
#[cfg(feature = "mysql")]
pub(super) const MYSQL: i64 = 1;

/// The names of the tables.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) usr: String,
    pub(super) sess: String,
    pub(super) kv: String,
    /// The type of keys, on PostgreSQL.
    #[cfg(feature = "postgres")]
    key: String,
    pub(super) schema: String,
}

impl Tables {
    pub(super) fn new(prefix: &str) -> Self {
        let name = |name| format!("{prefix}{name}");
        Self {
            usr: name("usr"),
            sess: name("sess"),
            kv: name("kv"),
            #[cfg(feature = "postgres")]
            key: name("key"),
            schema: name("schema"),
        }
    }

    /// A row for each step that was taken.
    pub(super) fn first_step(&self) -> String {
        format!("CREATE TABLE IF NOT EXISTS {} (version BIGINT NOT NULL)", self.schema)
    }

    pub(super) fn read_version(&self) -> SqlStr {
        let schema = &self.schema;
        AssertSqlSafe(format!("SELECT COALESCE(MAX(version), 0) FROM {schema}")).into_sql_str()
    }

    fn write_version(&self, version: i64) -> String {
        format!("INSERT INTO {} (version) VALUES ({version})", self.schema)
    }

    /// Neither a condition for the index of `kv` nor a check on the table: the server reads their text anew for
    /// each statement that writes. What a domain checks is kept ready: 5,500 instructions instead of 38,000.
    #[cfg(feature = "postgres")]
    pub(super) fn postgres_steps(&self, version: i64) -> Vec<String> {
        let Self { usr, sess, kv, key, .. } = self;
        let first = vec![
            format!("CREATE DOMAIN {key} AS bytea CHECK (octet_length(VALUE) BETWEEN 1 AND 512)"),
            format!("CREATE TABLE {usr} (u bytea PRIMARY KEY CHECK (octet_length(u) <= 256))"),
            format!(
                "CREATE TABLE {sess} (u bytea NOT NULL REFERENCES {usr} ON DELETE CASCADE, \
                 s bytea NOT NULL CHECK (octet_length(s) <= 256), PRIMARY KEY (u, s), \
                 CHECK (octet_length(u) > 0 OR octet_length(s) = 0))"
            ),
            format!(
                "CREATE TABLE {kv} (u bytea NOT NULL, s bytea NOT NULL, \
                 k {key} NOT NULL, v bytea NOT NULL, \
                 ver bigint NOT NULL, created bigint NOT NULL, exp bigint, ttl bigint, last bigint, \
                 PRIMARY KEY (u, s, k), FOREIGN KEY (u, s) REFERENCES {sess} ON DELETE CASCADE)"
            ),
            format!("CREATE INDEX {kv}_exp ON {kv} (exp)"),
            self.write_version(1),
        ];
        // Moments instead of microseconds after 1970: to make such a number of the time took a `set` 9,400
        // instructions of 134,000.
        let moments = ["created", "exp", "last"].map(|column| {
            let moment = format!("timestamptz 'epoch' + {column} * interval '1 microsecond'");
            format!("ALTER {column} TYPE timestamptz USING {moment}")
        });
        let second =
            vec![format!("ALTER TABLE {kv} {}", moments.join(", ")), self.write_version(2)];
        let third = vec![
            format!("DROP INDEX IF EXISTS {kv}_exp"),
            format!("ALTER TABLE {kv} ADD due timestamptz"),
            // Not by an update, which would leave each row twice, and look at its foreign key.
            format!("ALTER TABLE {kv} ALTER due TYPE timestamptz USING exp"),
            format!("CREATE INDEX {kv}_due ON {kv} (due)"),
            self.write_version(3),
        ];
        let taken = usize::try_from(version).unwrap_or_default();
        [first, second, third].into_iter().skip(taken).flatten().collect()
    }

    /// A step may have been cut half way, as each statement commits: so each may be repeated.
    #[cfg(feature = "mysql")]
    pub(super) fn mysql_steps(&self, version: i64) -> Vec<String> {
        let Self { usr, sess, kv, .. } = self;
        if version >= 1 {
            return Vec::new();
        }
        let kind = "ENGINE=InnoDB ROW_FORMAT=DYNAMIC";
        vec![
            format!(
                "CREATE TABLE IF NOT EXISTS {usr} (u VARBINARY(256) NOT NULL, PRIMARY KEY (u), \
                 CHECK (OCTET_LENGTH(u) <= 256)) {kind}"
            ),
            format!(
                "CREATE TABLE IF NOT EXISTS {sess} (u VARBINARY(256) NOT NULL, \
                 s VARBINARY(256) NOT NULL, PRIMARY KEY (u, s), \
                 FOREIGN KEY (u) REFERENCES {usr} (u) ON DELETE CASCADE, \
                 CHECK (OCTET_LENGTH(s) <= 256 AND (OCTET_LENGTH(u) > 0 OR OCTET_LENGTH(s) = 0))) \
                 {kind}"
            ),
            format!(
                "CREATE TABLE IF NOT EXISTS {kv} (u VARBINARY(256) NOT NULL, \
                 s VARBINARY(256) NOT NULL, k VARBINARY(512) NOT NULL, v LONGBLOB NOT NULL, \
                 ver BIGINT NOT NULL, created BIGINT NOT NULL, exp BIGINT NULL, ttl BIGINT NULL, \
                 last BIGINT NULL, PRIMARY KEY (u, s, k), KEY {kv}_exp (exp), \
                 FOREIGN KEY (u, s) REFERENCES {sess} (u, s) ON DELETE CASCADE, \
                 CHECK (OCTET_LENGTH(k) BETWEEN 1 AND 512)) {kind}"
            ),
            self.write_version(1),
        ]
    }
}

/// # Errors
///
/// `Backend` where the tables have taken steps that are not known here.
pub(super) fn check(version: i64, known: i64) -> Result<()> {
    if version > known {
        let words = "the tables were made by a newer version of scopecache; update this one";
        return Err(Error::with_detail(ErrorKind::Backend, words));
    }
    Ok(())
}
