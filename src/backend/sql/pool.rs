//! Connections, and the attempts of a call on them.
//!
//! A call leases one connection. Once the server has answered, the connection goes back; where the
//! call is dropped or times out before, it is cut instead: nobody knows what it would answer next,
//! and a server that sees it gone rolls back what was not committed. So a call that is given up holds
//! no place in the pool, and there are never more connections than the pool has places.
//!
//! Each connection is asked once a second, before its next use, whether its server is there and takes
//! writes; after a failure of any of them at once. One that does not is left: behind an address that
//! follows the primary stands another server by then, and what a demoted one reads is out of date.
//!
//! (`sqlx` has a pool too. It sends a round trip of its own after each lease, tries a refused
//! connection until the timeout, and takes back those whose call was dropped.)

use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use deadpool::managed::{
    Manager, Metrics, Object, Pool as Deadpool, PoolError, QueueMode, RecycleResult,
};
use sqlx::{ConnectOptions, Connection, Database};
use tokio::time::{sleep, timeout, timeout_at};

use super::failure::{failure, is_for_another, leaves_connection_useful, read_only};
use super::figures::Meters;
use crate::error::{Error, ErrorKind, Result};

/// How often a call is tried anew where the server keeps undoing it for others.
const MOST_RETRIES: u32 = 40;

/// For how long a connection is trusted after it was asked.
const TRUSTED: Duration = Duration::from_secs(1);

const SLOW: &str =
    "the server did not answer in time; see whether it is overloaded, or a row is held";

/// For how long servers are told goodbye; then they are left to notice.
const PATIENCE: Duration = Duration::from_secs(1);

/// A dialect as far as connections are concerned.
#[async_trait]
pub(super) trait Session: Database {
    /// Sets what this storage relies on; `timeout` is how long a call may take.
    async fn set_up(
        connection: &mut Self::Connection,
        timeout: Duration,
    ) -> Result<(), sqlx::Error>;

    /// Asks whether the server takes writes: it is no replica, nor read-only for another reason.
    async fn takes_writes(connection: &mut Self::Connection) -> Result<bool, sqlx::Error>;

    /// Sends a statement without parameters that answers nothing.
    async fn say(
        connection: &mut Self::Connection,
        statement: &'static str,
    ) -> Result<(), sqlx::Error>;
}

type OptionsOf<DB> = <<DB as Database>::Connection as Connection>::Options;

pub(super) struct Pool<DB: Session> {
    connections: Deadpool<Maker<DB>>,
    meters: Arc<Meters>,
}

struct Maker<DB: Session> {
    options: OptionsOf<DB>,
    timeout: Duration,
    meters: Arc<Meters>,
    started: Instant,
    /// When a connection last failed, in microseconds after `started`; 0 before the first failure.
    last_failure_us: AtomicU64,
}

/// A connection, and when it was last asked whether it is of use.
struct Member<DB: Session> {
    connection: DB::Connection,
    asked: Instant,
}

impl<DB: Session> Manager for Maker<DB> {
    type Type = Member<DB>;
    type Error = Error;

    async fn create(&self) -> Result<Member<DB>> {
        let asked = Instant::now();
        let connect = async {
            let mut connection = self.options.connect().await?;
            self.meters.connections.add(1);
            DB::set_up(&mut connection, self.timeout).await?;
            Ok(connection)
        };
        let connection = connect.await.map_err(|error: sqlx::Error| failure(&error))?;
        let mut member = Member { connection, asked };
        self.ask(&mut member).await?;
        Ok(member)
    }

    async fn recycle(&self, member: &mut Member<DB>, _: &Metrics) -> RecycleResult<Error> {
        let since = member.asked.elapsed();
        if since > TRUSTED || self.since_failure().is_some_and(|failure| failure <= since) {
            self.ask(member).await?;
        }
        Ok(())
    }
}

impl<DB: Session> Maker<DB> {
    async fn ask(&self, member: &mut Member<DB>) -> Result<()> {
        member.asked = Instant::now();
        self.meters.asked.add(1);
        match DB::takes_writes(&mut member.connection).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(read_only()),
            Err(error) => Err(failure(&error)),
        }
    }

    fn note_failure(&self) {
        let now_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        // Relaxed: a hint; whoever misses it meets the failure itself.
        self.last_failure_us.store(now_us.max(1), Ordering::Relaxed);
    }

    fn since_failure(&self) -> Option<Duration> {
        // Relaxed: as above.
        match self.last_failure_us.load(Ordering::Relaxed) {
            0 => None,
            at_us => Some(self.started.elapsed().saturating_sub(Duration::from_micros(at_us))),
        }
    }
}

