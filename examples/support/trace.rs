//! Reads a trace of requests: who asked for what, and whose end deletes what.
//!
//! Two formats, plain or zstd, told apart by their beginnings:
//!
//! ```text
//! data/build-trace.txt.zst            six fields a line, as public cache traces have them
//! g t_ms user session size key        key size ttl op owner t
//! e t_ms user session                 (key hexadecimal, op one of g, s, d)
//! c t_ms user
//! ```
//!
//! In the recorded build a path has the owner that a build server would give it: the
//! toolchain's and the system's files are everybody's, sources are the crate's, and what
//! the build makes is seen by one process. In the other format each owner is a user with
//! one session, `s`, that ends with the file.

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::Path,
};

use scopecache::{MAX_ID_BYTES, MAX_KEY_BYTES, Namespace};

/// The trace that comes with the project.
const RECORDED: &[u8] = include_bytes!("../../data/build-trace.txt.zst");
/// How a recorded build begins; any other file has the six fields.
const RECORDED_HEADER: &[u8] = b"# scopecache build trace, version 1";
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Values are cut to this size, so that big files do not turn the replay into copying.
pub(crate) const VALUE_LIMIT_BYTES: u32 = 4096;
/// What a value gets where a trace of six fields does not know its size.
const UNKNOWN_SIZE_BYTES: u32 = 64;
/// Seconds that an entry lives: a file, and the knowledge that there is none.
const FOUND_TTL_S: u32 = 3600;
const ABSENT_TTL_S: u32 = 600;

/// Of a malformed line, as much is shown.
const SHOWN_CHARS: usize = 120;
/// An id's limit, less what the number of a round adds to it.
const LONGEST_USER_BYTES: usize = MAX_ID_BYTES - 16;

/// Prefixes of the paths that belong to everybody, and of those that a process made.
const EVERYBODYS: [&str; 5] = ["<system>", "<sysroot>", "<rustup>", "<cargo>", "<home>"];
const MADE: [&str; 3] = ["<target>", "<tmp>", "<work>"];

/// Requests in order, with every name in them held once.
pub(crate) struct Trace {
    pub(crate) users: Vec<String>,
    pub(crate) owners: Vec<Owner>,
    pub(crate) keys: Vec<Box<[u8]>>,
    numbers: HashMap<Box<[u8]>, u32>,
    pub(crate) events: Vec<Event>,
    pub(crate) lookups: u64,
}

/// Whose a key is: the namespace of a look-up, with numbers for names.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    Global,
    User { user: u32 },
    Session { user: u32, session: String },
}

impl Owner {
    /// The user that it is or belongs to.
    pub(crate) fn user(&self) -> Option<u32> {
        match self {
            Self::Global => None,
            Self::User { user } | Self::Session { user, .. } => Some(*user),
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Event {
    Lookup(Lookup),
    /// A write without a look-up before it (`op` s).
    Write(Lookup),
    /// The end of a key (`op` d).
    Delete {
        worker: u32,
        owner: u32,
        key: u32,
    },
    /// A process ended: its session (an owner) goes.
    EndSession {
        worker: u32,
        owner: u32,
    },
    /// A crate ended: its user goes.
    EndUser {
        user: u32,
    },
}

#[derive(Clone, Copy)]
pub(crate) struct Lookup {
    /// What keeps the order of things that depend on each other: the process, or the key.
    pub(crate) worker: u32,
    pub(crate) owner: u32,
    pub(crate) key: u32,
    pub(crate) size_bytes: u32,
    pub(crate) ttl_s: u32,
}

/// Why a trace cannot be replayed; its text begins with FILE:LINE where a line is to blame.
#[derive(Debug)]
pub(crate) struct TraceError(String);

impl Trace {
    /// Reads the trace that comes with the project.
    pub(crate) fn recorded() -> Result<Self, TraceError> {
        read("data/build-trace.txt.zst", Cursor::new(RECORDED))
    }

    /// Reads a trace from a file.
    pub(crate) fn open(path: &Path) -> Result<Self, TraceError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|e| TraceError(format!("{name}: {e}")))?;
        read(&name, file)
    }

    /// The number of a key, if the trace has it.
    pub(crate) fn number_of_key(&self, key: &[u8]) -> Option<u32> {
        self.numbers.get(key).copied()
    }

    /// The owner as a namespace of one round; each round has users of its own.
    pub(crate) fn namespace<'a>(&'a self, owner: u32, names: &'a RoundNames) -> Namespace<'a> {
        match &self.owners[owner as usize] {
            Owner::Global => Namespace::Global,
            Owner::User { user } => Namespace::User { user: names.user(*user) },
            Owner::Session { user, session } => {
                Namespace::Session { user: names.user(*user), session }
            }
        }
    }
}

/// The names that the trace's users bear in one round.
pub(crate) struct RoundNames(Vec<String>);

impl RoundNames {
    pub(crate) fn new(trace: &Trace, round: u64) -> Self {
        Self(trace.users.iter().map(|user| format!("{user}#{round}")).collect())
    }

