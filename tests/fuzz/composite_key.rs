//! Names of keys: no two of them feed the same bytes to the hasher, none is taken for another when
//! all hashes are one, and the limits are exact.
//!
//! Ids are cut from one text at different places, so that they would be the same where they are
//! joined, with a separator or without.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use arbitrary::{Result, Unstructured};
use scopecache::{
    Cache, ErrorKind, MAX_ID_BYTES, MAX_KEY_BYTES, Maintenance, Namespace, OnFull, Part, SetOptions,
};

const MOST_STEPS: usize = 200;
/// Separators, characters of several bytes, and what tags and lengths look like.
const LETTERS: [char; 12] =
    ['a', 'b', ':', '/', '\0', '\u{1}', '\u{2}', '*', '|', ' ', 'é', '\u{10FFFF}'];
/// Lengths beside the limits, in bytes.
const LENGTHS: [usize; 8] = [0, 1, 255, 256, 257, 511, 512, 513];

/// Runs the target; panics where names are mistaken.
pub(crate) fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(text) = text(&mut input) else { return };
    let mut judge = Judge::new();
    for _ in 0..MOST_STEPS {
        if input.is_empty() || judge.step(&text, &mut input).is_err() {
            break;
        }
    }
    judge.end();
}

thread_local! {
    /// The most that any hash was fed since this was taken: that of a whole name, not that of its namespace.
    static LONGEST: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Remembers what it is fed, and answers the same whatever that is.
#[derive(Clone, Default)]
struct Tape(Vec<u8>);

struct Tapes;

impl Hasher for Tape {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        LONGEST.with_borrow_mut(|longest| {
            if self.0.len() > longest.len() {
                longest.clone_from(&self.0);
            }
        });
        0x5C09_ECAC_4E00_0001
    }
}

impl BuildHasher for Tapes {
    type Hasher = Tape;

    fn build_hasher(&self) -> Tape {
        Tape::default()
    }
}

/// The whole name of a key.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Name {
    owner: Owner,
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Owner {
    Nobody,
    User(String),
    Session(String, String),
}

impl Owner {
    fn namespace(&self) -> Namespace<'_> {
        match self {
            Owner::Nobody => Namespace::Global,
            Owner::User(user) => Namespace::User { user },
            Owner::Session(user, session) => Namespace::Session { user, session },
        }
    }

    /// Whether deleting `self` deletes what is `other`'s.
    fn covers(&self, other: &Owner) -> bool {
        match (self, other) {
            (Owner::User(user), Owner::User(it) | Owner::Session(it, _)) => user == it,
            _ => self == other,
        }
    }

    /// The parts that have no valid length.
    fn faults(&self) -> Vec<ErrorKind> {
        let (user, session) = match self {
            Owner::Nobody => (None, None),
            Owner::User(user) => (Some(user), None),
            Owner::Session(user, session) => (Some(user), Some(session)),
        };
        let user = user.and_then(|id| fault(id.len(), Part::User, MAX_ID_BYTES));
        let session = session.and_then(|id| fault(id.len(), Part::Session, MAX_ID_BYTES));
        user.into_iter().chain(session).collect()
    }
}

fn fault(length: usize, part: Part, limit: usize) -> Option<ErrorKind> {
    (length == 0 || length > limit).then_some(ErrorKind::InvalidKey { part, limit })
}

struct Judge {
    cache: Cache<u64, Tapes>,
    stored: HashMap<Name, u64>,
    /// Who was hashed by which bytes.
    tapes: HashMap<Vec<u8>, Name>,
    next_value: u64,
}

impl Judge {
    fn new() -> Judge {
        let cache = Cache::builder()
            .max_bytes(8 << 20)
            .expected_entries(64)
            .on_full(OnFull::Reject)
            .maintenance(Maintenance::Manual)
            .hasher(Tapes)
            .build()
            .expect("these options go together");
        Judge { cache, stored: HashMap::new(), tapes: HashMap::new(), next_value: 0 }
    }

    fn step(&mut self, text: &str, input: &mut Unstructured<'_>) -> Result<()> {
        let what = input.int_in_range(0..=7_u8)?;
        let owner = match input.int_in_range(0..=2_u8)? {
            0 => Owner::Nobody,
            1 => Owner::User(part(text, input)?),
            _ => Owner::Session(part(text, input)?, part(text, input)?),
        };
        if what == 7 {
            self.delete_namespace(&owner);
            return Ok(());
        }
        let name = Name { owner, key: part(text, input)?.into_bytes() };
        let mut faults = name.owner.faults();
        faults.extend(fault(name.key.len(), Part::Key, MAX_KEY_BYTES));
        if faults.is_empty() {
            self.check_tape(&name);
            if what == 6 { self.delete(&name) } else { self.set(name) }
        } else {
            self.check_refused(&name, &faults);
        }
        Ok(())
    }

