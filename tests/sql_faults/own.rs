//! Servers of a test's own: they start with nothing in them, and end with the test.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::ports::free_port;
use crate::server::{Server, home, until};

/// What a server is started with.
#[derive(Clone, Copy, Default)]
pub(crate) struct Setup<'a> {
    pub(crate) options: &'a [&'a str],
    /// By how much its clock is wrong, in the words of faketime.
    pub(crate) skew: Option<&'a str>,
    /// The size of the disk that it has for itself.
    pub(crate) disk_mib: Option<u32>,
    /// Follows the PostgreSQL server at this port.
    pub(crate) follows: Option<u16>,
}

/// A server of one kind, which a test may do anything to.
pub(crate) struct Own {
    pub(crate) server: Server,
    folder: PathBuf,
    command: Command,
    disk: Option<Disk>,
    child: Child,
}

impl Own {
    /// `purpose` names its folder.
    pub(crate) async fn start(kind: &str, purpose: &str, setup: Setup<'_>) -> Self {
        let folder = home().join("data").join(format!("{kind}-{purpose}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        let port = free_port();
        let disk = setup.disk_mib.map(|mib| Disk::new(&folder.join("disk"), mib));
        let program = home().join("programs").join(kind);
        let mut command = match &disk {
            Some(disk) => disk.run(&program),
            None => Command::new(program),
        };
        command.arg(disk.as_ref().map_or(&folder, |disk| &disk.folder)).arg(port.to_string());
        command.args(setup.options);
        if let Some(skew) = setup.skew {
            let library = "packages/faketime/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
            command.env("SCOPECACHE_PRELOAD", home().join(library));
            command.env("FAKETIME", skew).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        if let Some(primary) = setup.follows {
            let new = home().join("packages").join(format!("{kind}.new/data"));
            let copied = Command::new("cp").arg("-a").arg(new).arg(&folder).status();
            assert!(copied.expect("cp runs").success(), "the data are copied");
            File::create(folder.join("data/standby.signal")).expect("a file");
            let at = format!("primary_conninfo=host=127.0.0.1 port={primary} user=postgres");
            command.args(["-c", &at]);
        }
        let url = match kind.split('-').next() {
            Some("postgresql") => format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            Some("mysql") => {
                format!("mysql://root@127.0.0.1:{port}/scopecache?ssl-mode=DISABLED")
            }
            _ => format!("mysql://root@127.0.0.1:{port}/scopecache"),
        };
        let child = launch(&mut command, &folder);
        let own = Self { server: Server::new(kind, url), folder, command, disk, child };
        own.await_answer().await;
        own
    }

    /// By SIGKILL: it has no time to write anything.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().expect("it ends");
    }

    /// Starts it once more, on what it had stored.
    pub(crate) async fn start_again(&mut self) {
        self.child = launch(&mut self.command, &self.folder);
        self.await_answer().await;
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is a child").is_some()
    }

    /// Its small disk.
    pub(crate) fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("it was started with one")
    }

    async fn await_answer(&self) {
        until("the server answers", async || self.server.try_raw().await.is_ok()).await;
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn launch(command: &mut Command, folder: &Path) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("log")).expect("a log");
    let errors = log.try_clone().expect("a handle");
    let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
    let child = child.expect("scripts/backends has left the program");
    // By this `scripts/backends stop` ends it, should this process not come to that.
    fs::write(folder.join("pid"), child.id().to_string()).expect("a file");
    child
}

/// A disk of a given size, in memory, which only those see that are run on it.
///
/// It needs the right to mount in a namespace of its own: that of root, or user namespaces.
pub(crate) struct Disk {
    folder: PathBuf,
    /// Keeps the namespace until its input ends.
    holder: Child,
}

impl Disk {
    fn new(folder: &Path, mib: u32) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        let mut unshare = Command::new("unshare");
        if !is_root() {
            unshare.arg("--map-root-user");
        }
        let mount =
            format!("mount -t tmpfs -o mode=777,size={mib}m none \"$0\" && echo && exec cat");
        unshare.args(["--mount", "sh", "-c", &mount]).arg(folder);
        let holder = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut holder = holder.expect("unshare runs");
        let mut line = String::new();
        let out = holder.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("it can be read");
        assert_eq!(
            line, "\n",
            "a small disk cannot be mounted: that needs root or user namespaces"
        );
        Self { folder: folder.to_owned(), holder }
    }

    fn run(&self, program: &Path) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--target", &self.holder.id().to_string(), "--mount"]);
        if !is_root() {
            nsenter.args(["--user", "--preserve-credentials"]);
        }
        nsenter.arg(program);
        nsenter
    }

    fn ballast(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.folder.strip_prefix("/").expect("it is absolute")).join("ballast")
    }

    /// Leaves no byte free.
    pub(crate) fn fill(&self) {
        let mut file = File::create(self.ballast()).expect("a file");
        for bytes in [1 << 20, 1 << 12] {
            let zeros = vec![0; bytes];
            while file.write_all(&zeros).is_ok() {}
        }
    }

    /// Takes away what has filled it.
    pub(crate) fn free(&self) {
        fs::remove_file(self.ballast()).expect("it was filled");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("it can be read");
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}
