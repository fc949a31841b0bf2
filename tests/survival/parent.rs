//! Starts the fills, and judges how they end.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::child::{FLAG, LIMIT_BYTES};

/// What bounds a child's memory.
enum Bound {
    /// A cgroup of its own, gone with this.
    Cgroup(PathBuf),
    /// Its address space; files for its watcher are in this folder.
    AddressSpace(PathBuf),
}

pub(crate) fn run() {
    let bound = Bound::new();
    let off = bound.fill("off");
    let words = String::from_utf8_lossy(&off.stderr);
    // The kernel's signal, or that of a process whose allocation failed.
    let ends = if matches!(bound, Bound::Cgroup(_)) { libc::SIGKILL } else { libc::SIGABRT };
    assert_eq!(off.status.signal(), Some(ends), "unwatched: {}\n{words}", off.status);
    let on = bound.fill("on");
    let words = String::from_utf8_lossy(&on.stderr);
    assert!(on.status.success(), "watched: {}\n{words}", on.status);
    let told = String::from_utf8_lossy(&on.stdout);
    assert!(told.starts_with("filled: Some"), "{told}");
    println!("{}: unwatched {}; watched: {}", bound.name(), off.status, told.trim());
}

impl Bound {
    fn new() -> Self {
        if let Some(cgroup) = cgroup() {
            return Self::Cgroup(cgroup);
        }
        let name = format!("scopecache-survival-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).expect("a temporary folder");
        Self::AddressSpace(dir)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Cgroup(_) => "cgroup",
            Self::AddressSpace(_) => "address space (no cgroup of version 2 with memory to be had)",
        }
    }

    /// Starts a child, puts it where its memory is bounded, and lets it fill.
    fn fill(&self, watcher: &str) -> Output {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args([FLAG, watcher]).stdin(Stdio::piped());
        if let Self::AddressSpace(dir) = self {
            // One arena: others take 64 MiB of addresses each, used or not.
            command.arg(dir).env("MALLOC_ARENA_MAX", "1");
        }
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("it starts");
        if let Self::Cgroup(cgroup) = self {
            let id = child.id().to_string();
            fs::write(cgroup.join("cgroup.procs"), id).expect("it can be moved there");
        }
        child.stdin.take().expect("piped").write_all(b"begin\n").expect("it listens");
        child.wait_with_output().expect("it ends")
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // What is left harms nobody.
        let _ = match self {
            Self::Cgroup(cgroup) => fs::remove_dir(cgroup),
            Self::AddressSpace(dir) => fs::remove_dir_all(dir),
        };
    }
}

/// A new cgroup with a limit on memory, in that of this process or one that it is in; none where
/// that cannot be had.
fn cgroup() -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let name = format!("scopecache-survival-{}", std::process::id());
    Path::new(path).ancestors().find_map(|above| {
        let cgroup = root.join(above).join(&name);
        fs::create_dir(&cgroup).ok()?;
        // The kernel fills a new cgroup with files; a folder elsewhere stays empty.
        let controllers = fs::read_to_string(cgroup.join("cgroup.controllers")).unwrap_or_default();
        let limited = controllers.split_whitespace().any(|name| name == "memory")
            && fs::write(cgroup.join("memory.max"), LIMIT_BYTES.to_string()).is_ok();
        // Where there is swap, it is no way out.
        let swap = cgroup.join("memory.swap.max");
        let all = limited && (!swap.exists() || fs::write(swap, "0").is_ok());
        if !all {
            // An empty one goes.
            let _ = fs::remove_dir(&cgroup);
        }
        all.then_some(cgroup)
    })
}
