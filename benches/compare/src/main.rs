//! Compares `scopecache` with other caches, and with its own promises.
//!
//! One file, or one folder, a subcommand: a new one is a module with `run(Flags) -> Result<()>`
//! and a line in [`COMMANDS`]. What they share stands beside this file: flags, results, the
//! counting allocator, random numbers, traces.

mod all;
mod alloc;
mod args;
mod bench;
mod bound;
mod churn;
mod contender;
mod data;
mod delete_storm;
mod delete_user;
mod get;
mod get_many;
mod hit_ratio;
mod load;
mod machine;
mod memory;
mod mixed;
mod page;
mod pages;
mod random;
mod report;
mod scale;
mod set;
mod settings;
mod tail;
mod tenants;
mod text_table;
mod timing;
mod traces;

use std::process::ExitCode;

use anyhow::Result;

use crate::alloc::Counting;
use crate::args::{COMMON_HELP, Flags, Usage};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Command {
    name: &'static str,
    /// Empty for one that only this program calls.
    help: &'static str,
    run: fn(Flags) -> Result<()>,
    takes_files: bool,
}

impl Command {
    const fn new(name: &'static str, help: &'static str, run: fn(Flags) -> Result<()>) -> Self {
        Self { name, help, run, takes_files: false }
    }
}

const COMMANDS: &[Command] = &[
    Command::new("get", get::HELP, get::run),
    Command::new("set", set::HELP, set::run),
    Command::new("mixed", mixed::HELP, mixed::run),
    Command::new("get-many", get_many::HELP, get_many::run),
    Command::new("churn", churn::HELP, churn::run),
    Command::new("load", load::HELP, load::run),
    Command::new("delete-user", delete_user::HELP, delete_user::run),
    Command::new("delete-storm", delete_storm::HELP, delete_storm::run),
    Command::new("tail", tail::HELP, tail::run),
    Command::new("scale", scale::HELP, scale::run),
    Command::new(scale::CHILD, "", scale::run_child),
    Command::new("tenants", tenants::HELP, tenants::run),
    Command::new("hit-ratio", hit_ratio::HELP, hit_ratio::run),
    Command::new("memory", memory::HELP, memory::run),
    Command::new(memory::CHILD, "", memory::run_child),
    Command::new("bound", bound::HELP, bound::run),
    Command::new("all", all::HELP, all::run),
    Command { takes_files: true, ..Command::new("report", page::HELP, page::run) },
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Usage>() => {
            eprintln!("compare: {error:#}\nTry `compare --help`.");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut parser = lexopt::Parser::from_env();
    let name = match parser.next().map_err(Usage::from)? {
        Some(lexopt::Arg::Value(name)) => name.to_string_lossy().into_owned(),
        Some(lexopt::Arg::Long("help") | lexopt::Arg::Short('h')) => {
            print_help();
            return Ok(());
        }
        Some(flag) => return Err(Usage::new(format!("{flag:?} before a subcommand")).into()),
        None => return Err(Usage::new("which comparison? a subcommand is missing").into()),
    };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        return Err(Usage::new(format!("there is no subcommand `{name}`")).into());
    };
    match Flags::new(parser)? {
        Some(flags) if command.takes_files => (command.run)(flags),
        Some(flags) => (command.run)(flags.without_files()?),
        None => {
            println!("{}\n\nCommon flags:\n{COMMON_HELP}", command.help);
            Ok(())
        }
    }
}

fn print_help() {
    println!("compare SUBCOMMAND [flags]\n");
    for command in COMMANDS.iter().filter(|command| !command.help.is_empty()) {
        println!("{}\n", command.help);
    }
    println!("Common flags:\n{COMMON_HELP}");
}
