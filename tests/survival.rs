//! What a watcher is good for: a fill that ends its process without one, and does not with it.
//!
//! The same fill of a cache whose bound is far above the memory there is runs twice in a child
//! process, once with the watcher off and once with it on. The limit on memory is
//!
//! - that of a cgroup (version 2) made for the child, where the machine lets us make one: the
//!   kernel kills, and the watcher reads the kernel's own files, found by itself;
//! - else that on the child's address space (`RLIMIT_AS`): an allocation fails, which ends the
//!   process; before each part of the fill the child writes what the kernel would, the memory that
//!   it uses, into files of the kernel's format.
//!
//! Which of them it was is printed. Neither run is left out: what cannot be shown fails.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[path = "survival/child.rs"]
mod child;
#[cfg(target_os = "linux")]
#[path = "survival/parent.rs"]
mod parent;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some(child::FLAG) => child::run(&arguments[1..]),
        _ => parent::run(),
    }
    ExitCode::SUCCESS
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    use scopecache::{Cache, ErrorKind, PressureOptions, PressureWatcher};

    let cache: Cache = Cache::builder().build().expect("valid settings");
    let error = PressureWatcher::spawn(&cache, PressureOptions::new()).expect_err("no files");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    ExitCode::SUCCESS
}
