//! The servers that `scripts/backends` has started, and what is done to them.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use scopecache::{Result, SqlOptions, SqlStorage};
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection, Row, raw_sql};
use tokio::runtime::Runtime;

/// How long anything may take that is waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// Kinds of servers; one test at a time has a kind.
const KINDS: [&str; 3] = ["postgresql-15", "mariadb-10.11", "mysql-9"];
static TURNS: [Mutex<()>; 3] = [const { Mutex::new(()) }; 3];

static PREFIXES: AtomicUsize = AtomicUsize::new(0);

/// A server, and tables of a test of their own there.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) prefix: String,
}

/// A connection beside the storage.
pub(crate) enum Raw {
    Postgres(PgConnection),
    MySql(MySqlConnection),
}

/// Tries the fault on every kind of server that there is, side by side.
///
/// # Panics
///
/// As [`kinds`].
pub(crate) fn on_each(fault: impl AsyncFn(&Server) + Sync) {
    let list = list();
    on_kinds(&kinds(), async |kind| {
        let url = url_of(kind, &list).expect("it runs");
        fault(&Server::new(kind, url.into())).await;
    });
}

/// Gives the fault the names of all kinds, or some, side by side.
pub(crate) fn on_kinds(kinds: &[&str], fault: impl AsyncFn(&str) + Sync) {
    thread::scope(|scope| {
        for (kind, turn) in KINDS.iter().zip(&TURNS).filter(|(kind, _)| kinds.contains(*kind)) {
            let fault = &fault;
            let trial = move || {
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                Runtime::new().expect("threads and a timer").block_on(fault(kind));
            };
            let named = thread::Builder::new().name((*kind).to_owned());
            named.spawn_scoped(scope, trial).expect("a thread");
        }
    });
}

/// The kinds of servers that there are: PostgreSQL, MariaDB, and MySQL where it was started too.
///
/// # Panics
///
/// Where one of the others does not run: tests that try nothing prove nothing.
pub(crate) fn kinds() -> Vec<&'static str> {
    let (list, mut kinds) = (list(), KINDS.to_vec());
    kinds.retain(|&kind| {
        let runs = url_of(kind, &list).is_some();
        assert!(runs || kind == "mysql-9", "{kind} does not run");
        runs
    });
    kinds
}

/// Names and addresses of what runs.
fn list() -> String {
    std::fs::read_to_string(home().join("servers")).expect("the list of servers can be read")
}

fn url_of<'a>(kind: &str, list: &'a str) -> Option<&'a str> {
    list.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))
}

/// Where servers lie; see scripts/backends.
pub(crate) fn home() -> PathBuf {
    let list = std::env::var("SCOPECACHE_SERVERS")
        .expect("SCOPECACHE_SERVERS names no file; run scripts/backends test");
    PathBuf::from(list).canonicalize().expect("it is there").parent().expect("a folder").into()
}

impl Server {
    /// One that runs, and tables of their own there.
    pub(crate) fn new(name: &str, url: String) -> Self {
        // Relaxed: only uniqueness is asked for.
        let number = PREFIXES.fetch_add(1, Ordering::Relaxed);
        Self { name: name.into(), url, prefix: format!("f{}_{number}_", std::process::id()) }
    }

    /// Without cleaning in the background, so that figures are those of the calls.
    pub(crate) fn options(&self) -> SqlOptions {
        SqlOptions::new().prefix(&self.prefix).clean_every(None)
    }

    pub(crate) async fn connect(&self) -> Result<SqlStorage> {
        self.options().connect(&self.url).await
    }

    pub(crate) async fn raw(&self) -> Raw {
        self.try_raw().await.expect("the server answers")
    }

    pub(crate) async fn try_raw(&self) -> sqlx::Result<Raw> {
        if self.is_postgres() {
            PgConnection::connect(&self.url).await.map(Raw::Postgres)
        } else {
            MySqlConnection::connect(&self.url).await.map(Raw::MySql)
        }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }

