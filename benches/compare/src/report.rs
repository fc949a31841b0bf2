//! Results: a line of JSON each.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::machine::Machine;

/// Name and version of every crate that this program depends on; see `build.rs`.
const VERSIONS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/versions.rs"));

/// One figure, with what one must know to make sense of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Record {
    pub(crate) bench: &'static str,
    pub(crate) peer: String,
    pub(crate) peer_version: &'static str,
    pub(crate) params: Map<String, Value>,
    pub(crate) metric: &'static str,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// What `value` is the median of.
    pub(crate) samples: Vec<f64>,
}

/// Where results go, besides the table that a person reads.
pub(crate) struct Report {
    file: Option<(String, File)>,
    machine: Machine,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    record: &'a Record,
    machine: &'a Machine,
}

impl Report {
    /// Appends to `path`; without one, results are dropped.
    pub(crate) fn new(path: Option<&Path>) -> Result<Self> {
        let open = |path: &Path| -> Result<_> {
            let name = path.display().to_string();
            let file = OpenOptions::new().create(true).append(true).open(path);
            Ok((name.clone(), file.with_context(|| format!("cannot append to {name}"))?))
        };
        Ok(Self { file: path.map(open).transpose()?, machine: Machine::this() })
    }

    pub(crate) fn add(&mut self, record: &Record) -> Result<()> {
        let Some((name, file)) = &mut self.file else { return Ok(()) };
        let mut line = serde_json::to_string(&Line { record, machine: &self.machine })?;
        line.push('\n');
        // One write: lines of several processes that append to one file stay whole.
        file.write_all(line.as_bytes()).with_context(|| format!("cannot write to {name}"))
    }
}

impl Record {
    /// A figure of `peer` whose value is the median of `samples`.
    pub(crate) fn new(
        bench: &'static str,
        peer: &str,
        params: &Value,
        (metric, unit): (&'static str, &'static str),
        samples: Vec<f64>,
    ) -> Self {
        let Value::Object(params) = params.clone() else { panic!("params are an object") };
        let value = median(&samples);
        let peer_version = version(peer);
        Self { bench, peer: peer.into(), peer_version, params, metric, value, unit, samples }
    }
}

/// The version of a peer that is built in.
pub(crate) fn version(peer: &str) -> &'static str {
    VERSIONS.iter().find(|(name, _)| *name == peer).map_or("unknown", |(_, version)| version)
}

/// The middle one, or the mean of the middle two; not a number where there is none.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        len => (sorted[(len - 1) / 2] + sorted[len / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_has_the_documented_form() {
        let params = json!({ "entries": 10, "threads": 1, "api": "scope" });
        let metric = ("hit_ratio", "ratio");
        let record = Record::new("hit-ratio", "scopecache", &params, metric, vec![0.5, 0.25, 0.75]);
        let machine = Machine::this();
        let line = serde_json::to_string(&Line { record: &record, machine: &machine }).unwrap();
        let back: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(back["value"], 0.5);
        assert_eq!(back["samples"], json!([0.5, 0.25, 0.75]));
        assert_eq!(back["params"]["api"], "scope");
        assert_eq!(back["unit"], "ratio");
        assert!(back["machine"]["kernel"].is_string() && back["machine"]["cpu"].is_string());
        assert!(line.starts_with(r#"{"bench":"hit-ratio","peer":"scopecache","peer_version":""#));
        assert!(!line.contains('\n'));
    }

    #[test]
    fn every_peer_has_a_version() {
        for peer in ["scopecache", "moka", "quick_cache", "dashmap", "papaya"] {
            assert!(version(peer).starts_with(|first: char| first.is_ascii_digit()), "{peer}");
        }
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0]), 1.5);
        assert!(median(&[]).is_nan());
    }
}
