//! Which events a session has: their ids in order, the stream of each, and what they weigh.
//!
//! ```text
//!   per event   id 16 bytes | stream 16 | bytes 4 | last 1
//! ```
//!
//! One value, so that it changes by compare-and-set, whichever server appends. It is read and written for
//! each event: so it stays what it is in the storage, and nothing is made of the entries that only stay.

use bytes::Bytes;

use super::EventLimits;
use crate::adapter::rmcp::token::Token;

const ENTRY: usize = 16 + 16 + 4 + 1;

/// An event, without what it says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: Token,
    pub(super) stream: Stream,
    /// Of the stored event; zero where it was too large to be stored.
    pub(super) bytes: u32,
    /// Whether it answers the request, so that none comes after it.
    pub(super) last: bool,
}

/// The name of a stream, as a number. rmcp's names are random or unlike all others of the session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stream(u128);

#[derive(Default)]
pub(super) struct Index(Vec<u8>);

/// What comes after an event.
pub(super) enum After {
    /// The later events of the same stream.
    Events(Vec<Entry>),
    /// It was the last one of its stream.
    Nothing,
    /// No such event.
    Unknown,
}

impl Stream {
    /// FNV-1a: the same on every server.
    pub(super) fn named(name: &str) -> Self {
        const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        let step = |hash: u128, byte: u8| (hash ^ u128::from(byte)).wrapping_mul(PRIME);
        Self(name.bytes().fold(BASIS, step))
    }
}

impl Index {
    /// The index in these bytes; `None` where they are not one.
    pub(super) fn decode(data: &[u8]) -> Option<Self> {
        data.len().is_multiple_of(ENTRY).then(|| Self(data.to_vec()))
    }

    pub(super) fn encode(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }

    /// Appends; returns what has to go for it.
    pub(super) fn push(&mut self, entry: Entry, limits: EventLimits) -> Vec<Entry> {
        self.0.extend_from_slice(&entry.id.0.to_be_bytes());
        self.0.extend_from_slice(&entry.stream.0.to_be_bytes());
        self.0.extend_from_slice(&entry.bytes.to_be_bytes());
        self.0.push(entry.last.into());
        let mut count = self.0.len() / ENTRY;
        let mut bytes: u64 = self.entries().map(|entry| u64::from(entry.bytes)).sum();
        let mut gone = Vec::new();
        for entry in self.entries() {
            if count <= limits.count && bytes <= limits.bytes as u64 {
                break;
            }
            count -= 1;
            bytes -= u64::from(entry.bytes);
            gone.push(entry);
        }
        self.0.drain(..gone.len() * ENTRY);
        gone
    }

    pub(super) fn after(&self, id: Token) -> After {
        let mut entries = self.entries();
        match entries.find(|entry| entry.id == id) {
            None => After::Unknown,
            Some(event) if event.last => After::Nothing,
            Some(event) => After::Events(entries.filter(|it| it.stream == event.stream).collect()),
        }
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        self.0.as_chunks::<ENTRY>().0.iter().map(Entry::read)
    }
}

impl Entry {
    fn read(data: &[u8; ENTRY]) -> Self {
        let number = |at: usize| {
            let mut number = [0; 16];
            number.copy_from_slice(&data[at..at + 16]);
            u128::from_be_bytes(number)
        };
        let bytes = u32::from_be_bytes([data[32], data[33], data[34], data[35]]);
        let (id, stream) = (Token(number(0)), Stream(number(16)));
        Self { id, stream, bytes, last: data[36] != 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u128, bytes: u32, stream: &str) -> Entry {
        Entry { id: Token(id), bytes, last: false, stream: Stream::named(stream) }
    }

    fn index(entries: &[Entry]) -> Index {
        let mut index = Index::default();
        for entry in entries {
            assert!(index.push(*entry, EventLimits::default()).is_empty());
        }
        index
    }

    #[test]
    fn an_index_is_what_was_encoded() {
        let entries = [entry(1, 7, "a"), Entry { last: true, ..entry(u128::MAX, 0, "b:common") }];
        let data = index(&entries).encode();
        let decoded = Index::decode(&data).expect("an index");
        assert!(decoded.entries().eq(entries));
        assert!((1..data.len()).filter(|&cut| Index::decode(&data[..cut]).is_some()).eq([ENTRY]));
    }

    #[test]
    fn the_oldest_go_by_number_and_by_bytes() {
        let limits = EventLimits { count: 3, bytes: 100 };
        let mut index = index(&[1, 2, 3].map(|id| entry(id, 30, "a")));
        assert!(index.push(entry(4, 30, "a"), limits) == [entry(1, 30, "a")]);
        assert!(index.push(entry(5, 80, "a"), limits).len() == 3, "to make room for 80 bytes");
        assert!(index.entries().eq([entry(5, 80, "a")]));
    }

    #[test]
    fn only_later_events_of_the_same_stream_follow() {
        let mut index = index(&[entry(1, 1, "a"), entry(2, 1, "b"), entry(3, 1, "a")]);
        let After::Events(events) = index.after(Token(1)) else { panic!("known") };
        assert!(events == [entry(3, 1, "a")]);
        assert!(matches!(index.after(Token(9)), After::Unknown));
        index.push(Entry { last: true, ..entry(4, 1, "a") }, EventLimits::default());
        assert!(matches!(index.after(Token(4)), After::Nothing));
    }

    /// Two names that other implementations of the hash are tested with.
    #[test]
    fn a_stream_has_the_number_that_it_has_everywhere() {
        assert!(Stream::named("").0 == 0x6c62272e07bb014262b821756295c58d);
        assert!(Stream::named("a").0 == 0xd228cb696f1a8caf78912b704e4a8964);
    }
}
