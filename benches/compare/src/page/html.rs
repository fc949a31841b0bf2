//! The page: everything in one file, nothing from elsewhere.

use std::fmt::Write;

use super::pictures::Picture;
use super::svg::escaped;
use super::{Case, machines, versions};
use crate::bench::figure;
use crate::report::median;

const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#fff;--ink:#222;--line:#ccc;--good:#2b8a3e;--bad:#c92a2a}\
@media (prefers-color-scheme: dark){:root{--paper:#16181c;--ink:#ddd;--line:#444;--good:#69db7c;--bad:#ff8787}}\
body{background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;font-size:14px;margin:.5rem 0 1.5rem}\
td,th{padding:.15rem .7rem;border-bottom:1px solid var(--line);text-align:right}\
td:first-child,th:first-child{text-align:left}\
.lost{color:var(--bad)}.won{color:var(--good)}\
svg{max-width:760px;width:100%;display:block;margin:1rem 0}summary{cursor:pointer}";

pub(super) fn page(cases: &[Case], pictures: &[Picture], note: &str) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>scopecache beside its peers</title><style>{STYLE}</style></head><body>\
         <h1>scopecache beside its peers</h1><p>{note}<br>{machines}.<br>{versions}.</p>\
         <p>Medians, and in the tables the least and the most of all samples. A ratio is taken \
         within one round, in which all took their samples in turn; above 1 the peer is slower \
         than scopecache or takes more, below 1 scopecache loses.</p>",
        note = escaped(note),
        machines = escaped(&machines(cases)),
        versions = escaped(&versions(cases)),
    );
    page += "<h2>Pictures</h2>";
    for picture in pictures {
        page += &picture.svg;
    }
    page += "<h2>All results</h2>";
    let mut bench = "";
    for case in cases {
        if case.bench != bench {
            if !bench.is_empty() {
                page += "</details>";
            }
            bench = &case.bench;
            let _ = write!(page, "<details open><summary><b>{}</b></summary>", escaped(bench));
        }
        page += &table(case);
    }
    page + "</details></body></html>\n"
}

fn table(case: &Case) -> String {
    let title = escaped(&format!("{}: {}", case.metric.replace('_', " "), case.title(&[])));
    let mut table = format!(
        "<table><tr><th>{title}</th><th>{}</th><th>from</th><th>to</th><th>ratio</th>\
         <th>from</th><th>to</th></tr>",
        escaped(&case.unit)
    );
    for row in &case.rows {
        let least = row.samples.iter().copied().fold(f64::INFINITY, f64::min);
        let most = row.samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let _ = write!(table, "<tr><td>{}</td>", escaped(&row.label()));
        for value in [median(&row.samples), least, most] {
            let _ = write!(table, "<td>{}</td>", figure(value));
        }
        match case.ratio(row) {
            Some(ratio) => {
                let class = if case.is_lost_to(row, ratio) { "lost" } else { "won" };
                let _ = write!(table, "<td class=\"{class}\">{}</td>", figure(ratio.median));
                let _ = write!(table, "<td>{}</td>", figure(ratio.least));
                let _ = write!(table, "<td>{}</td>", figure(ratio.most));
            }
            None => table += "<td></td><td></td><td></td>",
        }
        table += "</tr>";
    }
    table + "</table>"
}
