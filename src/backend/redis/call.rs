//! How a call reaches the server, and ends in time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::cluster_routing::{
    MultipleNodeRoutingInfo, Route, RoutingInfo, SingleNodeRoutingInfo, Slot, SlotAddr,
};
use redis::{
    Arg, Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, cmd,
    from_redis_value, pipe,
};
use tokio::sync::OnceCell;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::failure::{code, failure};
use super::layout::Names;
use super::scripts::Script;
use super::wire::{Servers, Wire};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// A timeout beyond this is as good as none, and does not reach past the end of time.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long a call first waits that came while its slot moved, and the longest it does at a time.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// What a server says of itself: its answers to `HELLO`, and to the question for `HPEXPIREAT`.
pub(super) type Introduction = (HashMap<String, Value>, Value);

/// The connection of a client, made anew when it breaks.
pub(super) struct Line {
    servers: Arc<Servers>,
    /// How long a call may take that has no timeout of its own.
    timeout: Duration,
    /// Nothing once it was closed.
    present: Arc<Mutex<Option<Present>>>,
}

/// A connection, or the place where the first call puts it.
#[derive(Clone)]
struct Present {
    wire: Arc<OnceCell<Wire>>,
    /// How many were replaced before it.
    number: u64,
    /// Whether somebody makes another while it is in use.
    is_leaving: Arc<AtomicBool>,
}

impl Line {
    /// Nothing is sent before the first call.
    pub(super) fn new(servers: Servers, timeout: Duration) -> Self {
        let present = Arc::new(Mutex::new(Some(Present::new(OnceCell::new(), 0))));
        Self { servers: Arc::new(servers), timeout, present }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn is_of_cluster(&self) -> bool {
        self.servers.is_cluster()
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

    /// What each server that takes writes says of itself.
    pub(super) async fn introductions(&self, end: Instant) -> Result<Vec<Introduction>> {
        let mut known = cmd("COMMAND");
        known.arg("INFO").arg("HPEXPIREAT");
        if !self.is_of_cluster() {
            let mut questions = pipe();
            questions.cmd("HELLO").add_command(known);
            return Ok(vec![self.ask(end, &questions).await?]);
        }
        let (begun, present) = (Instant::now(), self.present()?);
        let step = async {
            let Wire::Cluster(mut cluster) = self.wire(&present).await? else { return Ok(vec![]) };
            let mut introductions = Vec::new();
            let all = || RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
            let hellos = cluster.route_command(cmd("HELLO"), all()).await?;
            let known = cluster.route_command(known, all()).await?;
            let mut known: HashMap<String, Value> = from_redis_value(known)?;
            for (node, hello) in from_redis_value::<HashMap<String, Value>>(hellos)? {
                let known = known.remove(&node).unwrap_or(Value::Nil).extract_error()?;
                introductions.push((from_redis_value(hello.extract_error()?)?, known));
            }
            Ok(introductions)
        };
        let answer = timeout_at(end, step).await;
        self.judge(answer, begun, &present)
    }

    /// Runs a script and decodes its answer.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        end: Instant,
        script: &Script,
        call: &Cmd,
    ) -> Result<T> {
        let mut patience = Patience::new(end);
        loop {
            let (begun, present) = (Instant::now(), self.present()?);
            let step = async {
                let mut wire = self.wire(&present).await?;
                match call.query_async(&mut wire).await {
                    Err(error) if is_unknown(&error) => {
                        with_code(script, call).query_async(&mut wire).await
                    }
                    answer => answer,
                }
            };
            match timeout_at(end, step).await {
                Ok(Err(error)) if is_moving(&error) && patience.lasts().await => {}
                answer => return self.judge(answer, begun, &present),
            }
        }
    }

    /// Runs a script for each of the calls, in their order: all in one round trip, on a cluster in one
    /// each. Returns the sum of what they answer.
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
        let (begun, present) = (Instant::now(), self.present()?);
        // If the slot moves between two of them, a cluster's connection does not tell which ones were
        // carried out, and none may be a second time.
        if self.is_of_cluster() || calls.len() < 2 {
            let mut sum = 0;
            for call in calls {
                sum += self.run::<u64>(end, script, call).await?;
            }
            return Ok(sum);
        }
        let step = async {
            let mut wire = self.wire(&present).await?;
            let mut answers = all(calls, &mut wire).await?;
            let unknown: Vec<usize> = (0..calls.len())
                .filter(|&index| answers[index].as_ref().is_err_and(is_unknown))
                .collect();
            if !unknown.is_empty() {
                let again: Vec<Cmd> =
                    unknown.iter().map(|&index| with_code(script, &calls[index])).collect();
                let late = all(&again, &mut wire).await?;
                for (index, answer) in unknown.into_iter().zip(late) {
                    answers[index] = answer;
                }
            }
            answers.into_iter().sum()
        };
        let answer = timeout_at(end, step).await;
        self.judge(answer, begun, &present)
    }

