//! Faults on real SQL servers. `scripts/backends test` starts them and says where they are; without
//! that there is nothing to try, and this fails.

#[path = "sql_faults/clean.rs"]
mod clean;
#[path = "sql_faults/clock.rs"]
mod clock;
#[path = "sql_faults/cut.rs"]
mod cut;
#[path = "sql_faults/faults.rs"]
mod faults;
#[path = "sql_faults/figures.rs"]
mod figures;
#[path = "sql_faults/full.rs"]
mod full;
#[expect(dead_code, reason = "clusters alone hold their writers")]
#[path = "support/load.rs"]
mod load;
#[path = "sql_faults/locks.rs"]
mod locks;
#[path = "sql_faults/own.rs"]
mod own;
#[path = "sql_faults/pause.rs"]
mod pause;
#[path = "support/ports.rs"]
mod ports;
#[path = "sql_faults/proxy.rs"]
mod proxy;
#[path = "sql_faults/replica.rs"]
mod replica;
#[path = "sql_faults/server.rs"]
mod server;
#[path = "sql_faults/tables.rs"]
mod tables;
#[path = "sql_faults/tls.rs"]
mod tls;