    pub(crate) fn port(&self) -> u16 {
        let (_, rest) = self.url.rsplit_once(':').expect("the address has a port");
        rest.split('/').next().and_then(|port| port.parse().ok()).expect("a number")
    }

    /// Where it lives.
    pub(crate) fn folder(&self) -> PathBuf {
        home().join("data").join(&self.name)
    }

    fn pid(&self) -> u32 {
        let file = self.folder().join("pid");
        let pid = std::fs::read_to_string(file).expect("the server has left its process id");
        pid.trim().parse().expect("a number")
    }

    fn signal(signal: &str, pid: u32) {
        let status = Command::new("kill").args([signal, &pid.to_string()]).status();
        // One of several processes may have ended by itself.
        assert!(status.is_ok(), "kill can be run");
    }

    /// Kills the server as a power cut would, as far as it is concerned.
    pub(crate) fn kill(&self) {
        Self::signal("-KILL", self.pid());
    }

    /// Starts it again, on its old port and data.
    pub(crate) fn revive(&self) {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/backends");
        let mut script = Command::new(script);
        script.args(["revive", &self.name, &self.port().to_string()]);
        let status = script.stdout(Stdio::null()).status().expect("the script can be run");
        assert!(status.success(), "{} does not start again", self.name);
    }

    /// Stops all of its processes where they are, until the answer is dropped.
    pub(crate) fn pause(&self) -> Paused {
        let pid = self.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let mut pids = vec![pid];
        pids.extend(children.unwrap_or_default().split_whitespace().flat_map(str::parse::<u32>));
        for &pid in &pids {
            Self::signal("-STOP", pid);
        }
        Paused(pids)
    }

    /// Connections of this machine to the server that neither side has ended.
    pub(crate) fn open_connections(&self) -> usize {
        let table = std::fs::read_to_string("/proc/self/net/tcp").expect("it can be read");
        let port = format!(":{:04X}", self.port());
        let is_open = |line: &&str| {
            let mut fields = line.split_whitespace().skip(2);
            fields.next().is_some_and(|remote| remote.ends_with(&port))
                && fields.next() == Some("01")
        };
        table.lines().filter(is_open).count()
    }

    /// The number of rows of all tables but the one of the version.
    pub(crate) async fn rows(&self) -> i64 {
        let mut raw = self.raw().await;
        let mut rows = 0;
        for table in ["usr", "sess", "kv"] {
            rows += raw.number(&format!("SELECT COUNT(*) FROM {}{table}", self.prefix)).await;
        }
        rows
    }
}

/// A server that does nothing until this is dropped.
pub(crate) struct Paused(Vec<u32>);

impl Drop for Paused {
    fn drop(&mut self) {
        for &pid in &self.0 {
            Server::signal("-CONT", pid);
        }
    }
}

impl Raw {
    pub(crate) async fn run(&mut self, sql: &str) -> sqlx::Result<u64> {
        let sql = AssertSqlSafe(sql);
        Ok(match self {
            Self::Postgres(raw) => raw_sql(sql).execute(raw).await?.rows_affected(),
            Self::MySql(raw) => raw_sql(sql).execute(raw).await?.rows_affected(),
        })
    }

    /// The first number of the first row.
    pub(crate) async fn number(&mut self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql);
        let number = match self {
            Self::Postgres(raw) => sqlx::query(sql).fetch_one(raw).await.map(|row| row.get(0)),
            Self::MySql(raw) => sqlx::query(sql).fetch_one(raw).await.map(|row| row.get(0)),
        };
        number.expect("a number")
    }

    /// Whether somebody waits for a lock of a row.
    pub(crate) async fn sees_a_wait(&mut self) -> bool {
        let waits = match self {
            Self::Postgres(_) => "SELECT count(*) FROM pg_locks WHERE NOT granted",
            Self::MySql(_) => {
                "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
            }
        };
        if let Self::MySql(_) = self {
            // The table shows what it showed to whoever looked less than 100 ms ago.
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        self.number(waits).await > 0
    }
}

/// Returns once `holds` does.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < LIMIT, "{what}: not so after {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
