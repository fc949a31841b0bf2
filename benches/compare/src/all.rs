//! All comparisons in short forms, each in a process of its own.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::args::Flags;

pub(crate) const HELP: &str = "  \
all: the others one after another, in forms that take about a quarter of an hour together
    --short               a minute or so: whether they work, not what they measure
    --traces DIR          of hit-ratio, which is left out without them";

/// What is run, the arguments of the usual and of the short form.
const RUNS: &[[&str; 3]] = &[
    ["get", "--seconds 0.1", "--entries 1000 --dist hot --threads 2 --seconds 0.01 --samples 2"],
    [
        "set",
        "--seconds 0.1 --dist zipf,uniform",
        "--entries 1000 --dist hot --threads 2 --seconds 0.01 --samples 2",
    ],
    [
        "mixed",
        "--seconds 0.05 --samples 3",
        "--entries 1000 --dist zipf --threads 2 --seconds 0.01 --samples 2",
    ],
    ["get-many", "--seconds 0.2", "--entries 10000 --threads 1 --seconds 0.02 --samples 1"],
    ["churn", "--seconds 0.3 --samples 3", "--entries 10000 --seconds 0.02 --samples 1"],
    ["load", "", "--entries 10000 --seconds 0.02 --samples 1"],
    ["delete-user", "--entries 100_000 --samples 3", "--entries 1000 --most 10_000 --samples 2"],
    ["delete-storm", "--samples 3", "--entries 10000 --rates 1000 --seconds 0.02 --samples 1"],
    [
        "tail",
        "--entries 250_000 --seconds 2 --samples 3",
        "--entries 10000 --rate 20000 --seconds 0.1 --samples 1",
    ],
    ["scale", "--seconds 0.1", "--entries 1000 --seconds 0.01 --samples 1 --instructions 0"],
    ["tenants", "", "--bytes 2M --keys 10_000 --requests 20_000 --samples 1"],
    ["memory", "--layout plain,sessions-8 --entries 500_000", "--entries 10000 --layout plain"],
];

pub(crate) fn run(mut flags: Flags) -> Result<()> {
    let common = flags.common.clone();
    let (mut short, mut traces) = (false, None);
    while let Some(flag) = flags.next() {
        match &*flag.name {
            "short" => short = true,
            "traces" => traces = Some(flag.path()?),
            _ => return Err(flag.unknown().into()),
        }
    }
    let program = std::env::current_exe().context("cannot find this program itself")?;
    let child = |name: &str, arguments: &mut dyn FnMut(&mut Command)| -> Result<()> {
        let mut command = Command::new(&program);
        command.arg(name);
        arguments(&mut command);
        common.pass_on(&mut command);
        eprintln!("== {name}");
        let status = command.status().context("cannot start a process")?;
        if !status.success() {
            bail!("{name} ended with {status}");
        }
        Ok(())
    };
    for &[name, usual, quick] in RUNS {
        let arguments = if short { quick } else { usual };
        child(name, &mut |command| {
            command.args(arguments.split_whitespace());
        })?;
    }
    match traces {
        Some(traces) => child("hit-ratio", &mut |command| {
            command.arg("--traces").arg(&traces);
        }),
        None => Ok(()),
    }
}
