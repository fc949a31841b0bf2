//! The vocabulary of the judges: what is asked of a cache, and what it answered.
//!
//! Ids are small numbers, so that a history is short to print and a state is cheap to hash;
//! an adapter turns them into real names. Times are nanoseconds of the mock clock. Versions
//! are opaque: they are learned from answers and only ever compared for equality.

/// A value stored in a cache; adapters choose how it looks there.
pub type Value = u32;

/// Mock clock nanoseconds: a moment or a span.
pub type Nanos = u64;

/// An opaque version, as answered by the engine under test.
pub type VersionId = u64;

/// The name of one load or lease, unique within a history.
pub type LeaseId = u32;

/// The name of a hit that may renew a sliding TTL, unique within a history.
pub type HitId = u32;

/// A namespace.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Space {
    Global,
    User(u8),
    Session(u8, u8),
}

/// A key within its namespace.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Place {
    pub space: Space,
    pub key: u8,
}

/// Whose data an operation may see or change: ops of different owners commute.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Owner {
    Global,
    User(u8),
    /// Every owner at once.
    All,
}

/// How long a written value lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Life {
    /// No TTL; an earlier one is dropped.
    Forever,
    /// A TTL. Zero is an invalid option.
    For(Nanos),
    /// `keep_ttl`: the deadline of what is overwritten, none where nothing is.
    Keep,
    /// A TTL that hits refresh, up to `max_lifetime` after the value's creation.
    Sliding { ttl: Nanos, max_lifetime: Nanos },
}

/// When a write is to happen: `set`, `insert`, `replace`, `compare_and_set`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum When {
    Always,
    Absent,
    Present,
    Version(VersionId),
}

/// A value and how it is to be stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Put {
    pub value: Value,
    pub life: Life,
}

/// One operation. Everything that touches a single key names its `Place` first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    Get(Place),
    Peek(Place),
    Contains(Place),
    Write(Place, When, Put),
    /// Adds to the value that is there, so that a lost update shows.
    Update(Place, Value),
    Take(Place),
    Touch(Place, Nanos),
    Delete(Place),
    /// One call. In a history: a call whose loader did not run, because it found a value
    /// or joined another load; one whose loader ran is a `Lease` and a `LoadEnd`.
    GetOrLoad(Place, Put),
    /// One call in a program: a get that refreshes what is old, where nobody else does. In a history
    /// it is a `Get`, and a `Write` over the version that was hit where the right to it was got.
    Refresh(Place, Put),
    /// The second half of a `get_or_load` whose loader ran. Whether the value was stored
    /// does not show in the answer.
    LoadEnd(Place, LeaseId, Put),
    Lease(Place, LeaseId),
    Fulfil(Place, LeaseId, Put),
    DropLease(Place, LeaseId),
    DeleteNamespace(Space),
    Keys(Space),
    Sessions(u8),
    Users,
    Usage(Space),
    Clear,
    /// Deletes everything, and refuses all that comes after.
    Close,
    Advance(Nanos),
    /// In a history with sliding TTLs: a get that found something. It renews nothing yet.
    Hit(Place, HitId),
    /// The second half of a `Hit`: the renewal, which may be lost.
    Slide(Place, HitId),
}

/// An item as it was answered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Seen {
    pub value: Value,
    pub version: VersionId,
    pub expires: Expires,
}

/// Whether an answered item has a deadline. The moment itself is judged by what is still
/// there around it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Expires {
    Never,
    AtDeadline,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Ret {
    /// get, peek, take
    Item(Option<Seen>),
    /// contains, touch, delete
    Answer(bool),
    /// writes, update, fulfil: the new version, or that nothing was stored
    Stored(Option<VersionId>),
    /// get_or_load
    Loaded(Seen),
    Leased,
    /// A lease of a key that has a value or a loader.
    Conflict,
    /// Listings, as they came: duplicates are kept, the order is not judged.
    Names(Vec<u8>),
    /// Group deletes: how many entries went.
    Removed(u64),
    /// Usage: how many entries are there.
    Entries(u64),
    /// What answers nothing.
    Done,
    /// `InvalidOptions`.
    Invalid,
    /// `CapacityExceeded` or `QuotaExceeded`: nothing was stored.
    Full,
    /// `Closed`: nothing happened.
    Closed,
    /// Any other error, or an answer that makes no sense. Never right.
    Failed(String),
}

/// How closely a model's expected answer must be met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precision {
    /// Nothing overlaps: listings and counts are judged too.
    Sequential,
    /// Calls overlap: listings and counts are weakly consistent and judged elsewhere.
    Concurrent,
}

impl Space {
    pub fn at(self, key: u8) -> Place {
        Place { space: self, key }
    }

    pub fn owner(self) -> Owner {
        match self {
            Space::Global => Owner::Global,
            Space::User(user) | Space::Session(user, _) => Owner::User(user),
        }
    }