    /// Sends commands that change nothing, in one round trip, and decodes what they answer.
    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        end: Instant,
        commands: &Pipeline,
    ) -> Result<T> {
        let mut patience = Patience::new(end);
        loop {
            let (begun, present) = (Instant::now(), self.present()?);
            let step = async { commands.query_async(&mut self.wire(&present).await?).await };
            match timeout_at(end, step).await {
                Ok(Err(error)) if is_moving(&error) && patience.lasts().await => {}
                answer => return self.judge(answer, begun, &present),
            }
        }
    }

    /// Which of these keys exist, on a cluster where the node of the first has all of them.
    ///
    /// # Errors
    ///
    /// Also where it has not.
    pub(super) async fn which(&self, end: Instant, keys: &[Vec<u8>]) -> Result<Vec<bool>> {
        let (begun, present) = (Instant::now(), self.present()?);
        let step = async {
            let Wire::Cluster(mut cluster) = self.wire(&present).await? else { return Ok(vec![]) };
            let Some(first) = keys.first() else { return Ok(vec![]) };
            let mut questions = pipe();
            for key in keys {
                questions.cmd("EXISTS").arg(key);
            }
            let node = Route::with_slot(Slot::for_key(first), SlotAddr::Master);
            let node = SingleNodeRoutingInfo::SpecificNode(node);
            let answers = cluster.route_pipeline(questions, 0, keys.len(), node).await?;
            let answers = answers.into_iter().map(|answer| {
                answer.extract_error().and_then(|answer| Ok(from_redis_value(answer)?))
            });
            answers.collect()
        };
        let answer = timeout_at(end, step).await;
        self.judge(answer, begun, &present)
    }

    fn present(&self) -> Result<Present> {
        self.present.lock().clone().ok_or_else(|| Error::new(ErrorKind::Closed))
    }

    /// The connection, made by a task of its own: a call that gives up does not undo what the next
    /// one waits for.
    async fn wire(&self, present: &Present) -> RedisResult<Wire> {
        if let Some(wire) = present.wire.get() {
            return Ok(wire.clone());
        }
        let (wire, servers) = (present.wire.clone(), self.servers.clone());
        let longest = self.timeout;
        let making = tokio::spawn(async move {
            let made = wire.get_or_try_init(|| async {
                timeout(longest, servers.wire()).await.unwrap_or_else(|_| Err(too_late()))
            });
            made.await.cloned()
        });
        making.await.unwrap_or_else(|_| Err(too_late()))
    }

    /// Our answer for the driver's, or for none in time, to a call of this connection.
    fn judge<T>(
        &self,
        answer: Result<RedisResult<T>, Elapsed>,
        begun: Instant,
        present: &Present,
    ) -> Result<T> {
        let is_late = match &answer {
            Ok(answer) => answer.as_ref().is_err_and(RedisError::is_timeout),
            Err(_) => true,
        };
        // A server that hangs does not end its connections, and is replaced all the same.
        if is_late && self.servers.take_places() && begun.elapsed() >= self.timeout {
            self.renew_behind(present);
        }
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                if !is_late && self.servers.is_over(&error) {
                    put(&self.present, OnceCell::new(), present.number);
                }
                Err(failure(&error))
            }
            Err(_) => {
                let words = "what it was to change may still be changed; read before writing again";
                Err(Error::with_detail(ErrorKind::Timeout, words))
            }
        }
    }

    /// Makes another connection, of which nobody knows yet whether it leads further. Calls go on by
    /// this one until then: a cluster's other nodes may well answer.
    fn renew_behind(&self, present: &Present) {
        // Relaxed: only that one of them does it is asked for.
        if present.is_leaving.swap(true, Ordering::Relaxed) {
            return;
        }
        let (servers, place, old) = (self.servers.clone(), self.present.clone(), present.clone());
        let longest = self.timeout.saturating_mul(4).min(LONGEST);
        tokio::spawn(async move {
            match timeout(longest, servers.wire()).await {
                Ok(Ok(wire)) => put(&place, OnceCell::new_with(Some(wire)), old.number),
                // The next call that waits so long tries again.
                _ => old.is_leaving.store(false, Ordering::Relaxed),
            }
        });
    }
}

impl Present {
    fn new(wire: OnceCell<Wire>, number: u64) -> Self {
        Self { wire: Arc::new(wire), number, is_leaving: Arc::default() }
    }
}

/// Replaces the connection of this number, unless somebody else has.
fn put(place: &Mutex<Option<Present>>, wire: OnceCell<Wire>, number: u64) {
    if let Some(present) = place.lock().as_mut().filter(|present| present.number == number) {
        *present = Present::new(wire, number + 1);
    }
}

/// How a call waits for a slot that moves: longer each time, never past its end.
struct Patience {
    end: Instant,
    pause: Duration,
}

impl Patience {
    fn new(end: Instant) -> Self {
        Self { end, pause: FIRST_PAUSE }
    }

    /// Waits; false where the call would end before.
    async fn lasts(&mut self) -> bool {
        let again = Instant::now() + self.pause;
        if again >= self.end {
            return false;
        }
        sleep_until(again).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

/// A call of a script for a namespace, whose hash or hashes it is about; further arguments follow.
pub(super) fn call(script: &Script, names: &Names, base: &[u8], keys: &[Vec<u8>]) -> Cmd {
    // Room for one item of a few hundred bytes.
    let mut call = Cmd::with_capacity(20, 1024);
    call.arg("EVALSHA").arg(&script.hash).arg(4 + keys.len());
    call.arg(names.incarnation()).arg(names.sessions()).arg(names.own()).arg(base).arg(keys);
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

async fn all(calls: &[Cmd], wire: &mut Wire) -> RedisResult<Vec<RedisResult<u64>>> {
    let mut pipeline = pipe();
    for call in calls {
        pipeline.add_command(call.clone());
    }
    pipeline.ignore_errors().query_async(wire).await
}

fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ServerErrorKind::NoScript.into()
}

/// Whether nothing was done because the slot is on its way to another node, or is there already.
fn is_moving(error: &RedisError) -> bool {
    code(error).is_some_and(|code| ["ASK", "MOVED", "TRYAGAIN"].contains(&code.as_str()))
}

fn too_late() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
