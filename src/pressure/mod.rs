//! A thread that lowers the bound of a cache while the system is short of memory.
//!
//! It reads what Linux says of the process's cgroup and of stalls ([`files`]), decides by plain
//! arithmetic ([`steps`]), and does what anybody may: `set_max_bytes` and `shrink_to`.

#[cfg(target_os = "linux")]
mod files;
mod options;
mod steps;

use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

pub use self::options::PressureOptions;
#[cfg(target_os = "linux")]
use self::steps::{Reading, Rules, State, Step};
use crate::cache::Cache;
use crate::error::{Error, ErrorKind, Result};
use crate::value::Value;

/// Lowers the bound of a cache while memory is short, and restores it afterwards; on Linux.
///
/// A thread named `scopecache-mem` reads, each second, how much of its limit the process's cgroup
/// (version 2) uses, that of each cgroup which it is in, and how long tasks stalled for memory
/// (`memory.pressure`, `/proc/pressure/memory`).
///
/// | reading | step |
/// |---|---|
/// | 90 % of a limit (`memory.max` or `memory.high`) or more are used | the bound becomes 3/4 of what the cache holds, at once and at each such reading, down to the floor |
/// | some task stalled for 10 % of ten seconds or more (`some avg10`) | the same; then not for stalls alone during the next ten readings, as the figure is an average of the past |
/// | ten readings in a row below 80 % and below 1 % | the bound goes up by 1/8 of the configured one, unless that might bring use to 90 % again |
/// | between these | none |
///
/// A lower bound is made good at once: what is beyond it is evicted by this thread
/// ([`Cache::shrink_to`]) and, with glibc, given back to the system (`malloc_trim`). With
/// [`OnFull::Reject`](crate::OnFull::Reject) nothing is evicted: growth is refused. What the
/// system keeps of files and can drop (`inactive_file`) does not count as used.
///
/// The configured bound is that of the cache when the watcher begins, or what anybody sets by
/// [`Cache::set_max_bytes`] later. A reading that fails changes nothing and is counted.
///
/// The thread ends with the cache. Dropping the watcher ends it too, and restores the bound.
///
/// ```no_run
/// use scopecache::{Cache, PressureOptions, PressureWatcher};
///
/// # fn main() -> scopecache::Result<()> {
/// let cache: Cache = Cache::builder().max_bytes(1 << 30).build()?;
/// let watcher = PressureWatcher::spawn(&cache, PressureOptions::new())?;
/// println!("{:?}", watcher.figures());
/// # Ok(()) }
/// ```
#[must_use = "a watcher that is dropped watches no more"]
pub struct PressureWatcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What a [`PressureWatcher`] has seen and done.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PressureFigures {
    /// Readings, those that failed included.
    pub readings: u64,
    /// Readings that failed, and changed nothing.
    pub failed_readings: u64,
    /// How often the bound was lowered.
    pub lowered: u64,
    /// How often it was raised again by a step.
    pub raised: u64,
    /// The bound at present, in bytes.
    pub bound_bytes: u64,
    /// The bound to come back to, in bytes.
    pub configured_bytes: u64,
    /// The part of the tightest limit that was used when it was last read, 0 to 1; `None` where
    /// there is no limit.
    pub usage: Option<f64>,
    /// Percent of the last ten seconds that some task stalled; `None` where the system does not tell.
    pub stalled: Option<f64>,
}

/// What thread and watcher share.
#[derive(Default)]
struct Shared {
    /// The figures, and whether to stop.
    state: Mutex<(PressureFigures, bool)>,
}

