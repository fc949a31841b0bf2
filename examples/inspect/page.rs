//! A snapshot as a page of text.

use std::fmt::Write;
use std::time::Duration;

use scopecache::{RemovalCause, Snapshot};

/// What rates are counted from.
pub(crate) struct Since<'a> {
    pub(crate) before: &'a Snapshot,
    pub(crate) passed: Duration,
}

/// Columns of an id.
const ID: usize = 24;
const BAR: usize = 20;

/// The page, of lines of at most 96 columns.
pub(crate) fn page(now: &Snapshot, since: &Since<'_>) -> String {
    let mut text = String::new();
    // A `String` takes whatever is written.
    let _ = write_page(&mut text, now, since);
    text
}

fn write_page(out: &mut String, now: &Snapshot, since: &Since<'_>) -> std::fmt::Result {
    let (stats, before) = (&now.stats, &since.before.stats);
    let rate = |now: u64, before: u64| {
        let seconds = since.passed.as_secs_f64().max(1e-9);
        grouped((now.saturating_sub(before) as f64 / seconds).round() as u64)
    };
    writeln!(
        out,
        "scopecache   {} users   {} sessions   {} entries\n",
        grouped(stats.users),
        grouped(stats.sessions),
        grouped(stats.entries),
    )?;
    let share = stats.live_bytes as f64 / now.capacity_bytes.max(1) as f64;
    writeln!(
        out,
        "memory    {} {} of {} live",
        bar(share),
        bytes(stats.live_bytes),
        bytes(now.capacity_bytes),
    )?;
    writeln!(
        out,
        "freeing   {} retired   {} to reclaim",
        bytes(stats.retired_bytes),
        bytes(stats.pending_reclaim_bytes),
    )?;
    let ratio = now.hit_ratio.map_or("   -".into(), |ratio| format!("{:.1} %", 100.0 * ratio));
    writeln!(
        out,
        "hits      {} {ratio}   {} hits/s   {} misses/s",
        bar(now.hit_ratio.unwrap_or(0.0)),
        rate(stats.hits, before.hits),
        rate(stats.misses, before.misses),
    )?;
    writeln!(
        out,
        "loads     {} ok/s   {} failed/s",
        rate(stats.load_successes, before.load_successes),
        rate(stats.load_failures, before.load_failures),
    )?;
    writeln!(out, "expiry    {:.2} s behind\n", stats.expiry_lag.as_secs_f64())?;

    writeln!(out, "{:16} {:>14} {:>12}", "removals", "in all", "a second")?;
    for cause in RemovalCause::ALL {
        let (all, then) = (stats.removals.of(cause), before.removals.of(cause));
        let name = cause.name().replace('_', " ");
        writeln!(out, "  {name:14} {:>14} {:>12}", grouped(all), rate(all, then))?;
    }
    let users = format!("{:>2}  {:ID$} {:>10}", "", "most bytes", "");
    writeln!(out, "\n{users}      {:ID$} {:>12}", "most misses", "about")?;
    for at in 0..now.top_by_bytes.len().max(now.top_by_misses.len()) {
        let holds = now.top_by_bytes.get(at);
        let holds = holds.map_or(String::new(), |top| {
            format!("{:ID$} {:>10}", shown(&top.user), bytes(top.bytes))
        });
        let misses = now.top_by_misses.get(at);
        let misses = misses.map_or(String::new(), |top| {
            format!("{:ID$} {:>12}", shown(&top.user), grouped(top.misses))
        });
        let line = format!("{:>2}  {holds:width$}      {misses}", at + 1, width = ID + 11);
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// An id, as long as there is room. Its characters may be anything: none of them moves the cursor.
fn shown(id: &str) -> String {
    let id: String = id.escape_debug().collect();
    if id.chars().count() <= ID {
        return id;
    }
    id.chars().take(ID - 2).chain("..".chars()).collect()
}

fn bar(share: f64) -> String {
    let full = (share.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    format!("[{}{}]", "#".repeat(full), "-".repeat(BAR - full))
}

fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let step = (bytes.max(1).ilog2() / 10).min(3);
    let amount = bytes as f64 / (1_u64 << (10 * step)) as f64;
    if step == 0 { format!("{bytes} B") } else { format!("{amount:.1} {}", UNITS[step as usize]) }
}

/// With a comma after each thousand.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
