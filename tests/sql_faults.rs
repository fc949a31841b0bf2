//! Faults on real SQL servers. `scripts/backends test` starts them and says where they are; without
//! that there is nothing to try, and this fails.

#[path = "sql_faults/cut.rs"]
mod cut;
#[path = "sql_faults/figures.rs"]
mod figures;
#[path = "sql_faults/locks.rs"]
mod locks;
#[path = "sql_faults/many.rs"]
mod many;
#[path = "sql_faults/outage.rs"]
mod outage;
#[path = "sql_faults/proxy.rs"]
mod proxy;
#[path = "sql_faults/server.rs"]
mod server;
#[path = "sql_faults/tables.rs"]
mod tables;
#[path = "sql_faults/tls.rs"]
mod tls;
