//! What the program does, with its arguments and its output given.

#[path = "load.rs"]
mod load;
#[path = "page.rs"]
mod page;

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use self::load::Load;
use self::page::{Since, page};

const HELP: &str = "\
Shows a cache at work: memory, hits, expiry, removals, and the users that stand out.

usage: inspect [--once | --json] [--seconds N] [--top N]

  --once       one page as text, after the load has run for some time
  --json       one snapshot as JSON, likewise
  --seconds N  how long that is, or between two pages (default 1)
  --top N      users of each list (default 10)
  --help       this text";

/// Goes to the first line and clears what is below; nothing that would have to be undone.
const HOME: &str = "\x1b[H\x1b[J";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Live,
    Once,
    Json,
}

/// Runs the load and shows it on `output`; a live page ends with its terminal.
///
/// # Errors
///
/// An argument that makes no sense, a cache that refuses the load, an output that is closed.
pub(crate) fn run(
    arguments: impl IntoIterator<Item = String>,
    output: &mut dyn Write,
) -> Result<(), Box<dyn Error>> {
    let (mut form, mut pause, mut top) = (Form::Live, Duration::from_secs(1), 10);
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<f64, String> {
            let given = arguments.next().and_then(|given| given.parse().ok());
            given.filter(|given| (0.0..=1e6).contains(given)).ok_or(format!("{argument} N"))
        };
        match argument.as_str() {
            "--once" => form = Form::Once,
            "--json" => form = Form::Json,
            "--seconds" => pause = Duration::from_secs_f64(number()?),
            "--top" => top = number()? as usize,
            "--help" => return Ok(writeln!(output, "{HELP}")?),
            unknown => return Err(format!("what is {unknown}?\n{HELP}").into()),
        }
    }
    let load = Load::start()?;
    let start = Instant::now();
    thread::sleep(pause);
    let mut before = load.cache.snapshot(top);
    match form {
        Form::Json => {
            serde_json::to_writer_pretty(&mut *output, &before)?;
            writeln!(output)?;
        }
        Form::Once => {
            let nothing = Since { before: &Default::default(), passed: start.elapsed() };
            write!(output, "{}", page(&before, &nothing))?;
        }
        Form::Live => loop {
            let then = Instant::now();
            thread::sleep(pause);
            let now = load.cache.snapshot(top);
            let page = page(&now, &Since { before: &before, passed: then.elapsed() });
            let home = if std::io::stdout().is_terminal() { HOME } else { "" };
            write!(output, "{home}{page}")?;
            output.flush()?;
            before = now;
        },
    }
    load.end()
}