    pub(crate) fn user(&self, user: u32) -> &str {
        &self.0[user as usize]
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TraceError {}

fn read(name: &str, source: impl Read) -> Result<Trace, TraceError> {
    let mut source = BufReader::new(source);
    let failed = |e: io::Error| TraceError(format!("{name}: {e}"));
    if source.fill_buf().map_err(failed)?.starts_with(&ZSTD_MAGIC) {
        let decoder = ruzstd::decoding::StreamingDecoder::new(source)
            .map_err(|e| TraceError(format!("{name}: not a zstd file that can be read: {e}")))?;
        read_lines(name, BufReader::with_capacity(1 << 20, decoder))
    } else {
        read_lines(name, source)
    }
}

fn read_lines(name: &str, mut source: impl BufRead) -> Result<Trace, TraceError> {
    let mut builder = Builder::default();
    let mut line = Vec::new();
    let mut number = 0_u64;
    let mut recorded = false;
    loop {
        line.clear();
        number += 1;
        let blame = |why: String| TraceError(format!("{name}:{number}: {why}"));
        if source.read_until(b'\n', &mut line).map_err(|e| blame(e.to_string()))? == 0 {
            break;
        }
        let text = std::str::from_utf8(line.strip_suffix(b"\n").unwrap_or(&line))
            .map_err(|_| blame("expected text in UTF-8".to_owned()))?;
        if number == 1 {
            recorded = text.as_bytes().starts_with(RECORDED_HEADER);
        }
        if text.starts_with('#') {
            continue;
        }
        let added = if recorded { builder.recorded_line(text) } else { builder.six_fields(text) };
        added.map_err(|expected| {
            let found: String = text.chars().take(SHOWN_CHARS).collect();
            blame(format!("expected {expected}, found {found:?}"))
        })?;
    }
    if builder.lookups == 0 {
        return Err(TraceError(format!("{name}: holds no request")));
    }
    Ok(builder.finish())
}

/// Gives names numbers while the lines come in.
#[derive(Default)]
struct Builder {
    users: HashMap<String, u32>,
    owners: HashMap<Owner, u32>,
    keys: HashMap<Box<[u8]>, u32>,
    sessions: HashMap<(u32, String), u32>,
    /// Of each user: whether a line said that it ended.
    ended: Vec<bool>,
    events: Vec<Event>,
    lookups: u64,
}

impl Builder {
    /// One line of a recorded build; the error says what was expected.
    fn recorded_line(&mut self, line: &str) -> Result<(), &'static str> {
        const EXPECTED: &str = "`g t_ms user session size_bytes key`, `e t_ms user session` or \
                                `c t_ms user`, with one space between";
        let fields: Vec<&str> = line.split(' ').collect();
        if let [_, t_ms, ..] = fields[..] {
            number::<u64>(t_ms).ok_or("t_ms as a decimal number of milliseconds")?;
        }
        match fields[..] {
            ["g", _, user, session, size, key] => self.look_up(user, session, size, key),
            ["e", _, user, session] => {
                let known = self.users.get(user).and_then(|&user| {
                    let session = (user, session.to_owned());
                    Some((*self.sessions.get(&session)?, session))
                });
                let (worker, (user, session)) = known.ok_or("a session seen in a line before")?;
                let owner = self.owner(Owner::Session { user, session });
                self.events.push(Event::EndSession { worker, owner });
                Ok(())
            }
            ["c", _, user] => {
                let user = *self.users.get(user).ok_or("a user seen in a line before")?;
                self.ended[user as usize] = true;
                self.events.push(Event::EndUser { user });
                Ok(())
            }
            _ => Err(EXPECTED),
        }
    }

    /// A look-up of a recorded build: the key's beginning tells whose it is.
    fn look_up(
        &mut self,
        user: &str,
        session: &str,
        size: &str,
        key: &str,
    ) -> Result<(), &'static str> {
        let size: u64 = number(size).ok_or("size_bytes as a decimal number")?;
        if user.is_empty() || user.len() > LONGEST_USER_BYTES {
            return Err("a user of 1 to 240 bytes");
        }
        if session.is_empty() || session.len() > MAX_ID_BYTES {
            return Err("a session of 1 to 256 bytes");
        }
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err("a key of 1 to 512 bytes");
        }
        let user = self.user(user);
        let next = self.sessions.len() as u32;
        let worker = *self.sessions.entry((user, session.to_owned())).or_insert(next);
        let owner = if starts_with_one_of(key, &EVERYBODYS) {
            Owner::Global
        } else if starts_with_one_of(key, &MADE) {
            Owner::Session { user, session: session.to_owned() }
        } else {
            Owner::User { user }
        };
        let lookup = Lookup {
            worker,
            owner: self.owner(owner),
            key: self.key(key.as_bytes()),
            size_bytes: size.min(VALUE_LIMIT_BYTES.into()) as u32,
            ttl_s: if size == 0 { ABSENT_TTL_S } else { FOUND_TTL_S },
        };
        self.lookups += 1;
        self.events.push(Event::Lookup(lookup));
        Ok(())
    }

