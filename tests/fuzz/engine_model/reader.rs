//! What an input asks of the engine.

use arbitrary::{Result, Unstructured};

use crate::support::op::{LeaseId, Life, Op, Place, Put, Space, Value, When};
use crate::support::program::{Guess, Side, Step, TTLS};

const MOST_STEPS: usize = 250;

/// One step of a program, and the way in which it is asked for.
#[derive(Debug)]
pub(super) enum Ask {
    One(Step, usize),
    GetMany(Space, Vec<u8>),
    SetMany(Space, Vec<(u8, Value)>),
    DeleteMany(Space, Vec<u8>),
    Maintain(usize),
}

/// Makes a program of an input. Values and leases are numbered, so that an answer tells whose
/// write it saw.
pub(super) struct Reader<'a> {
    input: Unstructured<'a>,
    next_value: Value,
    next_lease: LeaseId,
    leases: Vec<(Place, LeaseId)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(input: Unstructured<'a>) -> Reader<'a> {
        Reader { input, next_value: 1, next_lease: 1, leases: Vec::new() }
    }

    pub(super) fn program(mut self) -> Vec<Ask> {
        let mut program = Vec::new();
        while !self.input.is_empty() && program.len() < MOST_STEPS {
            // An input that ends within a step goes on with zeros.
            program.extend(self.ask());
        }
        program
    }

    /// A byte for what is asked, one for the key and the way, others for numbers.
    fn ask(&mut self) -> Result<Ask> {
        let code = self.input.int_in_range(0..=31_u8)?;
        if let 26..=31 = code {
            return self.ask_many(code);
        }
        let (at, way) = self.place()?;
        let step = Step::Do(match code {
            0..=2 => Op::Get(at),
            3 => Op::Peek(at),
            4 => Op::Contains(at),
            5..=7 => Op::Write(at, When::Always, self.put()?),
            8 => Op::Write(at, When::Absent, self.put()?),
            9 => Op::Write(at, When::Present, self.put()?),
            10 => {
                let guess =
                    *self.input.choose(&[Guess::Current, Guess::Learned(0), Guess::Learned(2)])?;
                return Ok(Ask::One(Step::CompareAndSet(at, guess, self.put()?), way));
            }
            11 => Op::Update(at, 1_000_000 + Value::from(self.input.arbitrary::<u8>()? % 4)),
            12 => Op::Take(at),
            13 => Op::Touch(at, self.ttl()?),
            14 => Op::Delete(at),
            15 => Op::DeleteNamespace(at.space),
            16 => Op::Keys(at.space),
            17 => Op::Usage(at.space),
            18 => Op::Sessions(at.key % 2),
            19 => match at.key {
                0 => Op::Clear,
                _ => Op::Users,
            },
            20 => {
                self.next_lease += 1;
                self.leases.push((at, self.next_lease));
                Op::Lease(at, self.next_lease)
            }
            21 => self.end_of_lease()?,
            22 => Op::GetOrLoad(at, self.put()?),
            23 => Op::Advance(self.input.int_in_range(0..=9)? * self.ttl()? / 8),
            _ => {
                let side = *self.input.choose(&[Side::JustBefore, Side::At, Side::JustAfter])?;
                return Ok(Ask::One(Step::ToDeadline(side), way));
            }
        });
        Ok(Ask::One(step, way))
    }

    fn ask_many(&mut self, code: u8) -> Result<Ask> {
        if code < 28 {
            return Ok(Ask::Maintain(*self.input.choose(&[0, 1, 2, 10, 100, 10_000])?));
        }
        let (Place { space, .. }, _) = self.place()?;
        let keys: Vec<u8> = (0..self.input.int_in_range(0..=4)?)
            .map(|_| self.input.int_in_range(0..=4))
            .collect::<Result<_>>()?;
        let mut distinct = keys.clone();
        distinct.sort_unstable();
        distinct.dedup();
        Ok(match code {
            28 => Ask::GetMany(space, keys),
            29 => Ask::DeleteMany(space, keys),
            _ => {
                let size = self.input.int_in_range(0..=3)?;
                Ask::SetMany(
                    space,
                    distinct.into_iter().map(|key| (key, self.value(size))).collect(),
                )
            }
        })
    }

    /// Most is about one session and its user.
    fn place(&mut self) -> Result<(Place, usize)> {
        let byte: u8 = self.input.arbitrary()?;
        let hot = Space::Session(0, 0);
        let user = Space::User(0);
        let spaces = [
            hot,
            hot,
            user,
            Space::Global,
            Space::User(1),
            Space::Session(0, 1),
            Space::Session(1, 0),
            // The longest ids.
            Space::Session(4, 4),
        ];
        let key = [0, 0, 0, 1, 1, 2, 3, 4][usize::from(byte >> 3 & 7)];
        Ok((spaces[usize::from(byte & 7)].at(key), usize::from(byte >> 6)))
    }

    fn put(&mut self) -> Result<Put> {
        let byte: u8 = self.input.arbitrary()?;
        let ttl = TTLS[usize::from(byte >> 2 & 3)];
        let is_odd = byte >> 7 == 1;
        let life = match byte >> 4 & 7 {
            0 | 1 => Life::Forever,
            2 | 3 => Life::For(ttl),
            4 => Life::Keep,
            5 => Life::Sliding { ttl, max_lifetime: if is_odd { ttl / 2 } else { 3 * ttl / 2 } },
            6 => Life::Sliding { ttl, max_lifetime: 20 * ttl },
            _ if is_odd => Life::Sliding { ttl, max_lifetime: 0 },
            _ => Life::For(0),
        };
        Ok(Put { value: self.value(Value::from(byte & 3)), life })
    }

    /// The adapter makes values of four lengths, by their remainder.
    fn value(&mut self, size: Value) -> Value {
        self.next_value += 4;
        self.next_value / 4 * 4 + size
    }

    fn ttl(&mut self) -> Result<u64> {
        Ok(match self.input.int_in_range(0..=7_u8)? {
            7 => 0,
            other => TTLS[usize::from(other) % 4],
        })
    }

    fn end_of_lease(&mut self) -> Result<Op> {
        if self.leases.is_empty() {
            return Ok(Op::Users);
        }
        let index = self.input.choose_index(self.leases.len())?;
        let (at, id) = self.leases.swap_remove(index);
        Ok(match self.input.ratio(1, 4)? {
            true => Op::DropLease(at, id),
            false => Op::Fulfil(at, id, self.put()?),
        })
    }
}
