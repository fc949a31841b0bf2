//! The portable interface: options in every combination, right and wrong, on an `Arc<dyn Storage>`.
//!
//! A call that breaks a rule of `asked` must name one that it breaks, in its kind and in its words,
//! and change nothing; any other must answer as the reference does.

// With its path: from `fuzz/src/lib.rs`, a plain `mod` would be looked for elsewhere.
#[path = "storage_ops/asked.rs"]
mod asked;

use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use pollster::block_on;
use scopecache::{
    Blob, Cache, Condition, Error, ErrorKind, Maintenance, MockClock, Namespace, OnFull, Options,
    Page, Part, Stats, Storage, StorageExt, StorageItem, Version,
};

use crate::adapter::Wire;
use crate::support::model::Model;
use crate::support::op::{Expires, Op, Place, Put, Ret, Seen, Space, Value, VersionId, When};
use asked::{Asked, Call, Fault, KEYS, SESSIONS, SPANS, USERS, of_id, of_key, of_page};

const MOST_STEPS: usize = 120;
const MAX_VALUE_BYTES: usize = 6000;

/// Runs the target; panics where the storage is wrong.
pub(crate) fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut judge = Judge::new();
    for _ in 0..MOST_STEPS {
        if input.is_empty() || judge.step(&mut input).is_err() {
            break;
        }
    }
    judge.end();
}

/// Whether an answer is that of a call which broke a rule.
#[must_use]
enum Judged<T> {
    Right(T),
    Refused,
}

struct Judge {
    storage: Arc<dyn Storage>,
    /// The same, to look at without leaving a trace.
    cache: Cache,
    clock: MockClock,
    model: Model,
    learned: Vec<VersionId>,
    next_value: Value,
}

impl Judge {
    fn new() -> Judge {
        let clock = MockClock::new();
        let cache: Cache = Cache::builder()
            .max_bytes(8 << 20)
            .max_value_bytes(MAX_VALUE_BYTES)
            .expected_entries(64)
            .shards(2)
            .on_full(OnFull::Reject)
            .maintenance(Maintenance::Manual)
            .clock(clock.clone())
            .build()
            .expect("these options go together");
        Judge {
            storage: Arc::new(cache.clone()),
            cache,
            clock,
            model: Model::new(),
            learned: Vec::new(),
            next_value: 0,
        }
    }

    fn step(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let code = input.int_in_range(0..=15_u8)?;
        if code == 15 {
            let by = SPANS[input.int_in_range(1..=3)?] / 4 * input.int_in_range(1..=6)?;
            self.clock.advance(Duration::from_nanos(by));
            self.accept(Op::Advance(by), Ret::Done);
            return Ok(());
        }
        let asked = Asked::read(input)?;
        match code {
            0..=2 => self.get(&asked, key(input)?),
            3..=5 => self.set(&asked, input)?,
            6 => self.take(&asked, key(input)?),
            7 => self.touch(&asked, key(input)?),
            8 => self.delete(&asked),
            9 => self.keys(&asked, input.int_in_range(0..=3)?),
            10 => self.sessions(input.int_in_range(0..=3)?, input.int_in_range(0..=3)?),
            11 => self.update(&asked, key(input)?),
            12 | 13 => self.load(&asked, key(input)?, input.ratio(3, 4)?),
            _ => self.many(&asked, input)?,
        }
        self.cache.validate().unwrap_or_else(|broken| panic!("{broken}"));
        Ok(())
    }

    fn get(&mut self, asked: &Asked, key: usize) {
        let before = self.cache.stats();
        let answer = block_on(self.storage.get(KEYS[key], asked.options()));
        let faults = [asked.faults(Call::Read), of_key(key).into_iter().collect()].concat();
        if let Judged::Right(found) = self.judge(before, answer, &faults) {
            self.accept(Op::Get(asked.space().at(key as u8)), item(found.as_ref()));
        }
    }

