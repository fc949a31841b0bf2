//! Servers of a test's own, which it may kill, pause and mistreat, and a line to them that breaks.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use redis::{Client, Cmd, FromRedisValue};
use scopecache::{RedisOptions, RedisStorage, Result};

use crate::load::PASSWORD;
use crate::ports::free_port;

/// The file of a sentinel, where it also writes down what it learns.
const SENTINEL: &str = "sentinel.conf";

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What becomes of a primary.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    Killed,
    /// It ends no connection, and goes on later as if nothing had been.
    Paused,
}

/// A server that a test may do anything to; it ends with this.
pub(crate) struct Server {
    name: String,
    pub(crate) port: u16,
    folder: PathBuf,
    /// Its clock goes wrong by so much, in the words of faketime.
    skew: Option<String>,
    args: Vec<String>,
    child: Child,
}

impl Server {
    /// `name` is that of a running server of the list; this one is of the same kind. `purpose` names
    /// its folder.
    pub(crate) fn start(name: &str, purpose: &str, args: &[&str]) -> Self {
        Self::start_at(name, purpose, args, None)
    }

    pub(crate) fn start_at(name: &str, purpose: &str, args: &[&str], skew: Option<&str>) -> Self {
        Self::start_in(name, empty_folder(name, purpose), args, skew)
    }

    /// One that watches others, as its configuration says.
    pub(crate) fn start_sentinel(name: &str, purpose: &str, configuration: &str) -> Self {
        let folder = empty_folder(name, purpose);
        std::fs::write(folder.join(SENTINEL), configuration).expect("a file");
        Self::start_in(name, folder, &["--sentinel"], None)
    }

    fn start_in(name: &str, folder: PathBuf, args: &[&str], skew: Option<&str>) -> Self {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let skew = skew.map(str::to_owned);
        let port = free_port();
        let child = launch(name, port, &folder, &args, skew.as_deref());
        let mut server = Self { name: name.to_owned(), port, folder, skew, args, child };
        server.await_answer();
        server
    }