    /// One line of a trace with six fields; the error says what was expected.
    fn six_fields(&mut self, line: &str) -> Result<(), &'static str> {
        const EXPECTED: &str = "six fields with one space between: `key size ttl op owner t`";
        let fields: Vec<&str> = line.split(' ').collect();
        let [key, size, ttl, op, owner, t] = fields[..] else { return Err(EXPECTED) };
        u64::from_str_radix(key, 16).map_err(|_| "key as a hexadecimal 64-bit number")?;
        let size: u64 = number(size).ok_or("size as a decimal number of bytes")?;
        let ttl: u32 = number(ttl).ok_or("ttl as a decimal number of seconds below 2^32")?;
        number::<u32>(owner).ok_or("owner as a decimal number below 2^32")?;
        number::<u64>(t).ok_or("t as a decimal number of milliseconds")?;
        if !["g", "s", "d"].contains(&op) {
            return Err("op g, s or d");
        }
        let user = self.user(owner);
        let owner = self.owner(Owner::Session { user, session: "s".to_owned() });
        let key = self.key(key.as_bytes());
        // A key stays with one thread, which keeps its own requests in order.
        let worker = key;
        let size_bytes = match size {
            0 => UNKNOWN_SIZE_BYTES,
            known => known.min(VALUE_LIMIT_BYTES.into()) as u32,
        };
        let ttl_s = if ttl == 0 { FOUND_TTL_S } else { ttl };
        let lookup = Lookup { worker, owner, key, size_bytes, ttl_s };
        self.lookups += u64::from(op == "g");
        self.events.push(match op {
            "g" => Event::Lookup(lookup),
            "s" => Event::Write(lookup),
            _ => Event::Delete { worker, owner, key },
        });
        Ok(())
    }

    fn user(&mut self, name: &str) -> u32 {
        if let Some(&user) = self.users.get(name) {
            return user;
        }
        let user = self.users.len() as u32;
        self.users.insert(name.to_owned(), user);
        self.ended.push(false);
        user
    }

    fn owner(&mut self, owner: Owner) -> u32 {
        let next = self.owners.len() as u32;
        *self.owners.entry(owner).or_insert(next)
    }

    fn key(&mut self, key: &[u8]) -> u32 {
        if let Some(&known) = self.keys.get(key) {
            return known;
        }
        let next = self.keys.len() as u32;
        self.keys.insert(key.into(), next);
        next
    }

    /// The trace; users whose end the file does not tell end with it.
    fn finish(mut self) -> Trace {
        for (user, ended) in (0_u32..).zip(&self.ended) {
            if !ended {
                self.events.push(Event::EndUser { user });
            }
        }
        Trace {
            users: by_number(self.users),
            owners: by_number(self.owners),
            keys: by_number(self.keys.clone()),
            numbers: self.keys,
            events: self.events,
            lookups: self.lookups,
        }
    }
}

fn by_number<T>(numbers: HashMap<T, u32>) -> Vec<T> {
    let mut named: Vec<(T, u32)> = numbers.into_iter().collect();
    named.sort_unstable_by_key(|&(_, number)| number);
    named.into_iter().map(|(name, _)| name).collect()
}

fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    // `parse` takes a leading plus; the format does not.
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn starts_with_one_of(key: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| key.starts_with(prefix))
}
