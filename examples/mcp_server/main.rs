//! An MCP server that keeps notes for each user and carts behind handles, as safely on two servers as on one.
//!
//! ```sh
//! cargo run --release --features examples --example mcp_server                # a server, for your clients
//! cargo run --release --features examples --example mcp_server -- --demo      # two servers, two users
//! cargo run --release --features examples --example mcp_server -- --measure   # what guard and storage cost
//! ```
//!
//! Clients speak streamable HTTP with `Authorization: Bearer token-of-ada` (or `renewed-token-of-ada`, or
//! `token-of-bob`), in any protocol version that rmcp knows. Ctrl-C stops the servers: no more requests are taken,
//! streams end, calls under way are finished.
//!
//! | argument | |
//! |---|---|
//! | `--port N` | listens there instead of on a free port; further servers on the ports after it |
//! | `--servers N` | so many servers in this process, which share the storage |
//! | `--storage URL` | where sessions, notes and carts are: `memory`, or `redis://..`, `postgres://..`, `mysql://..` where the feature of that name is on |
//! | `--idle SECONDS` | for how long an unused session or cart lives; half an hour at first |
//! | `--store-only` | without the guard, to see what it is for |
//! | `--demo` | drives itself, says what happens, and ends; the status is 1 where anything is not as it should be |
//! | `--probe URL URL` | goes through the probes of `scripts/mcp-clients` at two servers that run already |
//! | `--measure` | compares tool calls with those of a server without storage; 1 where guard and storage cost over 5 % at the median |

mod app;
mod client;
mod demo;
mod measure;
mod probe;
mod sdk;
mod server;
mod unguarded;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use scopecache::Storage;
use scopecache::mcp::Sessions;

use crate::app::Mode;

struct Arguments {
    port: u16,
    servers: u16,
    storage: String,
    idle: Duration,
    mode: Mode,
    what: What,
}

enum What {
    Serve,
    Demo,
    Probe(String, String),
    Measure,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = parse(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let storage = app::connect(&arguments.storage).await?;
        match std::mem::replace(&mut arguments.what, What::Serve) {
            What::Serve => serve(&arguments, storage).await,
            What::Demo => demo::run(storage).await.map(|()| ExitCode::SUCCESS),
            What::Probe(first, second) => {
                let probed = probe::run(&first, &second, arguments.idle).await;
                probed.map(|()| ExitCode::SUCCESS).map_err(|why| why.to_string().into())
            }
            What::Measure => measure::run(storage).await,
        }
    })
}

async fn serve(
    arguments: &Arguments,
    storage: Arc<dyn Storage>,
) -> Result<ExitCode, Box<dyn Error>> {
    let mut running = Vec::new();
    for number in 0..arguments.servers {
        // Each as it would be in a process of its own.
        let sessions = Sessions::new(storage.clone()).with_idle(arguments.idle);
        let port = if arguments.port == 0 { 0 } else { arguments.port + number };
        running.push(app::start(&sessions, storage.clone(), arguments.mode, port).await?);
    }
    for server in &running {
        println!("listening on {}", server.url);
    }
    tokio::signal::ctrl_c().await?;
    for server in running {
        server.stop().await?;
    }
    println!("stopped");
    Ok(ExitCode::SUCCESS)
}

fn parse(mut given: impl Iterator<Item = String>) -> Result<Arguments, Box<dyn Error>> {
    let mut arguments = Arguments {
        port: 0,
        servers: 1,
        storage: "memory".to_owned(),
        idle: Duration::from_secs(30 * 60),
        mode: Mode::Guarded,
        what: What::Serve,
    };
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--port" => arguments.port = number(&argument, given.next())?,
            "--servers" => arguments.servers = number(&argument, given.next())?,
            "--storage" => arguments.storage = given.next().ok_or("--storage needs a name")?,
            "--idle" => {
                let seconds: u16 = number(&argument, given.next())?;
                arguments.idle = Duration::from_secs(seconds.max(1).into());
            }
            "--store-only" => arguments.mode = Mode::StoreOnly,
            "--demo" => arguments.what = What::Demo,
            "--probe" => {
                let (Some(first), Some(second)) = (given.next(), given.next()) else {
                    return Err("--probe needs the addresses of two servers".into());
                };
                arguments.what = What::Probe(first, second);
            }
            "--measure" => arguments.what = What::Measure,
            other => {
                return Err(format!(
                    "unknown argument {other}; known: --port N, --servers N, --storage URL, \
                     --idle SECONDS, --store-only, --demo, --probe URL URL, --measure"
                )
                .into());
            }
        }
    }
    Ok(arguments)
}

fn number(name: &str, value: Option<String>) -> Result<u16, Box<dyn Error>> {
    let number = value.and_then(|value| value.parse().ok());
    number.ok_or_else(|| format!("{name} needs a number up to 65535").into())
}