    /// Both ways to a hash feed the same bytes, and no other name feeds them.
    fn check_tape(&mut self, name: &Name) {
        let namespace = name.owner.namespace();
        LONGEST.take();
        let is_there = self.cache.contains(namespace, &name.key).expect("valid");
        let tape = LONGEST.take();
        let scope = self.cache.scope(namespace).expect("valid");
        assert_eq!(scope.contains(&name.key).expect("valid"), is_there);
        assert_eq!(LONGEST.take(), tape, "a scope hashes {name:?} in another way");
        assert_eq!(is_there, self.stored.contains_key(name), "{name:?}");
        let other = self.tapes.entry(tape).or_insert_with(|| name.clone());
        assert_eq!(other, name, "hashed alike");
    }

    fn check_refused(&self, name: &Name, faults: &[ErrorKind]) {
        let (namespace, key) = (name.owner.namespace(), &name.key);
        let options = SetOptions::new();
        let mut refusals = vec![
            self.cache.get(namespace, key).err(),
            self.cache.set(namespace, key, 0, &options).err(),
            self.cache.delete(namespace, key).err(),
        ];
        match self.cache.scope(namespace) {
            Ok(scope) if name.owner.faults().is_empty() => {
                refusals.push(scope.set(key, 0).err());
                refusals.push(scope.get_many(&[key]).err());
            }
            made => refusals.push(made.err()),
        }
        for refusal in refusals {
            let kind = refusal.map(|error| error.kind());
            assert!(kind.is_some_and(|kind| faults.contains(&kind)), "{kind:?}, not {faults:?}");
        }
    }

    fn set(&mut self, name: Name) {
        self.next_value += 1;
        let (namespace, options) = (name.owner.namespace(), SetOptions::new());
        self.cache.set(namespace, &name.key, self.next_value, &options).expect("there is room");
        self.check(&name, Some(self.next_value));
        self.stored.insert(name, self.next_value);
    }

    fn delete(&mut self, name: &Name) {
        let was_there = self.cache.delete(name.owner.namespace(), &name.key).expect("valid");
        assert_eq!(was_there, self.stored.remove(name).is_some(), "{name:?}");
        self.check(name, None);
    }

    fn delete_namespace(&mut self, owner: &Owner) {
        let faults = owner.faults();
        match self.cache.delete_namespace(owner.namespace()) {
            Ok(removed) => {
                assert_eq!(faults, [], "{owner:?} is valid");
                let before = self.stored.len();
                self.stored.retain(|name, _| !owner.covers(&name.owner));
                assert_eq!(removed.entries, (before - self.stored.len()) as u64, "{owner:?}");
            }
            Err(error) => assert!(faults.contains(&error.kind()), "{error}, not {faults:?}"),
        }
    }

    fn check(&self, name: &Name, value: Option<u64>) {
        let found = self.cache.get(name.owner.namespace(), &name.key).expect("valid");
        assert_eq!(found.map(|item| *item.value()), value, "{name:?}");
    }

    /// Everybody has what is theirs, and nothing else is listed.
    fn end(self) {
        for (name, value) in &self.stored {
            self.check(name, Some(*value));
        }
        for name in self.tapes.values() {
            let mut listed = self.cache.keys(name.owner.namespace()).expect("valid");
            let theirs = self.stored.keys().filter(|it| it.owner == name.owner);
            let mut expected: Vec<&[u8]> = theirs.map(|it| it.key.as_slice()).collect();
            listed.sort_unstable();
            expected.sort_unstable();
            assert_eq!(listed, expected, "{:?}", name.owner);
        }
        self.cache.validate().unwrap_or_else(|broken| panic!("{broken}"));
    }
}

/// The text that ids and keys are cut from.
fn text(input: &mut Unstructured<'_>) -> Result<String> {
    let length = input.int_in_range(0..=24)?;
    (0..length).map(|_| input.choose(&LETTERS).copied()).collect()
}

/// A part of the text, or one of a length beside the limits.
fn part(text: &str, input: &mut Unstructured<'_>) -> Result<String> {
    let code: u8 = input.arbitrary()?;
    if code >= 224 {
        let length = LENGTHS[usize::from(code & 7)];
        // Characters of one byte or of two: lengths are counted in bytes.
        let letter = if code & 8 == 0 { "a" } else { "é" };
        let mut part = letter.repeat(length / letter.len());
        part.push_str(&"a".repeat(length - part.len()));
        return Ok(part);
    }
    let (start, length) = (usize::from(code & 15), usize::from(code >> 4));
    Ok(text.chars().skip(start).take(length).collect())
}