    fn set(&mut self, asked: &Asked, input: &mut Unstructured<'_>) -> Result<()> {
        let (key, size) = (key(input)?, input.int_in_range(0..=8)?);
        let (condition, when) = self.condition(input)?;
        let put = Put { value: self.value(size), life: asked.life(Call::Write) };
        let mut data = Blob::encode(put.value);
        let mut faults = [asked.faults(Call::Write), of_key(key).into_iter().collect()].concat();
        if size == 8 {
            data.resize(MAX_VALUE_BYTES + 1, b'.');
            let kind = ErrorKind::ValueTooLarge { limit: MAX_VALUE_BYTES };
            faults.push((kind, "6000 bytes"));
        }
        let before = self.cache.stats();
        let (name, options) = (KEYS[key], asked.options());
        let answer = match condition {
            Condition::Always => block_on(self.storage.set(name, data.into(), options)).map(Some),
            Condition::Absent => block_on(self.storage.insert(name, data, options)),
            condition => block_on(self.storage.write(name, data.into(), condition, options)),
        };
        if let Judged::Right(stored) = self.judge(before, answer, &faults) {
            self.accept(Op::Write(asked.space().at(key as u8), when, put), version(stored));
        }
        Ok(())
    }

    fn condition(&self, input: &mut Unstructured<'_>) -> Result<(Condition, When)> {
        Ok(match input.int_in_range(0..=7_u8)? {
            0..=4 => (Condition::Always, When::Always),
            5 => (Condition::Absent, When::Absent),
            6 => (Condition::Present, When::Present),
            _ => {
                let back = input.int_in_range(0..=2)?;
                let version = self.learned.iter().rev().nth(back).copied().unwrap_or(1);
                (Condition::Version(Version::from_u64(version)), When::Version(version))
            }
        })
    }

    fn take(&mut self, asked: &Asked, key: usize) {
        let before = self.cache.stats();
        let answer = block_on(self.storage.take(KEYS[key], asked.options()));
        let faults = [asked.faults(Call::Read), of_key(key).into_iter().collect()].concat();
        if let Judged::Right(found) = self.judge(before, answer, &faults) {
            self.accept(Op::Take(asked.space().at(key as u8)), item(found.as_ref()));
        }
    }

    fn touch(&mut self, asked: &Asked, key: usize) {
        let before = self.cache.stats();
        let answer = block_on(self.storage.touch(KEYS[key], asked.options()));
        let faults = [asked.faults(Call::Touch), of_key(key).into_iter().collect()].concat();
        if let Judged::Right(was_there) = self.judge(before, answer, &faults) {
            let ttl = asked.ttl().expect("a touch without one is refused");
            self.accept(Op::Touch(asked.space().at(key as u8), ttl), Ret::Answer(was_there));
        }
    }

    fn delete(&mut self, asked: &Asked) {
        let before = self.cache.stats();
        let answer = block_on(self.storage.delete(asked.options()));
        if let Judged::Right(removed) = self.judge(before, answer, &asked.faults(Call::Delete)) {
            match asked.key() {
                Some(key) => {
                    let at = asked.space().at(key as u8);
                    self.accept(Op::Delete(at), Ret::Answer(removed.entries == 1));
                }
                None => {
                    let op = Op::DeleteNamespace(asked.space());
                    self.accept(op, Ret::Removed(removed.entries));
                }
            }
        }
    }

    fn keys(&mut self, asked: &Asked, limit: usize) {
        let mut faults = asked.faults(Call::Read);
        faults.extend(of_page(limit));
        let storage = Arc::clone(&self.storage);
        let list = |page: Page<'_>| block_on(storage.keys(page, asked.options()));
        if let Some(names) = self.pages(limit, &faults, list) {
            self.accept(Op::Keys(asked.space()), listed(&KEYS, &names));
        }
    }

    fn sessions(&mut self, user: usize, limit: usize) {
        let faults: Vec<Fault> =
            of_id(USERS[user], Part::User).into_iter().chain(of_page(limit)).collect();
        let storage = Arc::clone(&self.storage);
        let list = |page: Page<'_>| block_on(storage.sessions(USERS[user], page));
        if let Some(names) = self.pages(limit, &faults, list) {
            self.accept(Op::Sessions(user as u8), listed(&SESSIONS, &names));
        }
    }

