//! Which events a session has: their ids in order, the stream of each, and what they weigh.
//!
//! ```text
//!   per event   id 16 bytes | bytes u32 | last u8 | length of the stream's name u8 | its name
//! ```
//!
//! One value, so that it changes by compare-and-set, whichever server appends.

use bytes::{BufMut, Bytes, BytesMut};

use super::EventLimits;
use crate::adapter::rmcp::token::Token;

/// An event, without what it says.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: Token,
    /// Of the stored event; zero where it was too large to be stored.
    pub(super) bytes: u32,
    /// Whether it answers the request, so that none comes after it.
    pub(super) last: bool,
    pub(super) stream: String,
}

#[derive(Default)]
pub(super) struct Index {
    pub(super) entries: Vec<Entry>,
}

/// What comes after an event.
pub(super) enum After<'a> {
    /// The later events of the same stream.
    Events(Vec<&'a Entry>),
    /// It was the last one of its stream.
    Nothing,
    /// No such event.
    Unknown,
}

impl Index {
    /// The index in these bytes; `None` where they are not one.
    pub(super) fn decode(mut data: &[u8]) -> Option<Self> {
        let mut entries = Vec::new();
        while !data.is_empty() {
            let (id, rest) = data.split_first_chunk::<16>()?;
            let (bytes, rest) = rest.split_first_chunk::<4>()?;
            let (&[last, length], rest) = rest.split_first_chunk::<2>()?;
            let (stream, rest) = rest.split_at_checked(length.into())?;
            entries.push(Entry {
                id: Token(u128::from_be_bytes(*id)),
                bytes: u32::from_be_bytes(*bytes),
                last: last != 0,
                stream: std::str::from_utf8(stream).ok()?.to_owned(),
            });
            data = rest;
        }
        Some(Self { entries })
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut data = BytesMut::with_capacity(self.entries.len() * 64);
        for entry in &self.entries {
            data.put_slice(&entry.id.0.to_be_bytes());
            data.put_u32(entry.bytes);
            data.put_u8(entry.last.into());
            let length = u8::try_from(entry.stream.len()).unwrap_or(u8::MAX);
            data.put_u8(length);
            data.put_slice(&entry.stream.as_bytes()[..length.into()]);
        }
        data.freeze()
    }

    /// Appends; returns what has to go for it.
    pub(super) fn push(&mut self, entry: Entry, limits: EventLimits) -> Vec<Entry> {
        self.entries.push(entry);
        let mut bytes: u64 = self.entries.iter().map(|entry| u64::from(entry.bytes)).sum();
        let mut gone = 0;
        while self.entries.len() - gone > limits.count || bytes > limits.bytes as u64 {
            bytes -= u64::from(self.entries[gone].bytes);
            gone += 1;
        }
        self.entries.drain(..gone).collect()
    }

    pub(super) fn after(&self, id: Token) -> After<'_> {
        let Some(at) = self.entries.iter().position(|entry| entry.id == id) else {
            return After::Unknown;
        };
        let (event, later) = (&self.entries[at], &self.entries[at + 1..]);
        if event.last {
            return After::Nothing;
        }
        After::Events(later.iter().filter(|entry| entry.stream == event.stream).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u128, bytes: u32, stream: &str) -> Entry {
        Entry { id: Token(id), bytes, last: false, stream: stream.to_owned() }
    }

    #[test]
    fn an_index_is_what_was_encoded() {
        let entries =
            vec![entry(1, 7, "a"), Entry { last: true, ..entry(u128::MAX, 0, "ü:common") }];
        let index = Index { entries };
        let data = index.encode();
        assert!(Index::decode(&data).is_some_and(|it| it.entries == index.entries));
        for length in 1..data.len() {
            let cut = Index::decode(&data[..length]);
            assert!(cut.is_none_or(|it| it.entries.len() < 2), "cut at {length}");
        }
    }

    #[test]
    fn the_oldest_go_by_number_and_by_bytes() {
        let limits = EventLimits { count: 3, bytes: 100 };
        let mut index = Index::default();
        for id in 1..=3 {
            assert!(index.push(entry(id, 30, "a"), limits).is_empty());
        }
        assert!(index.push(entry(4, 30, "a"), limits) == [entry(1, 30, "a")]);
        assert!(index.push(entry(5, 80, "a"), limits).len() == 3, "to make room for 80 bytes");
        assert!(index.entries == [entry(5, 80, "a")]);
    }

    #[test]
    fn only_later_events_of_the_same_stream_follow() {
        let mut index = Index::default();
        for event in [entry(1, 1, "a"), entry(2, 1, "b"), entry(3, 1, "a")] {
            index.push(event, EventLimits::default());
        }
        let After::Events(events) = index.after(Token(1)) else { panic!("known") };
        assert!(events == [&entry(3, 1, "a")]);
        assert!(matches!(index.after(Token(9)), After::Unknown));
        index.push(Entry { last: true, ..entry(4, 1, "a") }, EventLimits::default());
        assert!(matches!(index.after(Token(4)), After::Nothing));
    }
}