    /// Whether deleting `self` deletes what is in `other`: a user goes with its sessions.
    pub fn covers(self, other: Space) -> bool {
        match self {
            Space::User(user) => other.owner() == Owner::User(user),
            Space::Global | Space::Session(..) => self == other,
        }
    }
}

impl Life {
    /// Whether an engine refuses it with `InvalidOptions`, before anything is touched.
    pub fn is_invalid(self) -> bool {
        match self {
            Life::Forever | Life::Keep => false,
            Life::For(ttl) => ttl == 0,
            Life::Sliding { ttl, max_lifetime } => ttl == 0 || max_lifetime == 0,
        }
    }
}

impl Put {
    pub fn forever(value: Value) -> Put {
        Put { value, life: Life::Forever }
    }

    pub fn lasting(value: Value, ttl: Nanos) -> Put {
        Put { value, life: Life::For(ttl) }
    }
}

impl Op {
    pub fn set(at: Place, value: Value) -> Op {
        Op::Write(at, When::Always, Put::forever(value))
    }

    pub fn set_for(at: Place, value: Value, ttl: Nanos) -> Op {
        Op::Write(at, When::Always, Put::lasting(value, ttl))
    }

    pub fn insert(at: Place, value: Value) -> Op {
        Op::Write(at, When::Absent, Put::forever(value))
    }

    pub fn compare_and_set(at: Place, version: VersionId, value: Value) -> Op {
        Op::Write(at, When::Version(version), Put::forever(value))
    }

    /// The key that the operation is about, if it is about one.
    pub fn place(&self) -> Option<Place> {
        match *self {
            Op::Get(at)
            | Op::Peek(at)
            | Op::Contains(at)
            | Op::Write(at, ..)
            | Op::Update(at, _)
            | Op::Take(at)
            | Op::Touch(at, _)
            | Op::Delete(at)
            | Op::GetOrLoad(at, _)
            | Op::Refresh(at, _)
            | Op::LoadEnd(at, ..)
            | Op::Lease(at, _)
            | Op::Fulfil(at, ..)
            | Op::DropLease(at, _)
            | Op::Hit(at, _)
            | Op::Slide(at, _) => Some(at),
            Op::DeleteNamespace(_)
            | Op::Keys(_)
            | Op::Sessions(_)
            | Op::Users
            | Op::Usage(_)
            | Op::Clear
            | Op::Close
            | Op::Advance(_) => None,
        }
    }

    pub fn owner(&self) -> Owner {
        match *self {
            Op::DeleteNamespace(space) | Op::Keys(space) | Op::Usage(space) => space.owner(),
            Op::Sessions(user) => Owner::User(user),
            Op::Users | Op::Clear | Op::Close | Op::Advance(_) => Owner::All,
            _ => self.place().map_or(Owner::All, |at| at.space.owner()),
        }
    }

    /// Whether the answer is weakly consistent: a listing or a figure.
    pub fn is_weak(&self) -> bool {
        matches!(self, Op::Keys(_) | Op::Sessions(_) | Op::Users | Op::Usage(_))
    }

    /// What the operation stores, and how.
    pub fn put(&self) -> Option<Put> {
        match *self {
            Op::Write(_, _, put)
            | Op::GetOrLoad(_, put)
            | Op::Refresh(_, put)
            | Op::LoadEnd(_, _, put)
            | Op::Fulfil(_, _, put) => Some(put),
            _ => None,
        }
    }

    /// Whether the operation needs memory, so that a full cache may refuse it.
    pub fn needs_room(&self) -> bool {
        self.put().is_some() || matches!(self, Op::Update(..) | Op::Touch(..) | Op::Lease(..))
    }

    /// Whether the operation counts a TTL from the clock as it read it.
    pub fn reads_clock_for_deadline(&self) -> bool {
        match self {
            Op::Touch(..) | Op::Slide(..) => true,
            Op::Write(_, _, put)
            | Op::GetOrLoad(_, put)
            | Op::LoadEnd(_, _, put)
            | Op::Fulfil(_, _, put) => !matches!(put.life, Life::Forever | Life::Keep),
            _ => false,
        }
    }
}

impl Ret {
    pub fn hit(value: Value, version: VersionId) -> Ret {
        Ret::Item(Some(Seen { value, version, expires: Expires::Never }))
    }

    pub fn miss() -> Ret {
        Ret::Item(None)
    }

    pub fn stored(version: VersionId) -> Ret {
        Ret::Stored(Some(version))
    }

    /// The version that the answer shows, whoever wrote it.
    pub fn version(&self) -> Option<VersionId> {
        match self {
            Ret::Item(seen) => seen.map(|seen| seen.version),
            Ret::Loaded(seen) => Some(seen.version),
            Ret::Stored(version) => *version,
            _ => None,
        }
    }
}