    /// All pages of a listing, which is in order and holds no more a page than it may.
    fn pages(
        &self,
        limit: usize,
        faults: &[Fault],
        list: impl Fn(Page<'_>) -> scopecache::Result<scopecache::Listing>,
    ) -> Option<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let before = self.cache.stats();
            let answer = list(Page::new(limit).after(token.as_deref()));
            let Judged::Right(page) = self.judge(before, answer, faults) else { return None };
            assert!(page.names.len() <= limit);
            names.extend(page.names);
            assert!(names.is_sorted_by(|name, next| name < next), "{names:?}");
            token = page.next;
            if token.is_none() {
                return Some(names);
            }
        }
    }

    fn update(&mut self, asked: &Asked, key: usize) {
        let mut put = Put { value: 0, life: asked.life(Call::Update) };
        let before = self.cache.stats();
        let answer = block_on(self.storage.update(KEYS[key], asked.options(), |data| {
            put.value = Blob::decode(data).expect("somebody stored it").wrapping_add(1_000_004);
            Blob::encode(put.value)
        }));
        let faults = [asked.faults(Call::Update), of_key(key).into_iter().collect()].concat();
        if let Judged::Right(stored) = self.judge(before, answer, &faults) {
            let at = asked.space().at(key as u8);
            // Its get is a hit, which renews a sliding TTL; its write keeps or replaces that.
            let found = self.model.clone().apply(&Op::Get(at), 0);
            self.accept(Op::Get(at), found);
            self.accept(Op::Write(at, When::Present, put), version(stored));
        }
    }

    fn load(&mut self, asked: &Asked, key: usize, succeeds: bool) {
        let put = Put { value: self.value(0), life: asked.life(Call::Write) };
        let at = asked.space().at(key as u8);
        let is_there = self.model.version_at(at).is_some();
        let before = self.cache.stats();
        let mut runs = 0;
        let loader = async {
            runs += 1;
            if succeeds { Ok(Blob::encode(put.value)) } else { Err("no such thing") }
        };
        let answer = block_on(self.storage.get_or_load(KEYS[key], asked.options(), loader));
        let mut faults = [asked.faults(Call::Write), of_key(key).into_iter().collect()].concat();
        let is_valid = faults.is_empty();
        if is_valid && !is_there && !succeeds {
            faults.push((ErrorKind::Loader, "nothing was stored"));
        }
        assert_eq!(runs, usize::from(is_valid && !is_there), "runs of the loader");
        if let Judged::Right(loaded) = self.judge(before, answer, &faults) {
            match item(Some(&loaded)) {
                Ret::Item(Some(seen)) => self.accept(Op::GetOrLoad(at, put), Ret::Loaded(seen)),
                other => panic!("loaded {other:?}"),
            }
        }
    }

    fn many(&mut self, asked: &Asked, input: &mut Unstructured<'_>) -> Result<()> {
        let what = input.int_in_range(0..=2_u8)?;
        let count = input.int_in_range(0..=4_u8)?;
        let keys: Vec<usize> = (0..count).map(|_| key(input)).collect::<Result<_>>()?;
        let names: Vec<&str> = keys.iter().map(|key| KEYS[*key]).collect();
        let places: Vec<Place> = keys.iter().map(|key| asked.space().at(*key as u8)).collect();
        let call = if what == 1 { Call::Write } else { Call::Read };
        let mut faults = asked.faults(call);
        faults.extend(keys.iter().filter_map(|key| of_key(*key)));
        let (before, options) = (self.cache.stats(), asked.options());
        match what {
            0 => {
                let answer = block_on(self.storage.get_many(&names, options));
                let Judged::Right(found) = self.judge(before, answer, &faults) else {
                    return Ok(());
                };
                assert_eq!(found.len(), places.len());
                for (at, found) in places.into_iter().zip(found) {
                    self.accept(Op::Get(at), item(found.as_ref()));
                }
            }
            1 => {
                let life = asked.life(Call::Write);
                let puts: Vec<Put> =
                    keys.iter().map(|_| Put { value: self.value(0), life }).collect();
                let data = puts.iter().map(|put| Bytes::from(Blob::encode(put.value)));
                let items: Vec<(&str, Bytes)> = names.into_iter().zip(data).collect();
                let answer = block_on(self.storage.set_many(&items, options));
                let Judged::Right(stored) = self.judge(before, answer, &faults) else {
                    return Ok(());
                };
                assert_eq!(stored.len(), places.len());
                for ((at, put), stored) in places.into_iter().zip(puts).zip(stored) {
                    self.accept(Op::Write(at, When::Always, put), version(Some(stored)));
                }
            }
            _ => {
                let answer = block_on(self.storage.delete_many(&names, options));
                let Judged::Right(removed) = self.judge(before, answer, &faults) else {
                    return Ok(());
                };
                let mut expected = 0;
                for at in places {
                    let is_there = self.model.version_at(at).is_some();
                    expected += u64::from(is_there);
                    self.accept(Op::Delete(at), Ret::Answer(is_there));
                }
                assert_eq!(removed.entries, expected);
            }
        }
        Ok(())
    }

    /// Requires a call to be refused where it broke a rule, for one that it broke and leaving
    /// everything as it was, and to be answered where it broke none.
    fn judge<T>(
        &self,
        before: Stats,
        answer: scopecache::Result<T>,
        faults: &[Fault],
    ) -> Judged<T> {
        let error: Error = match answer {
            Ok(answer) => {
                assert_eq!(faults, [], "it was not refused");
                return Judged::Right(answer);
            }
            Err(error) => error,
        };
        let message = error.to_string();
        let is_right = |(kind, words): &Fault| *kind == error.kind() && message.contains(words);
        assert!(faults.iter().any(is_right), "{message}, but the faults are {faults:?}");
        let figures = |stats: Stats| (stats.entries, stats.users, stats.sessions, stats.live_bytes);
        // A loader that fails has been given a place meanwhile.
        if error.kind() != ErrorKind::Loader {
            assert_eq!(figures(self.cache.stats()), figures(before), "after {message}");
        }
        self.check_all();
        Judged::Refused
    }

    /// Everything is as the reference has it.
    fn check_all(&self) {
        for user in 0..2 {
            for space in
                [Space::Global, Space::User(user), Space::Session(user, 0), Space::Session(user, 1)]
            {
                for key in 0..3 {
                    let (at, name) = (space.at(key), KEYS[usize::from(key)]);
                    let found = self.cache.peek(namespace(space), name).expect("valid");
                    let ret = item(found.map(StorageItem::from).as_ref());
                    assert!(self.model.accept(&Op::Peek(at), &ret).is_some(), "{at:?}: {ret:?}");
                }
            }
        }
    }

    fn accept(&mut self, op: Op, ret: Ret) {
        let Some(next) = self.model.accept(&op, &ret) else {
            let should = self.model.clone().apply(&op, u64::MAX);
            panic!("{op:?} -> {ret:?}; expected something like {should:?} in {:?}", self.model);
        };
        self.model = next;
        self.learned.extend(ret.version());
    }

    /// A storage that is closed answers nobody, and may be closed again.
    fn end(self) {
        self.check_all();
        block_on(self.storage.close()).expect("it closes");
        block_on(self.storage.close()).expect("it closes again");
        let user = Options::new().with_user(USERS[0]);
        let closed = |error: Option<Error>| {
            assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Closed));
        };
        closed(block_on(self.storage.get(KEYS[0], user)).err());
        closed(block_on(self.storage.set(KEYS[0], Bytes::new(), user)).err());
        closed(block_on(self.storage.delete(user)).err());
        closed(block_on(self.storage.keys(Page::new(1), user)).err());
    }

    fn value(&mut self, size: Value) -> Value {
        self.next_value += 4;
        self.next_value + size % 4
    }
}

