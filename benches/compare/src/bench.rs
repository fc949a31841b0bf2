//! Rounds over contenders, tables, and records.
//!
//! All contenders of a subcommand stand side by side in one process and take their samples in
//! turn, each round beginning with another one: whatever else the machine does meets all of
//! them. Ratios are taken within a round, to the first contender's sample.

use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

use crate::contender::{Contender, Kind, Room};
use crate::data::Names;
use crate::report::{Record, Report, median};
use crate::settings::Settings;
use crate::text_table::TextTable;

/// Name and unit of a figure.
pub(crate) type Metric = (&'static str, &'static str);

pub(crate) const NS_PER_OP: Metric = ("ns_per_op", "ns");

/// One contender at work.
pub(crate) struct Entrant {
    pub(crate) kind: Kind,
    pub(crate) contender: Box<dyn Contender>,
}

/// A subcommand at work: its settings, and where results go.
pub(crate) struct Bench {
    name: &'static str,
    pub(crate) settings: Settings,
    report: Report,
}

/// Parameters of a row, with those that every row has.
pub(crate) struct Case {
    params: Value,
}

/// What one sample gives: a figure for each metric, or why there is none.
pub(crate) enum Sample {
    Figures(Vec<f64>),
    LeftOut(&'static str),
}

impl Bench {
    pub(crate) fn new(name: &'static str, settings: Settings) -> Result<Self> {
        let report = Report::new(settings.common.json.as_deref())?;
        Ok(Self { name, settings, report })
    }

    /// Makes all contenders and stores the entries in each.
    pub(crate) fn filled(&self, room: Room, names: &Names) -> Vec<Entrant> {
        let order = names.shuffled(2);
        let fill = |&kind: &Kind| {
            eprint!("{}: {} entries into {kind}", self.name, names.entries());
            let start = Instant::now();
            let contender = kind.make(room, names);
            contender.set_all(names, &order);
            contender.settle();
            eprintln!(", {:.1} s", start.elapsed().as_secs_f64());
            Entrant { kind, contender }
        };
        self.settings.kinds.iter().map(fill).collect()
    }

    /// Takes the samples of one table of rows, tells and records them.
    pub(crate) fn case(
        &mut self,
        case: &Case,
        metrics: &[Metric],
        entrants: &[Entrant],
        mut measure: impl FnMut(&Entrant, usize) -> Sample,
    ) -> Result<()> {
        let rows = in_turn(entrants, self.settings.rounds, |entrant, round| {
            let sample = measure(entrant, round);
            // What it put off would be done while the next one takes its sample.
            entrant.contender.settle();
            sample
        });
        let kinds: Vec<Kind> = entrants.iter().map(|entrant| entrant.kind).collect();
        self.add(case, metrics, &kinds, &rows)
    }

    /// Tells and records samples that were taken elsewhere, a list for each kind.
    pub(crate) fn add(
        &mut self,
        case: &Case,
        metrics: &[Metric],
        kinds: &[Kind],
        rows: &[Vec<Sample>],
    ) -> Result<()> {
        println!("{}: {}", self.name, case.title());
        if metrics.len() > 2 {
            println!("{}", overview(metrics, kinds, rows));
        }
        for (at, &metric) in metrics.iter().enumerate() {
            let of = |row: &Vec<Sample>| -> Result<Vec<f64>, &'static str> {
                let figure = |sample: &Sample| match sample {
                    Sample::Figures(figures) => Ok(figures[at]),
                    Sample::LeftOut(why) => Err(*why),
                };
                row.iter().map(figure).collect()
            };
            let (name, unit) = metric;
            let mut table = TextTable::new([name, unit, "from", "to", "ratio", "from", "to"]);
            // Ours stand first where they are there at all.
            let ours = rows.first().filter(|_| kinds[0].is_ours()).and_then(|row| of(row).ok());
            let ours = ours.filter(|ours| ours.iter().all(|&sample| sample > 0.0));
            for (kind, row) in kinds.iter().zip(rows) {
                match of(row) {
                    Ok(samples) => {
                        let ratios = ours.as_deref().map(|ours| ratios(&samples, ours));
                        let mut cells = vec![kind.to_string()];
                        cells.extend(spread(&samples));
                        cells.extend(ratios.iter().flat_map(|ratios| spread(ratios)));
                        table.row(cells);
                        let mut params = case.params.clone();
                        kind.add_to(&mut params);
                        params["seed"] = json!(self.settings.common.seed);
                        let record = Record::new(self.name, kind.krate, &params, metric, samples);
                        self.report.add(&record)?;
                    }
                    Err(why) => table.row([kind.to_string(), "-".into(), format!("({why})")]),
                }
            }
            if metrics.len() <= 2 {
                println!("{table}");
            }
        }
        Ok(())
    }
}

impl Case {
    pub(crate) fn new(entries: usize, threads: usize, dist: impl ToString) -> Self {
        let dist = dist.to_string();
        Self { params: json!({ "entries": entries, "threads": threads, "dist": dist }) }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.params[name] = value.into();
        self
    }

