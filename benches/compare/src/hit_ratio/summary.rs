//! How the contenders stand: a row a point, and what all rows come to.

use std::fmt;

use anyhow::{Result, bail};
use serde_json::json;

use super::contender::Contender;
use crate::report::{Record, Report};
use crate::text_table::TextTable;
use crate::traces::{Figures, POLICIES, Point, Reference};

/// A difference to the best policy that is called bad.
const FLAGGED_BELOW: f64 = -0.02;

/// What a contender reached at a point.
pub(super) struct Judged {
    pub(super) contender: Contender,
    pub(super) samples: Vec<f64>,
    pub(super) figures: Figures,
    /// Of the bytes that count, those that are not the objects' own.
    pub(super) overhead: Option<f64>,
    /// What the reference has for this crate in this version.
    pub(super) published: Option<Figures>,
}

/// A trace at a capacity, and how everybody does there.
pub(super) struct Standing {
    pub(super) trace: String,
    pub(super) point: Point,
    policies: [Option<f64>; POLICIES.len()],
    pub(super) best: Option<(&'static str, f64)>,
    pub(super) belady: Option<f64>,
    pub(super) judged: Vec<Judged>,
}

pub(super) struct Summary {
    contenders: Vec<Contender>,
    standings: Vec<Standing>,
}

impl Standing {
    pub(super) fn new(trace: &str, point: Point, reference: Option<&Reference>) -> Self {
        let ratio = |policy: &str| {
            let figures = reference.and_then(|reference| reference.figures(trace, point, policy));
            figures.map(|figures| figures.hit_ratio)
        };
        let policies = POLICIES.map(ratio);
        let known =
            POLICIES.into_iter().zip(policies).filter_map(|(name, ratio)| Some((name, ratio?)));
        Self {
            trace: trace.into(),
            point,
            policies,
            best: known.max_by(|(_, one), (_, other)| one.total_cmp(other)),
            belady: ratio("Belady"),
            judged: Vec::new(),
        }
    }

    /// Takes over a Belady of our own, or compares the reference's with it.
    pub(super) fn check_belady(&mut self, computed: f64) -> Result<()> {
        // The reference has six decimal places.
        match *self.belady.get_or_insert(computed) {
            reference if (reference - computed).abs() < 1e-6 => Ok(()),
            reference => {
                bail!("Belady on {} at {:?}: {computed}, not {reference}", self.trace, self.point)
            }
        }
    }

    fn difference(&self, judged: &Judged) -> Option<f64> {
        Some(judged.figures.hit_ratio - self.best?.1)
    }
}

impl Summary {
    pub(super) fn new(contenders: &[Contender]) -> Self {
        Self { contenders: contenders.to_vec(), standings: Vec::new() }
    }

    pub(super) fn add(&mut self, standing: Standing) {
        self.standings.push(standing);
    }

    /// The results of one contender: the point, and what it reached there.
    fn of(&self, contender: Contender) -> impl Iterator<Item = (&Standing, &Judged)> {
        self.standings.iter().filter_map(move |standing| {
            let judged = standing.judged.iter().find(|judged| judged.contender == contender)?;
            Some((standing, judged))
        })
    }

