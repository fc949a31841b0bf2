//! Results told to people: one page, its pictures, and a document.
//!
//! The lines of JSON say everything; nothing is measured or chosen here. A case is what rows of
//! several contenders have in common; ratios are taken sample by sample, as the samples of one
//! case were taken in turn.

mod html;
mod markdown;
mod pictures;
mod svg;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::args::{Flags, Usage};
use crate::report::median;

pub(crate) const HELP: &str = "  \
report FILE.. --out DIR: a page, index.html, and its pictures from lines of JSON
    --markdown FILE       the tables as a document, besides
    --note TEXT           a line for both: when and how the results were taken";

/// A line of JSON.
#[derive(Clone, Debug, Deserialize)]
struct Row {
    bench: String,
    peer: String,
    peer_version: String,
    params: Map<String, Value>,
    metric: String,
    value: f64,
    unit: String,
    samples: Vec<f64>,
    machine: Value,
}

/// Rows of the same work, ours first, the others as they came.
struct Case {
    bench: String,
    metric: String,
    unit: String,
    /// The parameters that all have.
    params: Map<String, Value>,
    rows: Vec<Row>,
}

/// The median of ratios to ours, the least and the most.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ratio {
    median: f64,
    least: f64,
    most: f64,
}

/// What tells contenders of one crate apart, and the same crate from itself in another case.
const OF_CONTENDERS: [&str; 6] = ["api", "ttl", "index", "policy", "quota", "seed"];

pub(crate) fn run(mut flags: Flags) -> Result<()> {
    let (mut out, mut markdown, mut note) = (None, None, String::new());
    while let Some(flag) = flags.next() {
        match &*flag.name {
            "out" => out = Some(flag.path()?),
            "markdown" => markdown = Some(flag.path()?),
            "note" => note = flag.text()?,
            _ => return Err(flag.unknown().into()),
        }
    }
    let Some(out) = out else { bail!(Usage::new("--out is missing")) };
    let mut rows = Vec::new();
    for path in &flags.files {
        let file = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {file}"))?;
        for (number, line) in text.lines().enumerate() {
            let row: Row = serde_json::from_str(line)
                .with_context(|| format!("{file}, line {}: not a result", number + 1))?;
            rows.push(row);
        }
    }
    if rows.is_empty() {
        bail!(Usage::new("there are no results: name files of JSON lines"));
    }
    let cases = cases(rows);
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let write = |path: PathBuf, text: String| {
        eprintln!("report: {}", path.display());
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let pictures = pictures::all(&cases);
    write(out.join("index.html"), html::page(&cases, &pictures, &note))?;
    for picture in pictures {
        write(out.join(format!("{}.svg", picture.name)), picture.svg)?;
    }
    if let Some(path) = markdown {
        write(path, markdown::document(&cases, &note))?;
    }
    Ok(())
}

/// Puts rows together that belong together. Of rows that say the same, the last counts.
fn cases(rows: Vec<Row>) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows {
        let mut params = row.params.clone();
        params.retain(|name, _| !OF_CONTENDERS.contains(&&**name));
        let name = format!("{} {} {}", row.bench, row.metric, Value::from(params.clone()));
        let place = *places.entry(name).or_insert_with(|| {
            let (bench, metric) = (row.bench.clone(), row.metric.clone());
            let unit = row.unit.clone();
            cases.push(Case { bench, metric, unit, params, rows: Vec::new() });
            cases.len() - 1
        });
        let rows = &mut cases[place].rows;
        match rows.iter_mut().find(|other| other.label() == row.label()) {
            Some(other) => *other = row,
            None => rows.push(row),
        }
    }
    for case in &mut cases {
        // Stable: the others stay as they came.
        case.rows.sort_by_key(|row| {
            (row.peer != "scopecache", row.peer == "scopecache" && row.is_variant())
        });
    }
    cases
}

impl Row {
    fn is(&self, param: &str, value: &str) -> bool {
        text_of(&self.params, param) == value
    }

    /// Whether it is another form of its crate than the usual.
    fn is_variant(&self) -> bool {
        self.is("api", "raw")
            || self.is("policy", "s3-fifo")
            || self.is("quota", "off")
            || self.is("ttl", "true") && self.bench != "memory"
    }

    /// The contender, in words.
    fn label(&self) -> String {
        let mut label = self.peer.clone();
        if self.is("api", "raw") {
            label += ", ids each time";
        }
        if self.is("policy", "s3-fifo") {
            label += ", S3-FIFO";
        }
        if self.is("ttl", "true") {
            label += ", TTL";
        }
        if self.is("quota", "on") {
            label += ", quotas";
        }
        if self.is("index", "true") {
            label += ", index by hand";
        }
        label
    }
}

impl Case {
    /// The row that ratios are to.
    fn ours(&self) -> Option<&Row> {
        self.rows.first().filter(|row| row.peer == "scopecache")
    }