    fn title(&self) -> String {
        let Value::Object(params) = &self.params else { unreachable!("params are an object") };
        let part = |(name, value): (&String, &Value)| match value {
            Value::String(text) => format!("{name} {text}"),
            other => format!("{name} {other}"),
        };
        params.iter().map(part).collect::<Vec<_>>().join(", ")
    }
}

impl From<f64> for Sample {
    fn from(figure: f64) -> Self {
        Self::Figures(vec![figure])
    }
}

/// Takes a sample of each in turn, so many times; the samples of each.
///
/// Each round begins with another one, and each comes after another one than in the rounds before: what
/// the one before leaves to the allocator and in the processor's cache is part of a sample (E. Williams,
/// "Experimental designs balanced for the estimation of residual effects of treatments", 1949).
pub(crate) fn in_turn<E, S>(
    entrants: &[E],
    rounds: usize,
    mut measure: impl FnMut(&E, usize) -> S,
) -> Vec<Vec<S>> {
    let mut rows: Vec<Vec<S>> = entrants.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for place in 0..entrants.len() {
            // 0, 1, n - 1, 2, n - 2, ..
            let zigzag =
                if place % 2 == 1 { place.div_ceil(2) } else { entrants.len() - place / 2 };
            let at = (zigzag + round) % entrants.len();
            rows[at].push(measure(&entrants[at], round));
        }
    }
    rows
}

/// Medians alone: a column for each metric.
fn overview(metrics: &[Metric], kinds: &[Kind], rows: &[Vec<Sample>]) -> TextTable {
    let header = metrics.iter().map(|(name, _)| (*name).to_owned());
    let mut table = TextTable::new(std::iter::once(String::new()).chain(header));
    for (kind, row) in kinds.iter().zip(rows) {
        let column = |at: usize| {
            let figure = |sample: &Sample| match sample {
                Sample::Figures(figures) => Some(figures[at]),
                Sample::LeftOut(_) => None,
            };
            figure_of(&row.iter().filter_map(figure).collect::<Vec<f64>>())
        };
        table.row(std::iter::once(kind.to_string()).chain((0..metrics.len()).map(column)));
    }
    table
}

fn figure_of(samples: &[f64]) -> String {
    if samples.is_empty() { "-".into() } else { figure(median(samples)) }
}

/// Sample by sample: both were taken in the same round.
fn ratios(samples: &[f64], ours: &[f64]) -> Vec<f64> {
    samples.iter().zip(ours).map(|(sample, ours)| sample / ours).collect()
}

/// The median, the least and the most.
fn spread(samples: &[f64]) -> [String; 3] {
    let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
    let most = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    [median(samples), least, most].map(figure)
}

/// Three digits that mean something.
pub(crate) fn figure(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use lexopt::Parser;

    use super::*;
    use crate::args::Flags;
    use crate::settings::Defaults;

    #[test]
    fn nothing_put_off_waits_for_the_next_sample() {
        let flags = Flags::new(Parser::from_args(["--peers", "scopecache"])).unwrap().unwrap();
        let defaults = Defaults { kinds: Kind::plain(), entries: &[], dists: &[], seconds: 1.0 };
        let mut bench = Bench::new("test", Settings::parse(flags, defaults).unwrap()).unwrap();
        let names = Names::new(100, "state");
        let entrants = bench.filled(Room::for_all(20_000), &names);
        let case = Case::new(names.entries(), 1, "none");
        let delete = |entrant: &Entrant, round: usize| {
            let contender = &entrant.contender;
            assert_eq!(contender.entries(), names.entries() as u64);
            let user = Names::of_user(round as u64, 10_000);
            contender.put_all(&user);
            contender.delete_user(user.of_entry(0).user);
            1.0.into()
        };
        bench.case(&case, &[NS_PER_OP], &entrants, delete).unwrap();
    }

    #[test]
    fn each_round_begins_with_another_one() {
        let mut order = String::new();
        let rows = in_turn(&["a", "b", "c"], 4, |name, round| {
            order += name;
            round
        });
        assert_eq!(order, "abcbcacababc");
        assert_eq!(rows, [[0, 1, 2, 3]; 3]);
    }

    #[test]
    fn each_comes_after_each_other_one() {
        let mut order = Vec::new();
        in_turn(&[0, 1, 2, 3], 4, |&name: &i32, round| order.push((round, name)));
        let mut pairs: Vec<_> = order.chunks(4).flat_map(|round| round.windows(2)).collect();
        pairs.sort_unstable_by_key(|pair| (pair[0].1, pair[1].1));
        pairs.dedup_by_key(|pair| (pair[0].1, pair[1].1));
        assert_eq!(pairs.len(), 4 * 3, "{order:?}");
    }

    #[test]
    fn figures_and_ratios() {
        assert_eq!(spread(&[3.0, 100.4, 20.0]), ["20.0", "3.00", "100"]);
        assert_eq!(ratios(&[2.0, 9.0], &[1.0, 3.0]), [2.0, 3.0]);
        let case = Case::new(10, 2, "zipf").with("op", "hit");
        assert_eq!(case.title(), "dist zipf, entries 10, op hit, threads 2");
    }
}
