//! The document: a table for each figure of each comparison, a row a case.

use std::fmt::Write;

use super::{Case, Row, machines, versions};
use crate::bench::figure;

pub(super) fn document(cases: &[Case], note: &str) -> String {
    let note = if note.is_empty() { String::new() } else { format!("{note}\n") };
    let mut text = format!(
        "# Benchmarks\n\n\
         Made by `scripts/benchmarks`; `benches/compare/README.md` tells what is measured, how each \
         peer is set up, and what is fair about it.\n\n\
         {note}Machine: {}.\nCrates: {}.\n\n\
         The column of scopecache has figures, medians. The others have ratios to it, the median and \
         the least and most over all rounds: 2 is twice as much. **Bold** is what scopecache loses, \
         by the median.\n",
        machines(cases),
        versions(cases),
    );
    let mut at = 0;
    while let Some(first) = cases.get(at) {
        let of_table = |case: &&Case| case.is(&first.bench, &first.metric);
        if cases[..at].iter().any(|case| of_table(&case)) {
            at += 1;
            continue;
        }
        let table: Vec<&Case> = cases.iter().filter(of_table).collect();
        let _ = write!(text, "\n## {}: {}\n\n", first.bench, first.metric.replace('_', " "));
        text += &table_of(&table);
        at += 1;
    }
    text
}

fn table_of(cases: &[&Case]) -> String {
    let mut labels: Vec<String> = Vec::new();
    for label in cases.iter().flat_map(|case| case.rows.iter().map(Row::label)) {
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    let mut text = format!("| {} | {} |\n|---|", cases[0].unit, labels.join(" | "));
    text += &"--:|".repeat(labels.len());
    text.push('\n');
    for case in cases {
        let _ = write!(text, "| {} |", case.title(&[]));
        for label in &labels {
            let row = case.rows.iter().find(|row| row.label() == *label);
            let _ = write!(text, " {} |", row.map_or("-".to_owned(), |row| cell(case, row)));
        }
        text.push('\n');
    }
    text
}

fn cell(case: &Case, row: &Row) -> String {
    let is_ours = case.ours().is_some_and(|ours| ours.label() == row.label());
    match case.ratio(row) {
        Some(ratio) if !is_ours => {
            let stars = if case.is_lost_to(row, ratio) { "**" } else { "" };
            let [median, least, most] = [ratio.median, ratio.least, ratio.most].map(figure);
            format!("{stars}{median}{stars} ({least}-{most})")
        }
        _ if is_ours => figure(row.value),
        _ => format!("{} {}", figure(row.value), row.unit),
    }
}
