//! A live page, in the terminal, of a cache that is at work.
//!
//! ```text
//! cargo run --release --features json --example inspect                a page a second, until Ctrl-C
//! cargo run --release --features json --example inspect -- --once      one page, as text
//! cargo run --release --features json --example inspect -- --json      one snapshot, as JSON
//! ```
//!
//! Two threads are its users, more than fit. All that the page shows is in one
//! [`Snapshot`](scopecache::Snapshot).

mod app;

use std::process::ExitCode;

fn main() -> ExitCode {
    match app::run(std::env::args().skip(1), &mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("inspect: {error}");
            ExitCode::FAILURE
        }
    }
}
