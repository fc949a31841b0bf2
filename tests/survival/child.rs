//! The process that fills a cache.

use std::fs;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use scopecache::{Cache, PressureOptions, PressureWatcher};

/// Says that this is one.
pub(crate) const FLAG: &str = "--fill";
/// The memory that it may use, in bytes.
pub(crate) const LIMIT_BYTES: u64 = 192 << 20;
/// What is written in all.
const FILL_BYTES: u64 = 4 * LIMIT_BYTES;
/// What is written before memory is looked at again: a good deal less than what is left from the
/// first step down to the limit.
const PART_BYTES: u64 = 2 << 20;
const VALUE: [u8; 900] = [7; 900];

/// Whether the cache is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watcher {
    Off,
    On,
}

/// Writes what a kernel would.
struct Kernel {
    dir: PathBuf,
    /// Resident before anything was written, and now.
    start_bytes: u64,
}

impl FromStr for Watcher {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "on" => Ok(Self::On),
            _ => Err(format!("{text}: a watcher is off or on")),
        }
    }
}

impl Kernel {
    fn new(dir: &str) -> Self {
        let kernel = Self { dir: dir.into(), start_bytes: resident_bytes() };
        kernel.write("memory.max", LIMIT_BYTES);
        kernel.account();
        kernel
    }

    fn write(&self, name: &str, number: u64) {
        let new = self.dir.join("new");
        fs::write(&new, format!("{number}\n")).expect("it can be written");
        fs::rename(new, self.dir.join(name)).expect("it can be renamed");
    }

    fn account(&self) {
        self.write("memory.current", resident_bytes().saturating_sub(self.start_bytes));
    }
}

/// Fills; the arguments are `off` or `on`, and a folder for files in the place of the kernel's, if
/// there is to be one. It begins when it is told to, and prints one line at its end.
pub(crate) fn run(arguments: &[String]) {
    let watcher: Watcher = arguments[0].parse().expect("a valid argument");
    // Whoever started it has it in a cgroup by then.
    io::stdin().lock().read_line(&mut String::new()).expect("told to begin");
    let kernel = arguments.get(1).map(|dir| {
        limit_address_space(LIMIT_BYTES + LIMIT_BYTES / 3);
        Kernel::new(dir)
    });
    let cache: Cache = Cache::builder()
        .max_bytes(4 * LIMIT_BYTES)
        .expected_entries(100_000)
        .build()
        .expect("valid settings");
    let scope = cache.user("ada").expect("a valid id");
    let mut options = PressureOptions::new().interval(Duration::from_millis(2));
    if let Some(kernel) = &kernel {
        options = options.cgroup(&kernel.dir);
    }
    let watcher = (watcher == Watcher::On)
        .then(|| PressureWatcher::spawn(&cache, options).expect("there is something to watch"));
    let keys_a_part = PART_BYTES / VALUE.len() as u64;
    for part in 0..FILL_BYTES / PART_BYTES {
        for key in part * keys_a_part..(part + 1) * keys_a_part {
            scope.set(key.to_be_bytes(), VALUE.as_slice()).expect("a full cache evicts");
        }
        kernel.iter().for_each(Kernel::account);
        if let Some(watcher) = &watcher {
            // The next part begins once the watcher has seen this one, on however busy a machine.
            let seen = watcher.figures().readings;
            while watcher.figures().readings < seen + 2 {
                std::thread::yield_now();
            }
        }
    }
    let figures = watcher.map(|watcher| watcher.figures());
    assert!(cache.stats().live_bytes > 0, "something of it is kept");
    println!("filled: {figures:?}");
}

/// The memory of this process that is in memory, in bytes.
fn resident_bytes() -> u64 {
    let pages = status(Path::new("/proc/self/statm"), 1);
    // SAFETY: it may always be asked.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64
}

fn limit_address_space(more_bytes: u64) {
    // SAFETY: as above.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    let most = status(Path::new("/proc/self/statm"), 0) * page + more_bytes;
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: a valid limit of this process.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0, "it is lowered");
}

/// A number in a file of numbers.
fn status(path: &Path, at: usize) -> u64 {
    let text = fs::read_to_string(path).expect("/proc is there");
    text.split_whitespace().nth(at).and_then(|number| number.parse().ok()).expect("a number")
}
