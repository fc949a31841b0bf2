//! Random programs over few ids, and the cutting down of those that fail.
//!
//! A program is written before it runs, so it cannot name versions or the clock: `Step`
//! names them by where they come from. That also keeps a program meaningful when steps are
//! cut out of it.

use super::model::Model;
use super::op::{LeaseId, Life, Nanos, Op, Place, Put, Space, Value, VersionId, When};

/// TTLs in nanoseconds, from below a tick of the wheel to hours. Multiples of eight, so that
/// an eighth of them is exact.
pub const TTLS: [Nanos; 4] = [8_000, 80_000_000, 8_000_000_000, 28_800_000_000_000];

/// A step of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Do(Op),
    CompareAndSet(Place, Guess, Put),
    /// To the next deadline, and this much past or short of it.
    ToDeadline(Side),
}

/// Which version a `compare_and_set` expects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Guess {
    /// The one that is there.
    Current,
    /// One learned before, counted back from the last.
    Learned(usize),
}

/// Where to stand beside a deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    JustBefore,
    At,
    JustAfter,
}

/// What a random program may contain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mix {
    /// Everything, for one thread.
    Sequential,
    /// No sliding, no usage; the clock only where `Timed`.
    Concurrent,
    /// As `Concurrent`, with TTLs and advances.
    Timed,
    /// As `Timed`: mostly one key, one TTL, and the clock near its deadline; sliding too.
    Deadline,
    /// As `Timed`, over many more keys and owners: for invariants, not for a search.
    Wide,
}

const SECOND: Nanos = 1_000_000_000;
/// The TTL of `Mix::Deadline`: some ticks of the wheel.
const TTL: Nanos = TTLS[2];

impl Step {
    /// The operation that this step is now. `model`: the state, where it is known.
    pub fn resolve(&self, learned: &[VersionId], model: Option<&Model>) -> Op {
        match *self {
            Step::Do(op) => op,
            Step::CompareAndSet(at, guess, put) => {
                let current = model.and_then(|model| model.version_at(at));
                let back = match guess {
                    Guess::Current => 0,
                    Guess::Learned(back) => back,
                };
                let known = learned.iter().rev().nth(back).copied();
                let version = match guess {
                    Guess::Current => current.or(known),
                    Guess::Learned(_) => known,
                };
                Op::Write(at, When::Version(version.unwrap_or(1)), put)
            }
            Step::ToDeadline(side) => {
                let left = model.and_then(|model| Some(model.next_deadline()? - model.now()));
                let left = left.unwrap_or(TTLS[0]);
                Op::Advance(match side {
                    Side::JustBefore => left.saturating_sub(1),
                    Side::At => left,
                    Side::JustAfter => left + 1,
                })
            }
        }
    }
}

/// Splitmix64: a seed names a program for ever.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Writes programs; values and lease ids are never repeated, so that an answer tells whose
/// write it saw.
pub struct Author {
    rng: Rng,
    mix: Mix,
    next_value: Value,
    next_lease: LeaseId,
    leases: Vec<(Place, LeaseId)>,
    /// Where a good part of a program happens.
    hot: Place,
    /// The share of a program's steps, in percent, that are about one key and the clock.
    time_percent: usize,
}

impl Author {
    pub fn new(seed: u64, mix: Mix) -> Author {
        Author {
            rng: Rng::new(seed),
            mix,
            next_value: 1,
            next_lease: 1,
            leases: Vec::new(),
            hot: Space::Session(0, 0).at(0),
            time_percent: if mix == Mix::Deadline { 75 } else { 0 },
        }
    }

    /// Writes the next program. Those of one author may run at the same time.
    pub fn program(&mut self, steps: usize) -> Vec<Step> {
        self.leases.clear();
        if self.mix == Mix::Sequential {
            self.hot = self.place();
            self.time_percent = self.rng.pick(&[0, 20, 80]);
        }
        (0..steps)
            .map(|_| match self.rng.below(100) {
                roll if roll < self.time_percent => self.step_about_time(),
                _ => self.step(),
            })
            .collect()
    }

    /// Lifetimes show only where few things happen to one key while the clock moves.
    fn step_about_time(&mut self) -> Step {
        let at = self.hot;
        Step::Do(match self.rng.below(16) {
            0..=1 => Op::Get(at),
            2..=3 => Op::Peek(at),
            4 => Op::Contains(at),
            5 => Op::Touch(at, self.ttl()),
            6 => Op::Update(at, 1_000_000),
            7 => Op::GetOrLoad(at, self.put()),
            8..=9 => Op::Write(at, When::Always, self.put()),
            10 => Op::Write(at, When::Present, self.put()),
            _ => return self.clock(),
        })
    }

