//! Which pictures there are, as far as there are results for them.

use super::svg::{Bar, Line, bars, lines};
use super::{Case, Row};

pub(super) struct Picture {
    /// Of the file, and of the section.
    pub(super) name: String,
    pub(super) svg: String,
}

pub(super) fn all(cases: &[Case]) -> Vec<Picture> {
    let mut all = ratios(cases);
    all.extend(tails(cases));
    all.extend(deletions(cases));
    all.extend(memory(cases));
    all.extend(hit_ratios(cases));
    all.extend(tenants(cases));
    all
}

/// Ratios to ours with their spread: what takes longest is far out of the processor's cache.
fn ratios(cases: &[Case]) -> Vec<Picture> {
    let largest = |bench: &str| {
        let entries = cases.iter().filter(|case| case.bench == bench);
        entries.filter_map(|case| case.number("entries")).fold(0.0, f64::max)
    };
    let shown = |case: &&Case| {
        let benches = ["get", "set", "mixed", "get-many", "churn", "load", "delete-storm"];
        benches.contains(&&*case.bench)
            && case.unit == "ns"
            && case.number("entries") == Some(largest(&case.bench))
            && case.ours().is_some()
            && case.text("dist") != "hot"
    };
    let picture = |case: &Case| {
        let bar = |row: &Row| {
            let ratio = case.ratio(row)?;
            let (least, most) = (ratio.least, ratio.most);
            Some(Bar { label: row.label(), value: ratio.median, least, most })
        };
        let rows: Vec<Bar> = case.rows.iter().filter_map(bar).collect();
        let title = format!("{}, {}: {}", case.bench, case.metric, case.title(&[]));
        Picture { name: slug(&title), svg: bars(&title, "times scopecache's", &rows, true) }
    };
    cases.iter().filter(shown).map(picture).collect()
}

/// Latencies over percentiles, a picture for each case.
fn tails(cases: &[Case]) -> Vec<Picture> {
    const METRICS: [&str; 6] = ["p50_ns", "p90_ns", "p99_ns", "p999_ns", "p9999_ns", "max_ns"];
    let places = ["50 %", "90 %", "99 %", "99.9 %", "99.99 %", "most"].map(String::from);
    let firsts = cases.iter().filter(|case| case.is("tail", METRICS[0]));
    let picture = |first: &Case| {
        let value = |metric: &str, label: &str| {
            let same = |case: &&Case| case.is("tail", metric) && case.params == first.params;
            let rows = &cases.iter().find(same)?.rows;
            rows.iter().find(|row| row.label() == label).map(|row| row.value)
        };
        let line = |row: &Row| {
            let label = row.label();
            let at = |(place, metric)| Some((place, value(metric, &label)?));
            let points = METRICS.into_iter().enumerate().filter_map(at).collect();
            Line { label, points }
        };
        let all: Vec<Line> = first.rows.iter().map(line).collect();
        let title = format!("latency: {}", first.title(&["threads", "rate", "staying_entries"]));
        Picture { name: slug(&title), svg: lines(&title, "ns", &places, &all, true) }
    };
    firsts.map(picture).collect()
}

/// Until a user is invisible, and until it is freed, over what it had.
fn deletions(cases: &[Case]) -> Vec<Picture> {
    ["visible_ns", "settled_ns"]
        .into_iter()
        .filter_map(|metric| {
            let cases: Vec<&Case> =
                cases.iter().filter(|case| case.is("delete-user", metric)).collect();
            let title = format!("delete a user, {}", metric.trim_end_matches("_ns"));
            over(&cases, "user_entries", &title, "ns", true)
        })
        .collect()
}

fn hit_ratios(cases: &[Case]) -> Vec<Picture> {
    let of_trace =
        |case: &&Case| case.is("hit-ratio", "hit_ratio") && case.number("entries").is_some();
    let mut traces: Vec<String> =
        cases.iter().filter(of_trace).map(|case| case.text("trace")).collect();
    traces.dedup();
    let picture = |trace: &String| {
        let cases: Vec<&Case> =
            cases.iter().filter(of_trace).filter(|case| case.text("trace") == *trace).collect();
        over(&cases, "capacity_fraction", &format!("hit ratio, {trace}"), "of requests", false)
    };
    traces.iter().filter_map(picture).collect()
}

/// A line for each contender over a parameter that is a number.
fn over(cases: &[&Case], param: &str, title: &str, unit: &str, is_log: bool) -> Option<Picture> {
    let places: Vec<String> = cases.iter().map(|case| case.text(param)).collect();
    let mut all: Vec<Line> = Vec::new();
    for (place, case) in cases.iter().enumerate() {
        for row in &case.rows {
            let (label, point) = (row.label(), (place, row.value));
            match all.iter_mut().find(|line| line.label == label) {
                Some(line) => line.points.push(point),
                None => all.push(Line { label, points: vec![point] }),
            }
        }
    }
    let svg = lines(title, unit, &places, &all, is_log);
    (!cases.is_empty()).then(|| Picture { name: slug(title), svg })
}

/// The quiet tenant's hit ratio, a picture alone and one beside a scan.
fn tenants(cases: &[Case]) -> Vec<Picture> {
    let picture = |case: &Case| {
        let rows: Vec<Bar> = case.rows.iter().map(bar).collect();
        let beside = if case.text("scan") == "on" { "beside a scan" } else { "alone" };
        let title = format!("tenants: hit ratio {beside}");
        Picture { name: slug(&title), svg: bars(&title, "of requests", &rows, false) }
    };
    cases.iter().filter(|case| case.is("tenants", "hit_ratio")).map(picture).collect()
}

/// The figure itself with its spread.
fn bar(row: &Row) -> Bar {
    let least = row.samples.iter().copied().fold(row.value, f64::min);
    let most = row.samples.iter().copied().fold(row.value, f64::max);
    Bar { label: row.label(), value: row.value, least, most }
}

fn memory(cases: &[Case]) -> Vec<Picture> {
    let picture = |case: &Case| {
        let rows: Vec<Bar> = case.rows.iter().map(bar).collect();
        let title = format!("memory beside key and value: {}", case.text("layout"));
        Picture { name: slug(&title), svg: bars(&title, "bytes an entry", &rows, false) }
    };
    cases.iter().filter(|case| case.is("memory", "bytes_per_entry")).map(picture).collect()
}

fn slug(title: &str) -> String {
    let letters = title.chars().map(|letter| if letter.is_alphanumeric() { letter } else { '-' });
    let mut slug: String = letters.collect();
    while slug.contains("--") {
        slug = slug.replace("--", "-");
    }
    slug.trim_matches('-').to_lowercase()
}
