//! Ports for servers that are processes of their own.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

/// Below all that Linux gives to the near ends of connections, if nothing else is set: a port that one of them has
/// taken is lost to a server that was not there for a moment. `scripts/backends` takes those below these.
const FIRST: u16 = 12_000;

/// A node of a cluster listens 10,000 above its port too, unless it can be told where.
const END: u16 = 20_000;

/// A port where nobody listens, and which this process gives to one server alone.
///
/// # Panics
///
/// Where none is left.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let ports = END - FIRST;
    // Two processes begin far from each other.
    let begin = (std::process::id().wrapping_mul(997) % u32::from(ports)) as u16;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    // Relaxed: only uniqueness is asked for.
    (0..ports)
        .map(|_| FIRST + (begin + GIVEN.fetch_add(1, Relaxed) % ports) % ports)
        .find(is_free)
        .expect("somebody listens at each of 8,000 ports")
}
