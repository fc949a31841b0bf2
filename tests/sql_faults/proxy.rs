//! A proxy on loopback that cuts a connection in the middle of an answer, and counts the answers.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU16, AtomicU64, Ordering};
use std::thread;

const UNLIMITED: i64 = i64::MAX;

pub(crate) struct Proxy {
    port: u16,
    /// Where connections that begin now lead.
    target: Arc<AtomicU16>,
    line: Line,
}

/// What all connections share.
#[derive(Clone)]
struct Line {
    /// How many bytes of answers still pass.
    left: Arc<AtomicI64>,
    /// How many connections were cut.
    cuts: Arc<AtomicU64>,
    /// How often a client has begun to ask since it was answered.
    rounds: Arc<AtomicU64>,
}

impl Proxy {
    /// Passes on to a port of this machine.
    pub(crate) fn new(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let line = Line {
            left: Arc::new(AtomicI64::new(UNLIMITED)),
            cuts: Arc::default(),
            rounds: Arc::default(),
        };
        let proxy = Self { port, target: Arc::new(AtomicU16::new(target)), line };
        let (line, target) = (proxy.line.clone(), Arc::clone(&proxy.target));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // SeqCst: a switch of a test.
                let target = ("127.0.0.1", target.load(Ordering::SeqCst));
                let Ok(server) = TcpStream::connect(target) else { continue };
                pass(client, server, line.clone());
            }
        });
        proxy
    }

    /// Leads connections that begin from now on to another port; the others stay.
    pub(crate) fn lead_to(&self, target: u16) {
        // SeqCst: as above.
        self.target.store(target, Ordering::SeqCst);
    }

    /// The address with the proxy's port in place of the server's.
    pub(crate) fn url(&self, url: &str) -> String {
        let (start, rest) = url.rsplit_once(':').expect("the address has a port");
        let (_, path) = rest.split_once('/').expect("the address has a database");
        format!("{start}:{}/{path}", self.port)
    }

    /// Lets so many bytes of answers pass, then cuts every connection that has more to answer.
    pub(crate) fn cut_after(&self, bytes: i64) {
        // SeqCst: a switch of a test.
        self.line.left.store(bytes, Ordering::SeqCst);
    }

    pub(crate) fn cut_no_more(&self) {
        self.cut_after(UNLIMITED);
    }

    /// Connections cut so far.
    pub(crate) fn cuts(&self) -> u64 {
        // SeqCst: as above.
        self.line.cuts.load(Ordering::SeqCst)
    }

    /// Round trips so far, over all connections.
    pub(crate) fn rounds(&self) -> u64 {
        // SeqCst: read between calls, after what they have counted.
        self.line.rounds.load(Ordering::SeqCst)
    }
}

fn pass(mut client: TcpStream, mut server: TcpStream, line: Line) {
    let Line { left, cuts, rounds } = line;
    let clone = |stream: &TcpStream| stream.try_clone().expect("a second handle");
    let (mut to_server, mut to_client) = (clone(&server), clone(&client));
    // Small answers are not to wait for each other.
    let _ = (to_server.set_nodelay(true), to_client.set_nodelay(true));
    let is_asking = Arc::new(AtomicU64::new(0));
    let asks = Arc::clone(&is_asking);
    thread::spawn(move || {
        let mut buffer = [0; 1 << 16];
        while let Ok(count @ 1..) = client.read(&mut buffer) {
            // SeqCst: as in `rounds`.
            if asks.swap(1, Ordering::SeqCst) == 0 {
                rounds.fetch_add(1, Ordering::SeqCst);
            }
            if to_server.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to_server.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        let mut buffer = [0; 1 << 16];
        while let Ok(count @ 1..) = server.read(&mut buffer) {
            // SeqCst: as in `rounds` and `cut_after`.
            is_asking.store(0, Ordering::SeqCst);
            let mut passed = count;
            if left.load(Ordering::SeqCst) != UNLIMITED {
                let before = left.fetch_sub(count as i64, Ordering::SeqCst);
                passed = usize::try_from(before).unwrap_or(0).min(count);
            }
            if to_client.write_all(&buffer[..passed]).is_err() {
                break;
            }
            if passed < count {
                cuts.fetch_add(1, Ordering::SeqCst);
                break;
            }
        }
        let _ = (to_client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
    });
}
