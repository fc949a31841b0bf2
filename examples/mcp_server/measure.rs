//! What a tool call costs through guard and storage, beside a server of rmcp's without either, in one run;
//! and what it costs besides to keep its events, of which each call has two.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scopecache::Storage;
use scopecache::mcp::Sessions;
use serde_json::json;

use crate::app::{self, Mode, Running};
use crate::client::Client;

const WARM_UP: usize = 500;
const ROUNDS: usize = 80;
const CALLS: usize = 50;
const MOST_PERCENT: f64 = 5.0;

struct Contender {
    name: &'static str,
    /// Whether it is the one that may be so much slower and no more.
    is_judged: bool,
    server: Running,
    client: Client,
    session: String,
    calls: Vec<Duration>,
}

pub(crate) async fn run(storage: Arc<dyn Storage>) -> Result<ExitCode, Box<dyn Error>> {
    let sessions = Sessions::new(storage.clone());
    let kinds = [
        ("without storage or guard", Mode::Plain, sessions.clone()),
        ("guarded, no events kept", Mode::Guarded, sessions.clone().with_events(None)),
        ("guarded, events kept", Mode::Guarded, sessions),
    ];
    let mut contenders = Vec::new();
    for (name, mode, sessions) in kinds {
        let server = app::start(&sessions, storage.clone(), mode, 0).await?;
        let client = Client::new(&server.url, "token-of-ada");
        let session = client.initialize().await.map_err(|why| why.to_string())?;
        let is_judged = contenders.len() == 1;
        contenders.push(Contender { name, is_judged, server, client, session, calls: Vec::new() });
    }
    for contender in &mut contenders {
        contender.calls(WARM_UP).await?;
        contender.calls.clear();
    }
    // In turns, so that whatever else the machine does meets all alike.
    for _ in 0..ROUNDS {
        for contender in &mut contenders {
            contender.calls(CALLS).await?;
        }
    }
    println!("{} tool calls each, one after another, over loopback:", ROUNDS * CALLS);
    let mut base = None;
    let mut guarded = 0.0;
    for contender in contenders {
        let (p50, p99) = contender.quantiles();
        let base = *base.get_or_insert(p50);
        let more = (p50 / base - 1.0) * 100.0;
        if contender.is_judged {
            guarded = more;
        }
        println!("  {:26} p50 {p50:7.1} us ({more:+5.1} %)   p99 {p99:7.1} us", contender.name);
        contender.server.stop().await?;
    }
    Ok(if guarded <= MOST_PERCENT { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Contender {
    async fn calls(&mut self, number: usize) -> Result<(), Box<dyn Error>> {
        for _ in 0..number {
            let begin = Instant::now();
            let answer = self.client.call(&self.session, "whoami", json!({})).await;
            self.calls.push(begin.elapsed());
            let answer = answer.map_err(|why| why.to_string())?;
            if answer.text().is_empty() {
                return Err(format!("{}: answered {}", self.name, answer.status).into());
            }
        }
        Ok(())
    }

    /// The median and the 99th percentile, in microseconds.
    fn quantiles(&self) -> (f64, f64) {
        let mut calls = self.calls.clone();
        calls.sort_unstable();
        let at = |share: f64| calls[((calls.len() - 1) as f64 * share) as usize];
        (at(0.5).as_secs_f64() * 1e6, at(0.99).as_secs_f64() * 1e6)
    }
}
