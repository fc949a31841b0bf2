//! A web server that tells Prometheus what its storage does; `dashboard.json` shows it in Grafana.
//!
//! ```sh
//! cargo run --release --features examples --example observed                  # then open the address
//! cargo run --release --features examples --example observed -- --measure     # what it costs, no server
//! ```
//!
//! `--port N` listens there instead of on a free port. `--traffic` plays some users, so that there is something to
//! see. `--trace` writes the spans to the standard error.
//!
//! Let a Prometheus scrape `/metrics`, and import `examples/observed/dashboard.json` into Grafana.

mod app;
mod cost;
mod traffic;

use std::error::Error;
use std::net::Ipv4Addr;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use scopecache::Cache;
use tracing::Level;
use tracing_subscriber::fmt::format::FmtSpan;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (mut port, mut traffic) = (0, false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--port" => {
                let number = arguments.next().and_then(|number| number.parse().ok());
                port = number.ok_or("--port needs a number from 0 (any free port) to 65535")?;
            }
            "--traffic" => traffic = true,
            "--trace" => tracing_subscriber::fmt()
                .with_max_level(Level::DEBUG)
                .with_span_events(FmtSpan::CLOSE)
                .with_writer(std::io::stderr)
                .init(),
            "--measure" => return cost::measure(),
            other => {
                return Err(format!(
                    "unknown argument {other}; known: --port N, --traffic, --trace, --measure"
                )
                .into());
            }
        }
    }
    let recorder = app::recorder()?;
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(handle, port, traffic))
}

async fn serve(handle: PrometheusHandle, port: u16, traffic: bool) -> Result<(), Box<dyn Error>> {
    let cache: Cache = Cache::builder().max_bytes(64 << 20).build()?;
    let shop = app::Shop::new(cache, handle);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}, metrics at /metrics", listener.local_addr()?);
    let upkeep = {
        let handle = shop.metrics.clone();
        async move {
            // What nobody scrapes must not pile up.
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                handle.run_upkeep();
            }
        }
    };
    tokio::spawn(upkeep);
    if traffic {
        tokio::spawn(traffic::play(shop.storage.clone()));
    }
    let stop = async {
        // Without the signal there is only the hard way to stop.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    axum::serve(listener, app::router(shop)).with_graceful_shutdown(stop).await?;
    Ok(())
}
