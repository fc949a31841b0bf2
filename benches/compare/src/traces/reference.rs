//! The figures that others reach on the traces, and the capacities at which they do.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::traces::Trace;

pub(crate) const REFERENCE_FILE: &str = "REFERENCE_HIT_RATIOS.csv";

/// The policies against which a cache is judged: the best of them is the mark.
pub(crate) const POLICIES: [&str; 4] = ["LRU", "S3-FIFO", "SIEVE", "W-TinyLFU"];

/// Capacities where no reference tells them: shares of the unique keys.
const FRACTIONS: [f64; 5] = [0.001, 0.01, 0.05, 0.1, 0.2];
/// Smaller caches mean nothing for those that split themselves into shards.
const LEAST_ENTRIES: u64 = 20;

const HEADER: &str = "trace,policy_or_crate,capacity_fraction,capacity_entries,hit_ratio,\
                      byte_hit_ratio_or_empty,tool,capacity_bytes_or_empty";

/// All figures of a reference file, in its order.
#[derive(Default)]
pub(crate) struct Reference {
    rows: Vec<Row>,
}

struct Row {
    trace: String,
    policy: String,
    point: Point,
    figures: Figures,
}

/// A size of a cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Point {
    /// Every object counts one.
    Entries { fraction: f64, capacity: u64 },
    /// Every object counts its size.
    Bytes { fraction: f64, capacity: u64 },
}

/// What a cache reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) hit_ratio: f64,
    /// Of the bytes asked for, where objects have sizes.
    pub(crate) byte_hit_ratio: Option<f64>,
}

impl Reference {
    /// The file in `folder`, or nothing where there is none.
    pub(crate) fn load(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(REFERENCE_FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let parsed = Self::parse(&text);
        parsed.with_context(|| format!("cannot understand {}", path.display())).map(Some)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            bail!("the first line is not `{HEADER}`");
        }
        let row = |(number, line)| Row::parse(line).with_context(|| format!("line {}", number + 2));
        Ok(Self { rows: lines.enumerate().map(row).collect::<Result<_>>()? })
    }

    /// The sizes at which a trace has figures.
    pub(crate) fn points(&self, trace: &str) -> Vec<Point> {
        let mut points = Vec::new();
        for row in self.rows.iter().filter(|row| row.trace == trace) {
            if !points.contains(&row.point) {
                points.push(row.point);
            }
        }
        points
    }

    pub(crate) fn figures(&self, trace: &str, point: Point, policy: &str) -> Option<Figures> {
        let same = |row: &&Row| row.trace == trace && row.point == point && row.policy == policy;
        self.rows.iter().find(same).map(|row| row.figures)
    }
}

impl Row {
    fn parse(line: &str) -> Result<Self> {
        let fields: Vec<&str> = line.split(',').collect();
        let [trace, policy, fraction, entries, hits, byte_hits, _tool, bytes] = fields[..] else {
            bail!("{} fields instead of 8", fields.len());
        };
        let fraction = fraction.parse().context("capacity_fraction")?;
        let point = match (entries, bytes) {
            ("", "") => bail!("no capacity"),
            ("", bytes) => {
                Point::Bytes { fraction, capacity: bytes.parse().context("capacity_bytes")? }
            }
            (entries, _) => {
                Point::Entries { fraction, capacity: entries.parse().context("capacity_entries")? }
            }
        };
        let byte_hit_ratio = match byte_hits {
            "" => None,
            ratio => Some(ratio.parse().context("byte_hit_ratio")?),
        };
        let figures = Figures { hit_ratio: hits.parse().context("hit_ratio")?, byte_hit_ratio };
        Ok(Self { trace: trace.into(), policy: policy.into(), point, figures })
    }
}

impl Point {
    /// The usual sizes for a trace without a reference.
    pub(crate) fn usual(trace: &Trace) -> Vec<Self> {
        let point = |fraction: f64| {
            let capacity = (fraction * trace.unique_keys as f64).round() as u64;
            Self::Entries { fraction, capacity }
        };
        let points = FRACTIONS.into_iter().map(point);
        points.filter(|point| point.capacity() >= LEAST_ENTRIES).collect()
    }

    pub(crate) fn capacity(self) -> u64 {
        match self {
            Self::Entries { capacity, .. } | Self::Bytes { capacity, .. } => capacity,
        }
    }

    pub(crate) fn fraction(self) -> f64 {
        match self {
            Self::Entries { fraction, .. } | Self::Bytes { fraction, .. } => fraction,
        }
    }

    pub(crate) fn is_bytes(self) -> bool {
        matches!(self, Self::Bytes { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_both_kinds() {
        let text = format!(
            "{HEADER}\nt,LRU,0.01,61,0.5,,tool,\nt,Belady,0.01,61,0.75,,tool,\n\
             t,LRU,0.01,,0.4,0.3,tool,1000\nu,LRU,0.1,9,0.1,,tool,\n"
        );
        let reference = Reference::parse(&text).unwrap();
        let entries = Point::Entries { fraction: 0.01, capacity: 61 };
        let bytes = Point::Bytes { fraction: 0.01, capacity: 1000 };
        assert_eq!(reference.points("t"), [entries, bytes]);
        assert_eq!(reference.figures("t", entries, "Belady").unwrap().hit_ratio, 0.75);
        let figures = reference.figures("t", bytes, "LRU").unwrap();
        assert_eq!(figures, Figures { hit_ratio: 0.4, byte_hit_ratio: Some(0.3) });
        assert_eq!(reference.figures("t", bytes, "SIEVE"), None);
    }

    #[test]
    fn mistakes_name_their_line() {
        assert!(Reference::parse("trace,else\n").is_err());
        let error = Reference::parse(&format!("{HEADER}\nt,LRU,0.01,x,0.5,,tool,\n")).err();
        assert!(format!("{:#}", error.unwrap()).starts_with("line 2: capacity_entries"));
    }
}