/// Mostly a valid one.
fn key(input: &mut Unstructured<'_>) -> Result<usize> {
    Ok([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 3, 4][input.int_in_range(0..=15)?])
}

fn namespace(space: Space) -> Namespace<'static> {
    match space {
        Space::Global => Namespace::Global,
        Space::User(user) => Namespace::User { user: USERS[usize::from(user)] },
        Space::Session(user, session) => Namespace::Session {
            user: USERS[usize::from(user)],
            session: SESSIONS[usize::from(session)],
        },
    }
}

fn item(found: Option<&StorageItem>) -> Ret {
    let Some(item) = found else { return Ret::miss() };
    let expires = if item.expires_at.is_some() { Expires::AtDeadline } else { Expires::Never };
    match Blob::decode(&item.data) {
        Some(value) => Ret::Item(Some(Seen { value, version: item.version.as_u64(), expires })),
        None => Ret::Failed("a value that nobody stored".into()),
    }
}

fn version(stored: Option<Version>) -> Ret {
    Ret::Stored(stored.map(Version::as_u64))
}

fn listed(known: &[&str], names: &[String]) -> Ret {
    let number = |name: &String| known.iter().position(|it| it == name).map(|it| it as u8);
    let numbers: Option<Vec<u8>> = names.iter().map(number).collect();
    numbers.map_or_else(|| Ret::Failed("a name that nobody used".into()), Ret::Names)
}