    fn step(&mut self) -> Step {
        let at = self.place();
        let (user, session) = (self.user(), self.session());
        Step::Do(match self.rng.below(100) {
            0..=21 => Op::Get(at),
            22..=24 => Op::Peek(at),
            25..=27 => Op::Contains(at),
            28..=43 => Op::Write(at, When::Always, self.put()),
            44..=50 => Op::Write(at, When::Absent, self.put()),
            51..=53 => Op::Write(at, When::Present, self.put()),
            54..=57 => {
                let guess = self.rng.pick(&[Guess::Current, Guess::Learned(0), Guess::Learned(2)]);
                return Step::CompareAndSet(at, guess, self.put());
            }
            58..=60 => Op::Update(at, 1_000_000),
            61..=63 => Op::Take(at),
            64..=66 => Op::Delete(at),
            67..=70 => Op::DeleteNamespace(Space::User(user)),
            71..=73 => Op::DeleteNamespace(Space::Session(user, session)),
            74 => self.rng.pick(&[Op::Clear, Op::DeleteNamespace(Space::Global)]),
            75..=77 => Op::Keys(at.space),
            78 => Op::Sessions(user),
            79 => Op::Users,
            80 if self.mix == Mix::Sequential => Op::Usage(at.space),
            80..=84 => self.lease(at),
            85..=87 => Op::GetOrLoad(at, self.put()),
            88..=90 => self.end_of_lease(),
            91..=94 if self.mix != Mix::Concurrent => Op::Touch(at, self.ttl()),
            95..=99 if self.mix != Mix::Concurrent => return self.clock(),
            _ => Op::Get(at),
        })
    }

    fn clock(&mut self) -> Step {
        let side = self.rng.pick(&[Side::JustBefore, Side::At, Side::JustAfter]);
        let ttl = self.rng.pick(&TTLS);
        match (self.mix, self.rng.below(3)) {
            (Mix::Deadline, _) => {
                let by = self.rng.pick(&[1, SECOND, TTL / 8, TTL / 2, TTL - 1, TTL]);
                Step::Do(Op::Advance(by))
            }
            (Mix::Sequential, 0..=1) => Step::ToDeadline(side),
            (Mix::Sequential, _) => Step::Do(Op::Advance(ttl / 8 * self.rng.pick(&[1, 2, 7, 9]))),
            _ => Step::Do(Op::Advance(ttl / 2)),
        }
    }

    fn lease(&mut self, at: Place) -> Op {
        self.next_lease += 1;
        self.leases.push((at, self.next_lease));
        Op::Lease(at, self.next_lease)
    }

    fn end_of_lease(&mut self) -> Op {
        if self.leases.is_empty() {
            return Op::Get(self.place());
        }
        let index = self.rng.below(self.leases.len());
        let (at, id) = self.leases.swap_remove(index);
        match self.rng.below(4) {
            0 => Op::DropLease(at, id),
            _ => Op::Fulfil(at, id, Put::forever(self.value())),
        }
    }

    fn put(&mut self) -> Put {
        let ttl = self.some_ttl();
        let life = match (self.mix, self.rng.below(20)) {
            (Mix::Concurrent, _) | (_, 0..=5) => Life::Forever,
            (Mix::Sequential, 6) => Life::For(0),
            (_, 6..=11) => Life::For(ttl),
            (Mix::Sequential | Mix::Deadline | Mix::Wide, 12..=15) => {
                Life::Sliding { ttl, max_lifetime: ttl / 2 * self.rng.pick(&[1, 3, 5]) }
            }
            _ => Life::Keep,
        };
        Put { value: self.value(), life }
    }

    fn value(&mut self) -> Value {
        self.next_value += 1;
        self.next_value
    }

    fn ttl(&mut self) -> Nanos {
        match (self.mix, self.rng.below(12)) {
            (Mix::Sequential, 0) => 0,
            _ => self.some_ttl(),
        }
    }

    fn some_ttl(&mut self) -> Nanos {
        if self.mix == Mix::Deadline { TTL } else { self.rng.pick(&TTLS) }
    }

    /// Most goes to one session and its user, so that operations meet; the more so in
    /// concurrent programs, which are short.
    fn place(&mut self) -> Place {
        let any = Space::Session(self.user(), self.session());
        let (spaces, keys) = match self.mix {
            Mix::Sequential => {
                let hot = Space::Session(0, 0);
                ([hot, hot, hot, Space::User(0), Space::User(1), Space::Global, any, any], 3)
            }
            Mix::Wide => {
                let user = Space::User(self.user());
                ([any, any, any, any, any, user, user, Space::Global], 4)
            }
            Mix::Concurrent | Mix::Timed | Mix::Deadline => {
                let (hot, user) = (Space::Session(0, 0), Space::User(0));
                let other = self.rng.pick(&[Space::User(1), Space::Global]);
                ([hot, hot, hot, user, user, user, any, other], 2)
            }
        };
        self.rng.pick(&spaces).at(self.rng.below(keys) as u8)
    }

    fn user(&mut self) -> u8 {
        self.owner()
    }

    fn session(&mut self) -> u8 {
        self.owner()
    }

    fn owner(&mut self) -> u8 {
        match self.mix {
            Mix::Wide => self.rng.below(4) as u8,
            _ => (self.rng.below(3) / 2) as u8,
        }
    }
}

/// Cuts steps out of a failing program for as long as it still fails.
pub fn shrink(program: &[Step], mut fails: impl FnMut(&[Step]) -> bool) -> Vec<Step> {
    let mut shortest = program.to_vec();
    let mut chunk = shortest.len().div_ceil(2);
    while chunk > 0 {
        let before = shortest.len();
        let mut start = 0;
        while start < shortest.len() {
            let mut shorter = shortest.clone();
            shorter.drain(start..(start + chunk).min(shortest.len()));
            if fails(&shorter) {
                shortest = shorter;
            } else {
                start += chunk;
            }
        }
        // One step out may let an earlier one go: single steps are tried till none goes.
        if chunk > 1 || shortest.len() == before {
            chunk /= 2;
        }
    }
    shortest
}
