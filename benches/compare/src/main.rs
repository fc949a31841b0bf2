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
mod random;
mod report;
mod scale;
mod set;
mod settings;
mod tail;
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
}

const COMMANDS: &[Command] = &[
    Command { name: "get", help: get::HELP, run: get::run },
    Command { name: "set", help: set::HELP, run: set::run },
    Command { name: "mixed", help: mixed::HELP, run: mixed::run },
    Command { name: "get-many", help: get_many::HELP, run: get_many::run },
    Command { name: "churn", help: churn::HELP, run: churn::run },
    Command { name: "load", help: load::HELP, run: load::run },
    Command { name: "delete-user", help: delete_user::HELP, run: delete_user::run },
    Command { name: "delete-storm", help: delete_storm::HELP, run: delete_storm::run },
    Command { name: "tail", help: tail::HELP, run: tail::run },
    Command { name: "scale", help: scale::HELP, run: scale::run },
    Command { name: scale::CHILD, help: "", run: scale::run_child },
    Command { name: "hit-ratio", help: hit_ratio::HELP, run: hit_ratio::run },
    Command { name: "memory", help: memory::HELP, run: memory::run },
    Command { name: memory::CHILD, help: "", run: memory::run_child },
    Command { name: "bound", help: bound::HELP, run: bound::run },
    Command { name: "all", help: all::HELP, run: all::run },
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
        Some(flags) => (command.run)(flags),
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