    /// The mean over the unit-size points of the share of Belady's hits.
    fn mean_belady_share(&self, contender: Contender) -> Option<f64> {
        let share = |(standing, judged): (&Standing, &Judged)| {
            Some(judged.figures.hit_ratio / standing.belady.filter(|&belady| belady > 0.0)?)
        };
        let shares: Vec<f64> = self.of(contender).filter_map(share).collect();
        (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
    }

    /// The worst difference to the best policy, and where it is.
    fn worst(&self, contender: Contender, bytes: bool) -> Option<(f64, &Standing)> {
        let of_kind = self.of(contender).filter(|(standing, _)| standing.point.is_bytes() == bytes);
        of_kind
            .filter_map(|(standing, judged)| Some((standing.difference(judged)?, standing)))
            .min_by(|(one, _), (other, _)| one.total_cmp(other))
    }

    /// How many points are flagged.
    fn flagged(&self, contender: Contender) -> usize {
        let differences = self.of(contender).filter_map(|(point, judged)| point.difference(judged));
        differences.filter(|&difference| difference < FLAGGED_BELOW).count()
    }

    pub(super) fn add_to(&self, report: &mut Report, bench: &'static str) -> Result<()> {
        for &contender in &self.contenders {
            let points = self.of(contender).count();
            let params = json!({ "points": points, "threads": 1, "label": contender.label() });
            let mut add = |metric, value| {
                let peer = contender.crate_name();
                report.add(&Record::new(bench, peer, &params, (metric, "ratio"), vec![value]))
            };
            if let Some(share) = self.mean_belady_share(contender) {
                add("mean_belady_share", share)?;
            }
            if let Some((difference, _)) = self.worst(contender, false) {
                add("worst_difference", difference)?;
            }
        }
        Ok(())
    }

    fn table(&self, bytes: bool) -> TextTable {
        let mut header: Vec<String> = ["trace", "share", if bytes { "bytes" } else { "entries" }]
            .into_iter()
            .chain(POLICIES)
            .map(str::to_owned)
            .collect();
        header.extend((!bytes).then(|| "Belady".into()));
        for contender in &self.contenders {
            header.extend([contender.label(), "points".into()]);
            header.push(if bytes { "of bytes" } else { "of Belady" }.into());
        }
        let mut table = TextTable::new(header);
        for standing in self.standings.iter().filter(|standing| standing.point.is_bytes() == bytes)
        {
            let point = standing.point;
            let mut row = vec![
                standing.trace.clone(),
                format!("{} %", point.fraction() * 100.0),
                point.capacity().to_string(),
            ];
            row.extend(standing.policies.map(ratio));
            row.extend((!bytes).then(|| ratio(standing.belady)));
            for judged in &standing.judged {
                row.push(ratio(Some(judged.figures.hit_ratio)));
                row.push(standing.difference(judged).map_or_else(missing, |difference| {
                    let flag = if difference < FLAGGED_BELOW { "!" } else { "" };
                    format!("{flag}{:+.2}", difference * 100.0)
                }));
                row.push(match standing.belady {
                    Some(belady) => format!("{:.1} %", judged.figures.hit_ratio / belady * 100.0),
                    None => ratio(judged.figures.byte_hit_ratio),
                });
            }
            table.row(row);
        }
        table
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for bytes in [false, true] {
            if self.standings.iter().any(|standing| standing.point.is_bytes() == bytes) {
                writeln!(f, "{}", self.table(bytes))?;
            }
        }
        let four = POLICIES.join(", ");
        writeln!(f, "points: to the best of {four}, in hundredths; ! below {FLAGGED_BELOW}\n")?;
        for &contender in &self.contenders {
            writeln!(f, "{}", contender.label())?;
            if let Some(share) = self.mean_belady_share(contender) {
                writeln!(f, "  mean share of Belady's hits: {:.1} %", share * 100.0)?;
            }
            writeln!(f, "  points flagged: {}", self.flagged(contender))?;
            for (bytes, what) in [(false, "entries"), (true, "bytes")] {
                if let Some((difference, at)) = self.worst(contender, bytes) {
                    let (trace, share) = (&at.trace, at.point.fraction() * 100.0);
                    let points = difference * 100.0;
                    writeln!(f, "  worst, in {what}: {points:+.2} on {trace} at {share} %")?;
                }
            }
            self.write_overhead(f, contender)?;
            self.write_published(f, contender)?;
        }
        Ok(())
    }
}

impl Summary {
    /// What the bound in bytes is spent on beside the objects themselves.
    fn write_overhead(&self, f: &mut fmt::Formatter<'_>, contender: Contender) -> fmt::Result {
        let shares: Vec<f64> =
            self.of(contender).filter_map(|(_, judged)| judged.overhead).collect();
        if shares.is_empty() {
            return Ok(());
        }
        let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
        let most = shares.iter().copied().fold(0.0, f64::max);
        writeln!(
            f,
            "  its bound counts headers, keys and index too: {:.1} to {:.1} % of the bytes in use; \
             the others count the objects alone",
            least * 100.0,
            most * 100.0,
        )
    }

    /// How far the figures are from those that the reference has for the same crate.
    fn write_published(&self, f: &mut fmt::Formatter<'_>, contender: Contender) -> fmt::Result {
        let distance = |(standing, judged)| {
            let Judged { figures, published, .. }: &Judged = judged;
            Some(((figures.hit_ratio - published.as_ref()?.hit_ratio).abs(), standing))
        };
        let distances: Vec<(f64, &Standing)> = self.of(contender).filter_map(distance).collect();
        let worst = distances.iter().max_by(|(one, _), (other, _)| one.total_cmp(other));
        let Some((most, at)) = worst else { return Ok(()) };
        let mean = distances.iter().map(|(distance, _)| distance).sum::<f64>();
        let (mean, share) = (mean / distances.len() as f64, at.point.fraction() * 100.0);
        writeln!(
            f,
            "  from the reference's own run of it: {mean:.4} in the mean, at most {most:.4} \
             ({} at {share} %)",
            at.trace
        )
    }
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(missing, |ratio| format!("{ratio:.4}"))
}

fn missing() -> String {
    "-".into()
}
