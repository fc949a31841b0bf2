//! Two kinds of pictures: bars with spreads, and lines.

use std::fmt::Write;

use crate::bench::figure;

pub(super) const NAMESPACE: &str = "http://www.w3.org/2000/svg";

/// Seen on light and on dark; ours is the first.
const COLOURS: [&str; 12] = [
    "#d9480f", "#1c7ed6", "#66a80f", "#ae3ec9", "#0ca678", "#f59f00", "#7048e8", "#e64980",
    "#868e96", "#1098ad", "#a0522d", "#5c940d",
];

/// A value with its least and most.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

pub(super) struct Line {
    pub(super) label: String,
    /// A place on the axis, by its number, and a value.
    pub(super) points: Vec<(usize, f64)>,
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 70.0;

/// A bar a row, on a logarithmic axis from a tenth of the least where `is_ratio`, with a mark at
/// one; else from 0.
pub(super) fn bars(title: &str, unit: &str, bars: &[Bar], is_ratio: bool) -> String {
    let height = 58.0 + 24.0 * bars.len() as f64;
    let mut svg = head(title, height);
    let most = bars.iter().map(|bar| bar.most).fold(1.0, f64::max);
    let least = bars.iter().map(|bar| bar.least).fold(1.0, f64::min) / 1.3;
    let across = WIDTH - LEFT - RIGHT;
    let place = |value: f64| {
        let part = match is_ratio {
            true => (value / least).ln() / (most / least).ln(),
            false => value / most,
        };
        LEFT + across * part.clamp(0.0, 1.0)
    };
    for (number, bar) in bars.iter().enumerate() {
        let y = 40.0 + 24.0 * number as f64;
        let colour = if bar.label.starts_with("scopecache") { COLOURS[0] } else { COLOURS[1] };
        let (x, from, to) = (place(bar.value), place(bar.least), place(bar.most));
        text(&mut svg, LEFT - 8.0, y + 13.0, "end", &bar.label);
        let start = if is_ratio { place(1.0) } else { LEFT };
        let (begin, wide) = (start.min(x), (x - start).abs().max(1.0));
        let _ = write!(
            svg,
            r#"<rect x="{begin:.1}" y="{y:.1}" width="{wide:.1}" height="16" fill="{colour}" opacity="0.75"/><path class="ink" d="M{from:.1} {m:.1}H{to:.1}M{from:.1} {a:.1}V{b:.1}M{to:.1} {a:.1}V{b:.1}"/>"#,
            m = y + 8.0,
            a = y + 4.0,
            b = y + 12.0,
        );
        text(&mut svg, WIDTH - RIGHT + 8.0, y + 13.0, "start", &figure(bar.value));
    }
    if is_ratio {
        let (x, end) = (place(1.0), height - 16.0);
        let _ =
            write!(svg, r#"<path class="ink" d="M{x:.1} 34V{end:.1}" stroke-dasharray="3 3"/>"#);
    }
    text(&mut svg, WIDTH - 8.0, height - 4.0, "end", unit);
    svg + "</svg>"
}

/// Lines over named places, on a logarithmic axis where `is_log`.
pub(super) fn lines(
    title: &str,
    unit: &str,
    places: &[String],
    lines: &[Line],
    is_log: bool,
) -> String {
    const TOP: f64 = 40.0;
    const DOWN: f64 = 300.0;
    const LINES_LEFT: f64 = 70.0;
    let height = TOP + DOWN + 46.0 + 18.0 * lines.len().div_ceil(3) as f64;
    let mut svg = head(title, height);
    let values = || lines.iter().flat_map(|line| line.points.iter().map(|point| point.1));
    let most = values().fold(f64::MIN_POSITIVE, f64::max);
    let least = values().filter(|&value| value > 0.0).fold(most, f64::min);
    let (least, most) = match is_log {
        true => (10_f64.powf(least.log10().floor()), 10_f64.powf(most.log10().ceil())),
        false => (0.0, most),
    };
    let y = |value: f64| {
        let part = match is_log {
            true => (value.max(least) / least).ln() / (most / least).ln().max(1e-9),
            false => value / most,
        };
        TOP + DOWN * (1.0 - part)
    };
    let step = (WIDTH - LINES_LEFT - 30.0) / (places.len().max(2) - 1) as f64;
    let x = |place: usize| LINES_LEFT + step * place as f64;
    let mut grid: Vec<f64> = match is_log {
        true => std::iter::successors(Some(least), |mark| Some(mark * 10.0))
            .take_while(|&mark| mark <= most * 1.01)
            .collect(),
        false => (0..=4).map(|part| most * f64::from(part) / 4.0).collect(),
    };
    grid.dedup();
    for mark in grid {
        let _ = write!(
            svg,
            r#"<path class="grid" d="M{LINES_LEFT} {y:.1}H{end:.1}"/>"#,
            y = y(mark),
            end = WIDTH - 30.0,
        );
        text(&mut svg, LINES_LEFT - 6.0, y(mark) + 4.0, "end", &mark_name(mark));
    }
    for (number, name) in places.iter().enumerate() {
        text(&mut svg, x(number), TOP + DOWN + 18.0, "middle", name);
    }
    for (number, line) in lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let wide = if number == 0 { 3.5 } else { 1.6 };
        let points =
            line.points.iter().map(|&(place, value)| format!("{:.1},{:.1}", x(place), y(value)));
        let points = points.collect::<Vec<_>>().join(" ");
        let _ = write!(
            svg,
            r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{wide}"/>"#
        );
        let (left, down) = (
            LINES_LEFT + 230.0 * (number % 3) as f64,
            TOP + DOWN + 40.0 + 18.0 * (number / 3) as f64,
        );
        let _ = write!(
            svg,
            r#"<rect x="{left:.1}" y="{y:.1}" width="14" height="4" fill="{colour}"/>"#,
            y = down - 6.0,
        );
        text(&mut svg, left + 20.0, down, "start", &line.label);
    }
    text(&mut svg, 8.0, TOP - 8.0, "start", unit);
    svg + "</svg>"
}

fn mark_name(mark: f64) -> String {
    match mark {
        mark if mark >= 1e9 => format!("{} G", mark / 1e9),
        mark if mark >= 1e6 => format!("{} M", mark / 1e6),
        mark if mark >= 1e3 => format!("{} k", mark / 1e3),
        mark => figure(mark),
    }
}

fn head(title: &str, height: f64) -> String {
    let mut svg = format!(
        r#"<svg xmlns="{NAMESPACE}" viewBox="0 0 {WIDTH} {height}" role="img"><title>{title}</title><style>text{{font:13px system-ui,sans-serif;fill:#222}}.ink{{stroke:#222;fill:none}}.grid{{stroke:#8886;fill:none}}@media (prefers-color-scheme: dark){{text{{fill:#ddd}}.ink{{stroke:#ddd}}}}</style>"#,
        title = escaped(title),
    );
    text(&mut svg, 8.0, 18.0, "start", title);
    svg
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let words = escaped(words);
    let _ = write!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{words}</text>"#);
}

/// What stands for itself in HTML and SVG.
pub(super) fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
