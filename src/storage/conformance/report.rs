//! What a run comes to, and several runs side by side.

use std::fmt;
use std::time::{Duration, Instant};

use super::{Capability, Case, Lab, Outcome, claimed};
use crate::storage::Capabilities;

/// The outcomes of all cases on one storage. Its `Display` lists what failed, with words.
#[derive(Clone, Debug)]
pub struct Report {
    name: String,
    /// `None` where the storage could not be asked.
    capabilities: Option<Capabilities>,
    results: Vec<CaseResult>,
}

#[derive(Clone, Debug)]
struct CaseResult {
    case: &'static Case,
    outcome: Outcome,
    took: Duration,
}

/// Reports side by side, a row for each capability and for each case; shown by its `Display`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'r>(
    /// The columns.
    pub &'r [Report],
);

impl Report {
    pub(super) fn new(name: &str, lab: &dyn Lab) -> Self {
        Self { name: name.into(), capabilities: claimed(lab).ok(), results: Vec::new() }
    }

    pub(super) fn add(&mut self, case: &'static Case, run: impl FnOnce() -> Outcome) {
        let started = Instant::now();
        let outcome = run();
        self.results.push(CaseResult { case, outcome, took: started.elapsed() });
    }

    /// The name that the run was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether no case failed.
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The cases that failed, with words.
    pub fn failures(&self) -> impl Iterator<Item = (&'static Case, &str)> {
        self.results.iter().filter_map(|result| match &result.outcome {
            Outcome::Failed(words) => Some((result.case, words.as_str())),
            _ => None,
        })
    }

    /// The outcome of each case.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static Case, &Outcome)> {
        self.results.iter().map(|result| (result.case, &result.outcome))
    }

    /// How long the whole run took.
    pub fn took(&self) -> Duration {
        self.results.iter().map(|result| result.took).sum()
    }

    fn outcome_of(&self, name: &str) -> Option<&Outcome> {
        let result = self.results.iter().find(|result| result.case.name() == name);
        result.map(|result| &result.outcome)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |is: fn(&Outcome) -> bool| self.outcomes().filter(|it| is(it.1)).count();
        let passed = count(|outcome| *outcome == Outcome::Passed);
        let skipped = count(|outcome| matches!(outcome, Outcome::NotSupported(_)));
        let seconds = self.took().as_secs_f64();
        let failed = self.failures().count();
        write!(f, "{}: {passed} passed, {failed} failed, ", self.name)?;
        write!(f, "{skipped} not supported, in {seconds:.1} s")?;
        for (case, words) in self.failures() {
            write!(f, "\n  {} ({})\n    {}", case.name(), case.about(), indented(words))?;
        }
        Ok(())
    }
}

impl fmt::Display for Matrix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = super::cases().iter().map(|case| case.name().len()).max().unwrap_or(0);
        let columns: Vec<usize> = self.0.iter().map(|report| self.width(report)).collect();
        let head = |f: &mut fmt::Formatter<'_>, title: &str| {
            write!(f, "{title:widest$}")?;
            for (report, width) in self.0.iter().zip(&columns) {
                write!(f, "  {:width$}", report.name)?;
            }
            writeln!(f)
        };
        head(f, "capability")?;
        for capability in Capability::ALL {
            write!(f, "{capability:widest$}")?;
            for (report, width) in self.0.iter().zip(&columns) {
                let mark = match &report.capabilities {
                    Some(claimed) if capability.is_claimed_by(claimed) => "yes",
                    Some(_) => "-",
                    None => "?",
                };
                write!(f, "  {mark:width$}")?;
            }
            writeln!(f)?;
        }
        writeln!(f)?;
        head(f, "case")?;
        for case in super::cases() {
            write!(f, "{:widest$}", case.name())?;
            for (report, width) in self.0.iter().zip(&columns) {
                write!(f, "  {:width$}", mark(report.outcome_of(case.name())))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Matrix<'_> {
    fn width(&self, report: &Report) -> usize {
        let marks = report.outcomes().map(|(_, outcome)| mark(Some(outcome)).len());
        marks.chain([report.name.len()]).max().unwrap_or(0)
    }
}

/// A cell: what was not supported is said with the capability's name.
fn mark(outcome: Option<&Outcome>) -> String {
    match outcome {
        Some(Outcome::Passed) => "ok".into(),
        Some(Outcome::Failed(_)) => "FAILED".into(),
        Some(Outcome::NotSupported(capability)) => format!("no {capability}"),
        None => "not run".into(),
    }
}

fn indented(words: &str) -> String {
    words.replace('\n', "\n    ")
}