impl Shared {
    fn with<R>(&self, f: impl FnOnce(&mut (PressureFigures, bool)) -> R) -> R {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PressureWatcher {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// `InvalidOptions` where they make no sense; `Closed`; `Unavailable` where there is nothing to
    /// watch: a file is missing or malformed (the source says which), the system is not Linux, or it
    /// gives no thread.
    pub fn spawn<V, S>(cache: &Cache<V, S>, options: PressureOptions) -> Result<Self>
    where
        V: Value,
        S: BuildHasher<Hasher: Clone> + Send + Sync + 'static,
    {
        if cache.is_closed() {
            return Err(Error::new(ErrorKind::Closed));
        }
        let rules = options.rules(cache.capacity_bytes())?;
        watch(cache, &options, rules)
    }

    /// What it has seen and done.
    pub fn figures(&self) -> PressureFigures {
        self.shared.with(|(figures, _)| *figures)
    }

    /// Whether it still watches: until its cache is closed or gone.
    pub fn is_watching(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for PressureWatcher {
    fn drop(&mut self) {
        self.shared.with(|(_, stop)| *stop = true);
        let Some(thread) = self.thread.take() else { return };
        thread.thread().unpark();
        if thread.thread().id() != thread::current().id() {
            // An error is a panic of the thread, which has been reported.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for PressureWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PressureWatcher").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

#[cfg(not(target_os = "linux"))]
fn watch<V: Value, S>(
    _: &Cache<V, S>,
    _: &PressureOptions,
    _: steps::Rules,
) -> Result<PressureWatcher> {
    Err(Error::with_detail(ErrorKind::Unavailable, "only Linux says how short memory is"))
}

#[cfg(target_os = "linux")]
fn watch<V, S>(
    cache: &Cache<V, S>,
    options: &PressureOptions,
    rules: Rules,
) -> Result<PressureWatcher>
where
    V: Value,
    S: BuildHasher<Hasher: Clone> + Send + Sync + 'static,
{
    let unavailable = |error| Error::with_source(ErrorKind::Unavailable, error);
    let files = files::Files::find(options.cgroup.as_deref(), options.stall_file.as_deref())
        .map_err(unavailable)?;
    let mut watch = Watch { rules, state: State::new(rules.configured_bytes), files };
    let shared = Arc::new(Shared::default());
    shared.with(|(figures, _)| watch.show(figures));
    let (weak, watched, interval) = (cache.downgrade(), Arc::clone(&shared), options.interval);
    let thread = thread::Builder::new()
        .name("scopecache-mem".into())
        .spawn(move || {
            loop {
                let stops = watched.with(|(_, stop)| *stop);
                let Some(cache) = weak.upgrade() else { return };
                if stops {
                    watch.restore(&cache);
                    return;
                }
                if cache.is_closed() {
                    return;
                }
                watch.round(&cache, &watched);
                drop(cache);
                thread::park_timeout(interval);
            }
        })
        .map_err(unavailable)?;
    Ok(PressureWatcher { shared, thread: Some(thread) })
}

/// What the thread has.
#[cfg(target_os = "linux")]
struct Watch {
    rules: Rules,
    state: State,
    files: files::Files,
}

#[cfg(target_os = "linux")]
impl Watch {
    /// Reads, decides, and does it.
    fn round<V: Value, S>(&mut self, cache: &Cache<V, S>, shared: &Shared) {
        let bound = cache.capacity_bytes();
        if bound != self.state.bound_bytes {
            // Somebody else's: that is the one to come back to.
            self.rules = self.rules.configured_to(bound);
            self.state = State::new(bound);
        }
        let Ok((level, stalled)) = self.files.read() else {
            shared.with(|(figures, _)| {
                figures.readings += 1;
                figures.failed_readings += 1;
            });
            return;
        };
        let reading = Reading { level, stalled, cache_bytes: cache.stats().live_bytes };
        let (state, step) = self.state.after(&reading, &self.rules);
        self.state = state;
        let bound = state.bound_bytes;
        // Neither fails but on a cache that was just closed.
        match step {
            Step::Stay => {}
            Step::Lower => {
                let _ = cache.set_max_bytes(bound);
                cache.shrink_to(bound);
                give_back();
            }
            Step::Raise => _ = cache.set_max_bytes(bound),
        }
        shared.with(|(figures, _)| {
            figures.readings += 1;
            figures.lowered += u64::from(step == Step::Lower);
            figures.raised += u64::from(step == Step::Raise);
            figures.usage = level.map(|level| level.usage());
            figures.stalled = stalled;
            self.show(figures);
        });
    }

    fn restore<V: Value, S>(&self, cache: &Cache<V, S>) {
        if cache.capacity_bytes() == self.state.bound_bytes {
            // Fails on a closed cache alone.
            let _ = cache.set_max_bytes(self.rules.configured_bytes);
        }
    }

    fn show(&self, figures: &mut PressureFigures) {
        figures.bound_bytes = self.state.bound_bytes;
        figures.configured_bytes = self.rules.configured_bytes;
    }
}

/// Gives what was freed back to the system, where the allocator is glibc's; it keeps it otherwise.
#[cfg(target_os = "linux")]
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time from any thread; where another allocator is in use, it
    // finds next to nothing.
    unsafe {
        libc::malloc_trim(0);
    }
}