    fn ratio(&self, row: &Row) -> Option<Ratio> {
        let ours = self.ours()?;
        let pairs = row.samples.iter().zip(&ours.samples);
        let mut ratios: Vec<f64> = pairs.map(|(sample, ours)| sample / ours).collect();
        ratios.retain(|ratio| ratio.is_finite());
        let least = ratios.iter().copied().reduce(f64::min)?;
        let most = ratios.iter().copied().reduce(f64::max)?;
        Some(Ratio { median: median(&ratios), least, most })
    }

    /// Whether a peer does better than ours, by the median.
    fn is_lost_to(&self, row: &Row, ratio: Ratio) -> bool {
        let is_better = if self.more_is_better() { ratio.median > 1.0 } else { ratio.median < 1.0 };
        row.peer != "scopecache" && is_better
    }

    /// Whether more of it is better.
    fn more_is_better(&self) -> bool {
        ["hit_ratio", "byte_hit_ratio", "belady_share", "mean_belady_share", "deletes_per_second"]
            .contains(&&*self.metric)
    }

    fn is(&self, bench: &str, metric: &str) -> bool {
        self.bench == bench && self.metric == metric
    }

    fn number(&self, param: &str) -> Option<f64> {
        self.params.get(param)?.as_f64()
    }

    fn text(&self, param: &str) -> String {
        text_of(&self.params, param)
    }

    /// The parameters but for those given, in words.
    fn title(&self, without: &[&str]) -> String {
        let names = self.params.keys().filter(|name| !without.contains(&&***name));
        let words = names.map(|name| match &**name {
            "dist" | "op" | "scene" | "layout" | "call" | "trace" => self.text(name),
            name => format!("{} {}", name.replace('_', " "), self.text(name)),
        });
        words.filter(|word| word != "none").collect::<Vec<_>>().join(", ")
    }
}

fn text_of(params: &Map<String, Value>, param: &str) -> String {
    match params.get(param) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// The machines of the rows, in words; usually one.
fn machines(cases: &[Case]) -> String {
    let mut machines: Vec<String> = Vec::new();
    for row in cases.iter().flat_map(|case| &case.rows) {
        let memory = row.machine["memory_bytes"].as_f64().unwrap_or(0.0) / f64::from(1 << 30);
        let text = |name: &str| row.machine[name].as_str().unwrap_or("unknown").to_owned();
        let cores = &row.machine["cores"];
        // The rest of a kernel's name says nothing about speed.
        let kernel = text("kernel").split('-').next().unwrap_or_default().to_owned();
        let machine = format!("{}, {cores} cores, {memory:.0} GiB, Linux {kernel}", text("cpu"));
        if !machines.contains(&machine) {
            machines.push(machine);
        }
    }
    machines.join("; ")
}

/// All crates with their versions.
fn versions(cases: &[Case]) -> String {
    let rows = cases.iter().flat_map(|case| &case.rows);
    let versions: BTreeMap<&str, &str> = rows.map(|row| (&*row.peer, &*row.peer_version)).collect();
    let words = versions.iter().map(|(peer, version)| format!("{peer} {version}"));
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(peer: &str, api: Option<&str>, samples: &[f64]) -> Row {
        let mut params = json!({ "entries": 10, "dist": "zipf", "threads": 1, "op": "hit" });
        if let Some(api) = api {
            params["api"] = api.into();
        }
        let machine = json!({ "cpu": "x", "cores": 2, "memory_bytes": 1 << 30, "kernel": "6" });
        serde_json::from_value(json!({
            "bench": "get", "peer": peer, "peer_version": "1.2", "params": params,
            "metric": "ns_per_op", "value": median(samples), "unit": "ns",
            "samples": samples, "machine": machine,
        }))
        .unwrap()
    }

    fn some() -> Vec<Case> {
        cases(vec![
            row("moka", None, &[10.0, 30.0]),
            row("scopecache", Some("raw"), &[8.0, 8.0]),
            row("scopecache", Some("scope"), &[5.0, 10.0]),
            row("dash<map", None, &[1.0, 10.0]),
        ])
    }

    #[test]
    fn rows_become_cases_with_ratios() {
        let cases = some();
        let [case] = &cases[..] else { panic!("one case") };
        let labels: Vec<String> = case.rows.iter().map(Row::label).collect();
        assert_eq!(labels, ["scopecache", "scopecache, ids each time", "moka", "dash<map"]);
        let ratio = Ratio { median: 2.5, least: 2.0, most: 3.0 };
        assert_eq!(case.ratio(&case.rows[2]), Some(ratio));
        assert_eq!(case.title(&[]), "zipf, entries 10, hit, threads 1");
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_hides_no_row() {
        let cases = some();
        let page = html::page(&cases, &pictures::all(&cases), "a note");
        for word in ["http://", "https://", "src=", "<script", "dash<map"] {
            assert!(!page.replace(svg::NAMESPACE, "").contains(word), "{word}");
        }
        assert!(page.contains("prefers-color-scheme: dark") && page.contains("dash&lt;map"));
        assert!(page.contains("a note"));
        let document = markdown::document(&cases, "a note");
        // Lost, and said so.
        assert!(document.contains("**0.60** (0.20-1.00)"), "{document}");
    }
}
