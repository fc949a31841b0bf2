//! What the benches store and ask for; fixed seeds, so that every run sees the same.

/// A million entries: 10,000 users of 10 sessions of 10 keys.
pub(crate) const MILLION: Shape = Shape { users: 10_000, sessions_a_user: 10, keys_a_session: 10 };

/// The value of every entry.
pub(crate) const VALUE: [u8; 64] = [7; 64];

/// Requests before a sequence repeats: several times what any cache of the processor holds.
const REQUESTS: usize = 1 << 21;

const ID_BYTES: usize = 36;

/// How many there are of what.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) users: usize,
    pub(crate) sessions_a_user: usize,
    pub(crate) keys_a_session: usize,
}

/// The names of all entries. Of 10 keys a session, entry `i` is key `i % 10` of session `i / 10`.
pub(crate) struct Names {
    /// User and session id of each session, in one place as a connection would have them.
    ids: String,
    keys: Vec<String>,
}

/// The full name of an entry.
#[derive(Clone, Copy)]
pub(crate) struct KeyRef<'a> {
    pub(crate) user: &'a str,
    pub(crate) session: &'a str,
    pub(crate) key: &'a str,
}

/// How the entries are chosen.
#[derive(Clone, Copy)]
pub(crate) enum Distribution {
    /// Entry of rank `r` with probability proportional to `r^-0.99`; ranks are scattered over
    /// all sessions.
    Zipf,
    Uniform,
}

/// A sequence of entries that goes on where it was left, and repeats.
pub(crate) struct Requests {
    entries: Vec<u32>,
    next: usize,
}

/// SplitMix64.
pub(crate) struct Random(u64);

impl Names {
    /// Keys are called `key`, a hyphen and their number. Ids depend on the shape alone.
    pub(crate) fn new(shape: Shape, key: &str) -> Self {
        let Shape { users, sessions_a_user, keys_a_session } = shape;
        let mut random = Random::new(1);
        let mut ids = String::with_capacity(users * sessions_a_user * 2 * ID_BYTES);
        for _ in 0..users {
            let user = random.uuid();
            for _ in 0..sessions_a_user {
                ids.push_str(&user);
                ids.push_str(&random.uuid());
            }
        }
        let keys = (0..keys_a_session).map(|number| format!("{key}-{number}")).collect();
        Self { ids, keys }
    }

    pub(crate) fn sessions(&self) -> usize {
        self.ids.len() / (2 * ID_BYTES)
    }

    /// The user and session id of a session.
    #[inline]
    pub(crate) fn ids(&self, session: usize) -> (&str, &str) {
        self.ids[session * 2 * ID_BYTES..][..2 * ID_BYTES].split_at(ID_BYTES)
    }

    /// The session and the key of an entry, as numbers.
    #[inline]
    pub(crate) fn split(&self, entry: u32) -> (usize, usize) {
        let entry = entry as usize;
        (entry / self.keys.len(), entry % self.keys.len())
    }

    pub(crate) fn keys(&self) -> &[String] {
        &self.keys
    }

    #[inline]
    pub(crate) fn key(&self, key: usize) -> &str {
        &self.keys[key]
    }

    #[inline]
    pub(crate) fn of_entry(&self, entry: u32) -> KeyRef<'_> {
        let (session, key) = self.split(entry);
        let (user, session) = self.ids(session);
        KeyRef { user, session, key: self.key(key) }
    }

    pub(crate) fn entries(&self) -> usize {
        self.sessions() * self.keys.len()
    }

    /// All entries in an order that has nothing to do with their names: memory that was filled
    /// in the order of the names would be walked in order by whoever reads a session.
    pub(crate) fn entries_shuffled(&self) -> Vec<u32> {
        let mut entries: Vec<u32> = (0..self.entries() as u32).collect();
        Random::new(2).shuffle(&mut entries);
        entries
    }
}

impl KeyRef<'_> {
    /// Writes the parts into `buffer`, joined by a character that no id here holds.
    #[inline]
    pub(crate) fn join<'b>(&self, buffer: &'b mut String) -> &'b str {
        buffer.clear();
        buffer.push_str(self.user);
        buffer.push('/');
        buffer.push_str(self.session);
        buffer.push('/');
        buffer.push_str(self.key);
        buffer
    }
}

impl Distribution {
    pub(crate) const ALL: [Self; 2] = [Self::Zipf, Self::Uniform];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Zipf => "zipf",
            Self::Uniform => "uniform",
        }
    }

    /// A sequence of numbers below `entries`, another one for each seed.
    pub(crate) fn requests(self, entries: usize, seed: u64) -> Requests {
        let mut random = Random::new(0x5eed + seed);
        let mut draw: Box<dyn FnMut() -> u32> = match self {
            Self::Uniform => Box::new(move || random.below(entries) as u32),
            Self::Zipf => {
                // By inversion: the first rank whose cumulated weight exceeds a uniform number.
                let mut sum = 0.0;
                let mut cumulated = Vec::with_capacity(entries);
                for rank in 1..=entries {
                    sum += (rank as f64).powf(-0.99);
                    cumulated.push(sum);
                }
                let mut by_rank: Vec<u32> = (0..entries as u32).collect();
                Random::new(3).shuffle(&mut by_rank);
                Box::new(move || {
                    let at = random.unit() * sum;
                    by_rank[cumulated.partition_point(|&weight| weight <= at).min(entries - 1)]
                })
            }
        };
        Requests { entries: (0..REQUESTS).map(|_| draw()).collect(), next: 0 }
    }
}

impl Requests {
    #[inline]
    pub(crate) fn next(&mut self) -> u32 {
        let entry = self.entries[self.next];
        self.next = (self.next + 1) % REQUESTS;
        entry
    }
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// The form of a UUID: 32 hex digits and four hyphens.
    fn uuid(&mut self) -> String {
        let (high, low) = (self.next(), self.next());
        let [a, b, c] = [high >> 32, high >> 16 & 0xffff, high & 0xffff];
        let [d, e] = [low >> 48, low & 0xffff_ffff_ffff];
        format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
    }
}
