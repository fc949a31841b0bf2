//! The suite of all storages on real servers. `scripts/backends test` starts them and says where
//! they are; without that there is nothing to try, and this fails.

#[path = "backends/lab.rs"]
mod lab;

use std::thread;

use lab::{RedisLab, servers};
use scopecache::conformance::{Matrix, Report, run};

#[test]
fn every_server_passes_every_case() {
    let servers = servers();
    let reports: Vec<Report> = thread::scope(|scope| {
        let runs: Vec<_> = servers
            .iter()
            .map(|(name, url)| scope.spawn(move || run(name, &RedisLab::new(url))))
            .collect();
        runs.into_iter().map(|run| run.join().expect("the suite does not panic")).collect()
    });
    println!("{}", Matrix(&reports));
    for report in &reports {
        println!("{report}");
    }
    assert!(reports.iter().all(Report::passed), "see the matrix");
}
