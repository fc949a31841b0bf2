//! Loom with what makes its "passed" worth something: a bound, and a least number of executions.

use std::cell::RefCell;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::Instant;

struct Run {
    name: &'static str,
    executions: Arc<AtomicU64>,
    start: Instant,
}

std::thread_local! {
    /// The exploration of this thread: loom runs a model's threads all on one.
    static RUN: RefCell<Option<Run>> = const { RefCell::new(None) };
}

/// Runs `execution` in every interleaving with at most `bound` preemptions and reports how many
/// there were.
///
/// A failure ends the process: unwinding would drop atomics of a model that is over, in threads
/// that are suspended for ever.
///
/// # Panics
///
/// Where the executions are fewer than `least`: then loom has not seen the race.
pub fn explore(
    name: &'static str,
    bound: usize,
    least: u64,
    execution: impl Fn() + Send + Sync + 'static,
) {
    report_failures();
    let executions = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    RUN.set(Some(Run { name, executions: Arc::clone(&executions), start }));
    let mut builder = loom::model::Builder::new();
    // Never less than what the model asks for; more by hand.
    let asked = std::env::var("SCOPECACHE_LOOM_BOUND").ok().and_then(|bound| bound.parse().ok());
    let bound = asked.unwrap_or(0).max(bound);
    builder.preemption_bound = Some(bound);
    builder.max_branches = 10_000;
    let counted = Arc::clone(&executions);
    traced(|| {
        builder.check(move || {
            // A std atomic, which loom does not see. Relaxed: there is one thread of the system.
            counted.fetch_add(1, Ordering::Relaxed);
            execution();
        });
    });
    // Relaxed: as above.
    let executions = executions.load(Ordering::Relaxed);
    let seconds = start.elapsed().as_secs_f64();
    RUN.set(None);
    say(&format!("model {name}: bound {bound}, {executions} executions, {seconds:.1} s"));
    assert!(executions >= least, "{name}: {executions} executions, {least} at least");
}

/// Runs `actors` at once on `subject`, a thread each; what they answer.
pub fn at_once<T, R>(subject: &Arc<T>, actors: &'static [fn(&T) -> R]) -> Vec<R>
where
    T: Send + Sync + 'static,
    R: Send + 'static,
{
    let start = |actor: &'static fn(&T) -> R| {
        let subject = Arc::clone(subject);
        loom::thread::spawn(move || actor(&subject))
    };
    let threads: Vec<_> = actors.iter().map(start).collect();
    threads.into_iter().map(|thread| thread.join().expect("a failure ends it")).collect()
}

/// Prints what loom does if `LOOM_LOG=trace` asks for it: for one execution that failed, see
/// `docs/verification.md`.
fn traced(run: impl FnOnce()) {
    if std::env::var_os("LOOM_LOG").is_none() {
        return run();
    }
    let subscriber = tracing_subscriber::fmt::Subscriber::builder()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("LOOM_LOG"))
        .with_writer(std::io::stderr)
        .without_time()
        .finish();
    tracing::subscriber::with_default(subscriber, run);
}

/// Written past the capture of the test harness, on a line of its own.
fn say(line: &str) {
    // A closed stderr is no reason to fail.
    let _ = writeln!(std::io::stderr(), "\n{line}");
}

fn report_failures() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let run = RUN.try_with(|run| run.take()).ok().flatten();
            let Some(run) = run else { return usual(info) };
            // Relaxed: as in `explore`.
            let executions = run.executions.load(Ordering::Relaxed);
            let seconds = run.start.elapsed().as_secs_f64();
            let name = run.name;
            say(&format!("model {name} FAILED: {executions} executions, {seconds:.1} s\n{info}"));
            std::process::exit(101);
        }));
    });
}
