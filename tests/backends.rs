//! The suite of all storages on real servers. `scripts/backends test` starts them and says where
//! they are; without that there is nothing to try, and this fails.

#[path = "backends/lab.rs"]
mod lab;
#[path = "backends/sql.rs"]
mod sql;

use std::thread;

use lab::{RedisLab, servers};
use scopecache::conformance::{Lab, Matrix, Report, run};
use sql::SqlLab;

#[test]
fn every_server_passes_every_case() {
    let servers = servers();
    let reports: Vec<Report> = thread::scope(|scope| {
        let runs: Vec<_> =
            servers.iter().map(|(name, url)| scope.spawn(move || run(name, &*lab(url)))).collect();
        runs.into_iter().map(|run| run.join().expect("the suite does not panic")).collect()
    });
    println!("{}", Matrix(&reports));
    for report in &reports {
        println!("{report}");
    }
    assert!(reports.iter().all(Report::passed), "see the matrix");
}

fn lab(url: &str) -> Box<dyn Lab> {
    if url.starts_with("redis") { Box::new(RedisLab::new(url)) } else { Box::new(SqlLab::new(url)) }
}
