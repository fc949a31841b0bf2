//! Counters and histograms, each looked up once.

use std::cell::Cell;
use std::time::Duration;

use metrics::{
    Counter, Histogram, IntoF64, Label, Unit, counter, describe_counter, describe_gauge,
    describe_histogram, gauge, histogram,
};

use super::call::{Cause, Done, Op, Scope};
use crate::cache::Stats;

pub(super) struct Meters {
    /// The label of the storage, if it has a name.
    name: Option<Label>,
    by_scope: [Scoped; Scope::ALL.len()],
    removals: [Counter; Cause::ALL.len()],
    seconds: [Histogram; Op::ALL.len()],
    /// Whether somebody hears how long a call took.
    times: [bool; Op::ALL.len()],
}

/// A figure that tells whether it was asked for.
struct Asked<'a>(&'a Cell<bool>);

/// What is counted for each kind of namespace.
struct Scoped {
    hits: Counter,
    misses: Counter,
    stored: Counter,
    unmet: Counter,
}

impl Meters {
    pub(super) fn new(name: Option<&'static str>) -> Self {
        describe();
        let name = name.map(|name| Label::from_static_parts("storage", name));
        let labels = |own: &[(&'static str, &'static str)]| labels(name.as_ref(), own);
        let by_scope = Scope::ALL.map(|scope| {
            let both = |result| labels(&[("result", result), ("scope", scope.name())]);
            Scoped {
                hits: counter!("scopecache_gets_total", both("hit")),
                misses: counter!("scopecache_gets_total", both("miss")),
                stored: counter!("scopecache_puts_total", both("stored")),
                unmet: counter!("scopecache_puts_total", both("unmet")),
            }
        });
        let removals = Cause::ALL
            .map(|cause| counter!("scopecache_removals_total", labels(&[("cause", cause.name())])));
        let seconds = Op::ALL
            .map(|op| histogram!("scopecache_op_duration_seconds", labels(&[("op", op.name())])));
        let times = Op::ALL.map(|op| is_heard(&seconds[op as usize]));
        Self { name, by_scope, removals, seconds, times }
    }

    pub(super) fn times(&self, op: Op) -> bool {
        self.times[op as usize]
    }

    pub(super) fn count(
        &self,
        op: Op,
        scope: Scope,
        answer: Result<Done, &'static str>,
        took: Option<Duration>,
    ) {
        if let Some(took) = took {
            self.seconds[op as usize].record(took);
        }
        let scoped = &self.by_scope[scope as usize];
        match answer {
            Ok(Done::Read { hits, misses }) => {
                add(&scoped.hits, hits);
                add(&scoped.misses, misses);
            }
            Ok(Done::Stored(values)) => add(&scoped.stored, values),
            Ok(Done::Unmet) => scoped.unmet.increment(1),
            Ok(Done::Removed { cause, entries }) => add(&self.removals[cause as usize], entries),
            Ok(Done::Other) => {}
            // Rare, and of many kinds: looked up each time.
            Err(kind) => {
                let labels = labels(self.name.as_ref(), &[("op", op.name()), ("kind", kind)]);
                counter!("scopecache_errors_total", labels).increment(1);
            }
        }
    }

    pub(super) fn record(&self, stats: &Stats) {
        let figures = [
            ("scopecache_entries", stats.entries),
            ("scopecache_users", stats.users),
            ("scopecache_sessions", stats.sessions),
            ("scopecache_bytes", stats.live_bytes),
            ("scopecache_retired_bytes", stats.retired_bytes),
            ("scopecache_pending_reclaim_bytes", stats.pending_reclaim_bytes),
            ("scopecache_reclaim_pending", u64::from(stats.reclaim_pending)),
            ("scopecache_table_bytes", stats.table_bytes),
        ];
        for (name, figure) in figures {
            gauge!(name, labels(self.name.as_ref(), &[])).set(figure as f64);
        }
    }
}

fn labels(name: Option<&Label>, own: &[(&'static str, &'static str)]) -> Vec<Label> {
    let own = own.iter().map(|&(key, value)| Label::from_static_parts(key, value));
    own.chain(name.cloned()).collect()
}

/// Whether a recorder stands behind the histogram. Nothing is recorded by asking: a figure, no times.
fn is_heard(histogram: &Histogram) -> bool {
    let asked = Cell::new(false);
    histogram.record_many(Asked(&asked), 0);
    asked.get()
}

impl IntoF64 for Asked<'_> {
    fn into_f64(self) -> f64 {
        self.0.set(true);
        0.0
    }
}

fn add(counter: &Counter, number: u64) {
    if number > 0 {
        counter.increment(number);
    }
}

fn describe() {
    describe_counter!("scopecache_gets_total", Unit::Count, "Items asked for.");
    describe_counter!("scopecache_puts_total", Unit::Count, "Values given to be stored.");
    describe_counter!("scopecache_removals_total", Unit::Count, "Entries removed by calls.");
    describe_counter!("scopecache_errors_total", Unit::Count, "Calls that failed.");
    describe_histogram!(
        "scopecache_op_duration_seconds",
        Unit::Seconds,
        "How long calls took until they answered."
    );
    describe_gauge!("scopecache_entries", Unit::Count, "Entries, unreclaimed ones included.");
    describe_gauge!("scopecache_users", Unit::Count, "Users that hold anything.");
    describe_gauge!("scopecache_sessions", Unit::Count, "Sessions that hold anything.");
    describe_gauge!("scopecache_bytes", Unit::Bytes, "Bytes that count against the bound.");
    describe_gauge!(
        "scopecache_retired_bytes",
        Unit::Bytes,
        "Bytes out of use that are not yet freed."
    );
    describe_gauge!(
        "scopecache_pending_reclaim_bytes",
        Unit::Bytes,
        "Bytes of deleted namespaces, which still count against the bound."
    );
    describe_gauge!(
        "scopecache_reclaim_pending",
        Unit::Count,
        "1 while deleted namespaces wait to be reclaimed."
    );
    describe_gauge!("scopecache_table_bytes", Unit::Bytes, "Bytes of the table, beside the bound.");
}
