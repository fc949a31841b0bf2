//! The operations that models are made of.

/// Whom a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// Nobody in particular.
    Global,
    /// A user.
    User(&'static str),
    /// A user's session.
    Session(&'static str, &'static str),
}

/// The global namespace.
pub fn global() -> Owner {
    Owner::Global
}

/// A user's namespace.
pub fn user(user: &'static str) -> Owner {
    Owner::User(user)
}

/// A session's namespace.
pub fn session(user: &'static str, session: &'static str) -> Owner {
    Owner::Session(user, session)
}

/// A key of somebody, and how it is addressed.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub(crate) owner: Owner,
    pub(crate) key: &'static str,
    /// Through the scope that all threads share, else by ids.
    pub(crate) scoped: bool,
}

impl Owner {
    /// A key, addressed by ids.
    pub fn key(self, key: &'static str) -> Place {
        Place { owner: self, key, scoped: false }
    }

    /// A key, addressed through the scope that [`Op::OpenScopes`] made.
    pub fn scoped(self, key: &'static str) -> Place {
        Place { owner: self, key, scoped: true }
    }

    /// Whether a deletion of `other` deletes this.
    pub(crate) fn is_within(self, other: Self) -> bool {
        match (self, other) {
            (Self::Session(own, _), Self::User(user)) => own == user,
            _ => self == other,
        }
    }
}

/// One operation of a thread. TTLs and times are in seconds; values are unique in a model.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// Makes the scopes of all places that are addressed through one.
    OpenScopes,
    /// Stores.
    Set(Place, u32),
    /// Stores with a TTL.
    SetFor(Place, u32, u64),
    /// Stores and keeps the deadline of what is there.
    SetKeepingTtl(Place, u32),
    /// Stores if absent.
    Insert(Place, u32),
    /// Stores with a TTL if absent.
    InsertFor(Place, u32, u64),
    /// Stores if present.
    Replace(Place, u32),
    /// Stores the second value if the first is there, by the version that its write answered.
    CompareAndSet(Place, u32, u32),
    /// Adds to the value that is there.
    Update(Place, u32),
    /// Reads.
    Get(Place),
    /// Reads under a guard, and reads the borrowed entry again after another access.
    GetRef(Place),
    /// Removes and answers.
    Take(Place),
    /// Removes.
    Delete(Place),
    /// Gives a new TTL.
    Touch(Place, u64),
    /// Lists the keys of the owner.
    Keys(Owner),
    /// Deletes the owner.
    DeleteAll(Owner),
    /// Takes a lease and fulfils it.
    Lease(Place, u32),
    /// Takes a lease and gives it up.
    LeaseAndDrop(Place),
    /// Takes a lease and keeps it, to the end of the execution if need be.
    HoldLease(Place, u32),
    /// Fulfils the lease that is kept.
    FulfilHeld(Place),
    /// Gets or loads.
    Load(Place, u32),
    /// Gets or loads, and the loader reads the key before it answers.
    LoadWithGetInside(Place, u32),
    /// Reads, and where the value is a second old and nobody refreshes it, replaces it.
    Refresh(Place, u32),
    /// Reads, and where the value is a second old and nobody refreshes it, keeps the right to do so,
    /// to the end of the execution if need be.
    ClaimRefresh(Place),
    /// Replaces the value by the right that is kept, if it is.
    FulfilRefresh(Place, u32),
    /// Gives the right that is kept back, if it is.
    DropRefresh(Place),
    /// Moves the clock on.
    Advance(u64),
    /// Lets maintenance look through the table for what has expired.
    Sweep,
    /// Lets maintenance look at events and at what the wheel has due, but not through the table.
    Tend,
    /// Reclaims as long as anything is pending, a few steps at most.
    Reclaim,
    /// Gives the owner, a user, a quota of so many bytes.
    SetQuota(Owner, u64),
    /// Closes the cache; once only.
    Close,
}

impl Op {
    /// The key that it is about, if it is about one.
    pub(crate) fn place(&self) -> Option<Place> {
        match *self {
            Self::Set(place, _)
            | Self::SetFor(place, ..)
            | Self::SetKeepingTtl(place, _)
            | Self::Insert(place, _)
            | Self::InsertFor(place, ..)
            | Self::Replace(place, _)
            | Self::CompareAndSet(place, ..)
            | Self::Update(place, _)
            | Self::Get(place)
            | Self::GetRef(place)
            | Self::Take(place)
            | Self::Delete(place)
            | Self::Touch(place, _)
            | Self::Lease(place, _)
            | Self::LeaseAndDrop(place)
            | Self::HoldLease(place, _)
            | Self::FulfilHeld(place)
            | Self::Load(place, _)
            | Self::LoadWithGetInside(place, _)
            | Self::Refresh(place, _)
            | Self::ClaimRefresh(place)
            | Self::FulfilRefresh(place, _)
            | Self::DropRefresh(place) => Some(place),
            Self::OpenScopes
            | Self::Keys(_)
            | Self::DeleteAll(_)
            | Self::Advance(_)
            | Self::Sweep
            | Self::Tend
            | Self::Reclaim
            | Self::SetQuota(..)
            | Self::Close => None,
        }
    }
}
