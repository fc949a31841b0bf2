//! Storages on servers beside the bare driver, on a server that runs already.
//!
//! ```sh
//! scripts/backends bench                  # starts Redis, runs this, ends it
//! scripts/backends bench postgresql-15    # or another one
//! cargo bench --features redis,postgres,mysql --bench backends -- redis://127.0.0.1:6379
//! ```
//!
//! Each is called in turn with the one by hand, call by call, so that both share whatever else the machine does, and
//! has connections of its own:
//!
//! - `scopecache`;
//! - `by hand`: the driver alone with commands, scripts or statements that keep the same promises (ids of any
//!   characters, a user goes at one moment and is counted, TTLs exact by the server's clock, versions, calls
//!   that end in time), as good as they can be written for this one case;
//! - `hand, less`: the same in simpler words that keep less: see each for what;
//! - `plain`: one command or statement of the driver that promises nothing.
//!
//! The server does not wait for its disk meanwhile: clients are compared.

mod compare;
mod redis;
mod sql;

use tokio::runtime::Builder;

fn main() {
    let url = std::env::args().find(|arg| arg.contains("://"));
    let url = url.expect("the address of a server; scripts/backends bench starts one");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        match url.starts_with("redis") {
            true => redis::run(&url).await,
            false => sql::run(&url).await,
        }
    });
}