/// A connection for one attempt of a call.
pub(super) struct Lease<DB: Session> {
    connection: Option<Object<Maker<DB>>>,
    meters: Arc<Meters>,
    is_in_transaction: bool,
    is_answered: bool,
}

impl<DB: Session> Lease<DB> {
    /// The connection, for one more statement.
    pub(super) fn next(&mut self) -> &mut DB::Connection {
        self.meters.statements.add(1);
        &mut self.connection.as_mut().expect("it is there until the lease ends").connection
    }

    pub(super) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        self.is_in_transaction = true;
        DB::say(self.next(), "BEGIN").await
    }

    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        DB::say(self.next(), "COMMIT").await?;
        self.is_in_transaction = false;
        Ok(())
    }

    /// Ends a transaction that an error has left open; whether the connection may serve on.
    pub(super) async fn roll_back(&mut self) -> bool {
        if self.is_in_transaction {
            self.is_in_transaction = DB::say(self.next(), "ROLLBACK").await.is_err();
        }
        !self.is_in_transaction
    }
}

impl<DB: Session> Drop for Lease<DB> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        if let Some(connection) = self.connection.take() {
            self.meters.cut.add(1);
            drop(Object::take(connection));
        }
    }
}

impl<DB: Session> Pool<DB> {
    pub(super) fn new(
        options: OptionsOf<DB>,
        max_connections: usize,
        timeout: Duration,
        meters: Arc<Meters>,
    ) -> Self {
        let maker = Maker {
            options: options.disable_statement_logging(),
            timeout,
            meters: Arc::clone(&meters),
            started: Instant::now(),
            last_failure_us: AtomicU64::new(0),
        };
        let pool = Deadpool::builder(maker).max_size(max_connections).queue_mode(QueueMode::Lifo);
        let connections = pool.build().expect("without timeouts it needs no runtime");
        Self { connections, meters }
    }

    /// Makes the call, again and again where the server undoes it for others, until `end`.
    ///
    /// The call gives the lease back with its answer. It may leave a transaction open only together
    /// with an error.
    pub(super) async fn run<T, C>(
        &self,
        end: tokio::time::Instant,
        mut call: impl FnMut(Lease<DB>) -> C + Send,
    ) -> Result<T>
    where
        C: Future<Output = (Lease<DB>, Result<T, sqlx::Error>)> + Send,
    {
        // Pinned here, so that its several KiB are not moved once more.
        let attempts = pin!(async {
            let mut retries = 0;
            loop {
                let (mut lease, answer) = call(self.lease().await?).await;
                let error = match answer {
                    Ok(answer) => {
                        lease.is_answered = true;
                        return Ok(answer);
                    }
                    Err(error) => error,
                };
                if leaves_connection_useful(&error) {
                    lease.is_answered = lease.roll_back().await;
                } else {
                    self.connections.manager().note_failure();
                    lease.connection.take().map(Object::take);
                }
                if !is_for_another(&error) || retries == MOST_RETRIES {
                    return Err(failure(&error));
                }
                retries += 1;
                self.meters.retries.add(1);
                sleep(pause(retries)).await;
            }
        });
        match timeout_at(end, attempts).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::with_detail(ErrorKind::Timeout, SLOW)),
        }
    }

    async fn lease(&self) -> Result<Lease<DB>> {
        match self.connections.get().await {
            Ok(connection) => Ok(Lease {
                connection: Some(connection),
                meters: Arc::clone(&self.meters),
                is_in_transaction: false,
                is_answered: false,
            }),
            Err(PoolError::Backend(error)) => Err(error),
            Err(PoolError::Closed) => Err(Error::new(ErrorKind::Closed)),
            Err(_) => Err(Error::new(ErrorKind::Timeout)),
        }
    }

    /// Ends idle connections now, others when their calls have answered.
    pub(super) async fn close(&self) {
        let idle = self.connections.retain(|_, _| false).removed;
        self.connections.close();
        let say_goodbye = async {
            for member in idle {
                // One that is broken already has ended as well.
                let _ = member.connection.close().await;
            }
        };
        let _ = timeout(PATIENCE, say_goodbye).await;
    }
}

/// Up to 2, 4, 8, .. 64 milliseconds, by chance, so that those who collided part.
fn pause(retries: u32) -> Duration {
    let most_us = 1000_u64 << retries.min(6);
    Duration::from_micros(RandomState::new().hash_one(retries) % most_us)
}