    /// That of its kind.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn url(&self) -> String {
        url(self.port)
    }

    /// A command past the storage.
    pub(crate) fn ask<T: FromRedisValue>(&self, command: &Cmd) -> T {
        self.try_ask(command).expect("the server answers")
    }

    pub(crate) fn try_ask<T: FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        let client = Client::open(self.url())?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(2))?;
        command.query(&mut connection)
    }

    /// A client of its own, for a look at what is there.
    pub(crate) async fn other(&self) -> RedisStorage {
        client(self.port, Duration::from_secs(10)).await.expect("connects")
    }

    /// By SIGKILL: it has no time to write anything.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the server is there");
        self.child.wait().expect("it ends");
    }

    /// What it had stored is there again.
    pub(crate) fn start_again(&mut self) {
        let skew = self.skew.as_deref();
        self.child = launch(&self.name, self.port, &self.folder, &self.args, skew);
        self.await_answer();
    }

    pub(crate) fn suffer(&mut self, fault: Fault) {
        match fault {
            Fault::Killed => self.kill(),
            Fault::Paused => self.pause(),
        }
    }

    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let done = Command::new("kill").args([signal, &pid]).status().expect("kill runs");
        assert!(done.success(), "the server is there");
    }

    fn await_answer(&mut self) {
        until("the server answers", || {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                panic!("the server does not start, {status}: {log}");
            }
            self.try_ask::<String>(&redis::cmd("PING")).is_ok()
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that is paused or dead already is no reason to fail.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A certificate of its own authority for 127.0.0.1, by the name of the server that it is for.
pub(crate) struct Certificate {
    folder: PathBuf,
}

impl Certificate {
    pub(crate) fn new(name: &str) -> Self {
        let folder = home().join("data").join(format!("{name}-certificate"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        openssl.args(["-nodes", "-days", "2", "-subj", "/CN=test"]);
        openssl.args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", CONSTRAINTS]);
        openssl.args(["-keyout", "key.pem", "-out", "cert.pem"]).current_dir(&folder);
        let made = openssl.stderr(Stdio::null()).status().expect("openssl runs");
        assert!(made.success(), "openssl makes a certificate");
        Self { folder }
    }

    pub(crate) fn pem(&self) -> Vec<u8> {
        std::fs::read(self.folder.join("cert.pem")).expect("it was made")
    }

    /// What a server is started with that speaks TLS on another port.
    pub(crate) fn args(&self, port: u16) -> Vec<String> {
        let path = |file| self.folder.join(file).display().to_string();
        [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", path("cert.pem")),
            ("--tls-key-file", path("key.pem")),
            ("--tls-ca-cert-file", path("cert.pem")),
            ("--tls-auth-clients", "no".into()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }
}

/// The driver's verifier takes no certificate of an authority as a server's own.
const CONSTRAINTS: &str = "basicConstraints=critical,CA:FALSE";

/// A client with a password and a prefix, which errors are not to show.
pub(crate) async fn client(port: u16, timeout: Duration) -> Result<RedisStorage> {
    client_of(&url(port), timeout).await
}

pub(crate) async fn client_of(url: &str, timeout: Duration) -> Result<RedisStorage> {
    RedisOptions::new().prefix("t:").timeout(timeout).connect(url).await
}

pub(crate) fn url(port: u16) -> String {
    format!("redis://:{PASSWORD}@127.0.0.1:{port}")
}

/// Where servers lie; see scripts/backends.
pub(crate) fn home() -> PathBuf {
    let list = std::env::var("SCOPECACHE_SERVERS").expect("see `servers`");
    PathBuf::from(list).parent().expect("a folder").to_owned()
}

/// Waits for a state of the world.
///
/// # Panics
///
/// Where it does not come about.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "never came about: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn empty_folder(name: &str, purpose: &str) -> PathBuf {
    let folder = home().join("data").join(format!("{name}-{purpose}"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn launch(name: &str, port: u16, folder: &Path, args: &[String], skew: Option<&str>) -> Child {
    let log = std::fs::File::create(folder.join("log")).expect("a log");
    let mut command = Command::new(home().join("programs").join(name));
    command.args(["--port", &port.to_string(), "--dir"]).arg(folder);
    command.args(["--requirepass", PASSWORD, "--masterauth", PASSWORD]).args(args);
    if let Some(skew) = skew {
        let library = "packages/faketime/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
        command.env("SCOPECACHE_PRELOAD", home().join(library));
        command.env("FAKETIME", skew).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
    if folder.join(SENTINEL).exists() {
        command.env("SCOPECACHE_CONFIG", folder.join(SENTINEL));
    }
    command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
    let child = command.spawn().expect("scripts/backends has left the program");
    // By this `scripts/backends stop` ends it, should this process not come to that.
    std::fs::write(folder.join("pid"), child.id().to_string()).expect("a file");
    child
}

/// A line to a server: it counts round trips, and breaks in the middle of answers.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: AtomicU16,
    /// How often somebody sent after the server had.
    turns: AtomicU64,
    client_was_last: AtomicBool,
    /// Bytes of answers after which a connection is cut; none are where this is negative.
    cut_after: AtomicI64,
    cuts: AtomicU64,
    /// Nobody gets through any more.
    is_dead: AtomicBool,
}

impl Proxy {
    pub(crate) fn new(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared {
            server: server.into(),
            turns: 0.into(),
            client_was_last: false.into(),
            cut_after: (-1).into(),
            cuts: 0.into(),
            is_dead: false.into(),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { continue };
                // A client that finds nobody sees its connection end.
                let server = TcpStream::connect(("127.0.0.1", accepting.server.load(SeqCst)));
                if let (Ok(server), false) = (server, accepting.is_dead.load(SeqCst)) {
                    forward(client, server, accepting.clone());
                }
            }
        });
        Self { port, shared }
    }

    /// Round trips so far: of one client that does one thing at a time.
    pub(crate) fn turns(&self) -> u64 {
        self.shared.turns.load(SeqCst)
    }

    /// Cuts each connection after so many bytes of answers.
    pub(crate) fn cut_after(&self, bytes: i64) {
        self.shared.cut_after.store(bytes, SeqCst);
    }

    pub(crate) fn cuts(&self) -> u64 {
        self.shared.cuts.load(SeqCst)
    }

    /// Cuts all connections as soon as anything is sent, and lets nobody through any more: who was
    /// behind it is dead to the server.
    pub(crate) fn die(&self) {
        self.shared.is_dead.store(true, SeqCst);
    }
}

/// Two threads that copy until one side ends or is cut.
fn forward(client: TcpStream, server: TcpStream, shared: Arc<Shared>) {
    let pairs =
        [(&client, &server, true), (&server, &client, false)].map(|(from, to, of_client)| {
            (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"), of_client)
        });
    for (mut from, mut to, of_client) in pairs {
        let shared = shared.clone();
        let _ = from.set_nodelay(true);
        thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            let mut answered = 0;
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                if shared.client_was_last.swap(of_client, SeqCst) != of_client && of_client {
                    shared.turns.fetch_add(1, SeqCst);
                }
                let limit = shared.cut_after.load(SeqCst);
                let left = match limit {
                    0.. if !of_client => usize::try_from(limit - answered).unwrap_or(0),
                    _ => usize::MAX,
                };
                answered += read as i64;
                let is_cut = left < read || shared.is_dead.load(SeqCst);
                if to.write_all(&buffer[..read.min(left)]).is_err() {
                    break;
                }
                if is_cut {
                    shared.cuts.fetch_add(1, SeqCst);
                    break;
                }
            }
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}
