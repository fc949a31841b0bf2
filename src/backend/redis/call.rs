//! How a call reaches the server, and ends in time.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Arg, Client, Cmd, FromRedisValue, Pipeline, RedisResult, ServerErrorKind, cmd, pipe};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use super::failure::{code, failure};
use super::layout::Names;
use super::scripts::Script;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::Mutex;

/// A timeout beyond this is as good as none, and does not reach past the end of time.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The connection of a client, made anew when it breaks.
pub(super) struct Line {
    client: Client,
    config: ConnectionManagerConfig,
    /// How long a call may take that has no timeout of its own.
    timeout: Duration,
    /// Nothing once it was closed.
    present: Mutex<Option<Present>>,
}

#[derive(Clone)]
struct Present {
    manager: ConnectionManager,
    /// How many were replaced before it.
    number: u64,
}

impl Line {
    /// Nothing is sent before the first call.
    pub(super) fn new(
        client: Client,
        config: ConnectionManagerConfig,
        timeout: Duration,
    ) -> RedisResult<Self> {
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), config.clone())?;
        Ok(Self {
            client,
            config,
            timeout,
            present: Mutex::new(Some(Present { manager, number: 0 })),
        })
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// When a call ends that begins now.
    pub(super) fn end_of(&self, timeout: Option<Duration>) -> Instant {
        let now = Instant::now();
        // A timeout past the end of time is that of the client.
        let end = timeout.and_then(|timeout| now.checked_add(timeout));
        end.unwrap_or_else(|| now + self.timeout.min(LONGEST))
    }

    /// Gives the connection up: it ends as soon as the calls that are under way have ended.
    pub(super) fn close(&self) {
        *self.present.lock() = None;
    }

    /// Runs a script and decodes its answer.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        end: Instant,
        script: &Script,
        call: &Cmd,
    ) -> Result<T> {
        let mut present = self.present()?;
        let step = async {
            match call.query_async(&mut present.manager).await {
                Err(error) if is_unknown(&error) => {
                    with_code(script, call).query_async(&mut present.manager).await
                }
                answer => answer,
            }
        };
        let answer = timeout_at(end, step).await;
        self.judge(answer, present.number)
    }

    /// Runs a script for each of the calls, all in one round trip, in their order. Returns the sum
    /// of what they answer.
    ///
    /// # Errors
    ///
    /// The first; calls after it may have been carried out.
    pub(super) async fn run_all(
        &self,
        end: Instant,
        script: &Script,
        calls: &[Cmd],
    ) -> Result<u64> {
        if let [call] = calls {
            return self.run(end, script, call).await;
        }
        let mut present = self.present()?;
        if calls.is_empty() {
            return Ok(0);
        }
        let step = async {
            let mut answers = all(calls, &mut present.manager).await?;
            let unknown: Vec<usize> = (0..calls.len())
                .filter(|&index| answers[index].as_ref().is_err_and(is_unknown))
                .collect();
            if !unknown.is_empty() {
                let again: Vec<Cmd> =
                    unknown.iter().map(|&index| with_code(script, &calls[index])).collect();
                let late = all(&again, &mut present.manager).await?;
                for (index, answer) in unknown.into_iter().zip(late) {
                    answers[index] = answer;
                }
            }
            answers.into_iter().sum()
        };
        let answer = timeout_at(end, step).await;
        self.judge(answer, present.number)
    }

    /// Sends commands that change nothing, in one round trip, and decodes what they answer.
    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        end: Instant,
        commands: &Pipeline,
    ) -> Result<T> {
        let mut present = self.present()?;
        let answer = timeout_at(end, commands.query_async(&mut present.manager)).await;
        self.judge(answer, present.number)
    }

    fn present(&self) -> Result<Present> {
        self.present.lock().clone().ok_or_else(|| Error::new(ErrorKind::Closed))
    }

    /// Our answer for the driver's, or for none in time.
    fn judge<T>(&self, answer: Result<RedisResult<T>, Elapsed>, number: u64) -> Result<T> {
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                if is_of_connection(&error) {
                    self.renew(number);
                }
                Err(failure(&error))
            }
            Err(_) => {
                let words = "what it was to change may still be changed; read before writing again";
                Err(Error::with_detail(ErrorKind::Timeout, words))
            }
        }
    }

    /// Replaces a connection, unless somebody else has.
    fn renew(&self, number: u64) {
        let mut present = self.present.lock();
        if present.as_ref().is_none_or(|present| present.number != number) {
            return;
        }
        let config = self.config.clone();
        if let Ok(manager) = ConnectionManager::new_lazy_with_config(self.client.clone(), config) {
            *present = Some(Present { manager, number: number + 1 });
        }
    }
}

/// A call of a script for a namespace, whose hash or hashes it is about; further arguments follow.
pub(super) fn call(script: &Script, names: &Names, base: &[u8], dead: &[u8]) -> Cmd {
    // Room for one item of a few hundred bytes.
    let mut call = Cmd::with_capacity(20, 1024);
    call.arg("EVALSHA").arg(&script.hash).arg(5);
    call.arg(names.incarnation()).arg(names.sessions()).arg(names.own()).arg(base).arg(dead);
    call.arg(&names.session);
    call
}

/// The same call for a server that does not know the script: it will from then on.
fn with_code(script: &Script, call: &Cmd) -> Cmd {
    let mut whole = cmd("EVAL");
    whole.arg(&script.code);
    for arg in call.args_iter().skip(2) {
        if let Arg::Simple(arg) = arg {
            whole.arg(arg);
        }
    }
    whole
}

async fn all(
    calls: &[Cmd],
    connection: &mut ConnectionManager,
) -> RedisResult<Vec<RedisResult<u64>>> {
    let mut pipeline = pipe();
    for call in calls {
        pipeline.add_command(call.clone());
    }
    pipeline.ignore_errors().query_async(connection).await
}

fn is_unknown(error: &redis::RedisError) -> bool {
    error.kind() == ServerErrorKind::NoScript.into()
}

/// Whether the connection is to be replaced, and nobody does that by itself.
///
/// The manager does where it sees a connection end. It keeps one whose making failed otherwise (the
/// handshake was refused or cut), one that was cut in the middle of an answer, and one to a primary
/// that became a replica, though by now the address may lead to another.
fn is_of_connection(error: &redis::RedisError) -> bool {
    match code(error) {
        Some(code) => {
            let of_commands = [
                "BUSY",
                "EXECABORT",
                "LOADING",
                "MISCONF",
                "NOPERM",
                "NOREPLICAS",
                "OOM",
                "WRONGTYPE",
            ];
            !of_commands.contains(&code.as_str())
        }
        None => !(error.is_io_error() && error.is_unrecoverable_error()),
    }
}
