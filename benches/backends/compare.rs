//! Calls of several clients in turns, and many at once.

use std::time::{Duration, Instant};

/// Calls at once.
const AT_ONCE: usize = 64;

/// Calls of one client before it is the next one's turn. Most of them find the processor's caches as their own
/// client left them; with turns of one call all find what the others left, which costs the larger client more. A
/// program that does much between two calls is nearer to that.
const TURN: usize = 20;

/// For how long many are made at once, each time.
const PASS: Duration = Duration::from_millis(700);

/// Who is compared; the one by hand is the measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Scopecache,
    ByHand,
    Less,
    Plain,
}

impl Who {
    pub(crate) const ALL: &[Self] = &[Self::Scopecache, Self::ByHand, Self::Less, Self::Plain];

    fn name(self) -> &'static str {
        match self {
            Self::Scopecache => "scopecache",
            Self::ByHand => "by hand",
            Self::Less => "hand, less",
            Self::Plain => "plain",
        }
    }
}

/// What is measured.
pub(crate) trait Contest {
    /// Makes what the call needs; its time does not count.
    async fn before(&self, _: Who, _: usize) {}

    async fn call(&self, who: Who, round: usize);

    /// Statements sent so far, where they are counted.
    fn sent(&self, _: Who) -> Option<u64> {
        None
    }
}

pub(crate) fn print_head() {
    println!(
        "call         who            p50, us    p99, us  {AT_ONCE} at once/s   p50 beside by hand   statements"
    );
}

/// One call at a time, in turns of some; then many at once, each for a while.
pub(crate) async fn compare(what: &str, all: &[Who], rounds: usize, contest: &impl Contest) {
    let mut times = vec![Vec::with_capacity(rounds); all.len()];
    let mut sent = vec![0; all.len()];
    for start in (0..rounds).step_by(TURN) {
        for turn in 0..all.len() {
            let index = (start / TURN + turn) % all.len();
            let who = all[index];
            let rounds = start..(start + TURN).min(rounds);
            for round in rounds.clone() {
                contest.before(who, round).await;
            }
            let before = contest.sent(who);
            for round in rounds {
                let begun = Instant::now();
                contest.call(who, round).await;
                times[index].push(begun.elapsed());
            }
            sent[index] += contest.sent(who).unwrap_or(0) - before.unwrap_or(0);
        }
    }
    let mut many = vec![0.0; all.len()];
    for pass in 0..2 * all.len() {
        let index = pass % all.len();
        let who = all[index];
        let (mut took, mut done) = (Duration::ZERO, 0);
        while took < PASS {
            let at_once = rounds + done..rounds + done + AT_ONCE;
            for round in at_once.clone() {
                contest.before(who, round).await;
            }
            let begun = Instant::now();
            together(at_once.map(|round| contest.call(who, round))).await;
            took += begun.elapsed();
            done += AT_ONCE;
        }
        many[index] = f64::max(many[index], done as f64 / took.as_secs_f64());
    }
    for times in &mut times {
        times.sort_unstable();
    }
    let at = |index: usize, share: f64| {
        times[index][(rounds as f64 * share) as usize].as_secs_f64() * 1e6
    };
    let by_hand = all.iter().position(|&who| who == Who::ByHand).expect("it is the measure");
    for (index, &who) in all.iter().enumerate() {
        let statements = match contest.sent(who) {
            Some(_) => format!("{:.2}", sent[index] as f64 / rounds as f64),
            None => "-".to_owned(),
        };
        println!(
            "{what:12} {:11} {:10.1} {:10.1} {:13.0} {:+18.1} % {statements:>12}",
            who.name(),
            at(index, 0.5),
            at(index, 0.99),
            many[index],
            (at(index, 0.5) / at(by_hand, 0.5) - 1.0) * 100.0,
        );
    }
}

/// Polls all of them until all are done.
async fn together(calls: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut calls: Vec<_> = calls.map(|call| Some(Box::pin(call))).collect();
    std::future::poll_fn(|context| {
        let mut is_pending = false;
        for call in &mut calls {
            if let Some(future) = call {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(()) => *call = None,
                    std::task::Poll::Pending => is_pending = true,
                }
            }
        }
        if is_pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
}
