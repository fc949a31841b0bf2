//! Bytes that a codec did not write, and those that it did: decoding answers a value or `Corrupt`, and takes
//! memory that the bound allows.
//!
//! What a stored value may look like is told here a second time, by its first five bytes. Where that says
//! no, decoding must; where a value comes out, it is written and read again in every way.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt::Debug;

use arbitrary::{Result, Unstructured};
use pollster::block_on;
use scopecache::{
    Cache, Codec, Compression, ErrorKind, Maintenance, Options, Serde, Storage, StorageExt,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const FORMATS: [Serde; 3] = [Serde::json(), Serde::message_pack(), Serde::postcard()];
const COMPRESSIONS: [Compression; 2] = [Compression::Lz4, Compression::Zstd { level: 1 }];
const BOUNDS_BYTES: [u32; 5] = [0, 7, 100, 4000, 1 << 20];

/// What a value may take for each byte that it was made of: a byte of MessagePack can be an empty vector of
/// 24 bytes, and vectors grow by doubling, the old one beside the new.
const BYTES_A_BYTE: usize = 160;
/// What serde allocates ahead for a length that is only declared, and how often one lies within another.
const AHEAD_BYTES: usize = 3 << 20;

/// Answers the most bytes that were allocated at a time during some work, beside what was before.
pub(crate) type Peak = fn(&mut dyn FnMut()) -> usize;

/// A value of many shapes, without anything that a format changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Profile {
    name: String,
    scores: Vec<i64>,
    friends: BTreeMap<String, Option<u8>>,
    kind: Kind,
    parts: Vec<Vec<u16>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Unit,
    Newtype(char),
    Tuple(bool, i8),
    Struct { wide: u128, nothing: () },
}

/// Contains itself: for the formats that bound the depth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tree(Vec<Tree>);

/// Runs the target; panics where the codec is wrong.
pub(crate) fn run(data: &[u8], peak: Peak) {
    let mut input = Unstructured::new(data);
    // Input that ends is a short input.
    let _ = Judge { peak, max_bytes: 0 }.judge(&mut input);
}

struct Judge {
    peak: Peak,
    max_bytes: u32,
}

impl Judge {
    fn judge(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        self.max_bytes = *input.choose(&BOUNDS_BYTES)?;
        match input.int_in_range(0..=3_u8)? {
            0 => {
                let bytes = input.bytes(input.len())?;
                self.read_everything(bytes);
            }
            1 => {
                let bytes = packed(input)?;
                self.read_everything(&bytes);
            }
            2 => self.write_and_spoil(input)?,
            _ => self.bomb(input)?,
        }
        Ok(())
    }

    /// As each type there is.
    fn read_everything(&self, bytes: &[u8]) {
        self.read_twice::<Profile>(bytes);
        self.read_twice::<String>(bytes);
        self.read_twice::<Vec<u8>>(bytes);
        self.read_twice::<Vec<Vec<Vec<u32>>>>(bytes);
        self.read_twice::<BTreeMap<String, Option<(u64, char)>>>(bytes);
        self.read_twice::<()>(bytes);
        // Any value: its fractions are not what they were after a second time, and postcard has none.
        self.read::<serde_json::Value>(bytes);
        // It contains itself, and postcard has no bound of depth.
        if bytes.first().is_none_or(|tag| tag & 15 != 3) {
            self.read::<Tree>(bytes);
        }
    }

    /// What comes out can be written and read again, unless it grows past the bound.
    fn read_twice<T>(&self, bytes: &[u8])
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug + Send,
    {
        if let Some(value) = self.read::<T>(bytes) {
            self.round_trip(&value, 0);
        }
    }

    fn read<T>(&self, bytes: &[u8]) -> Option<T>
    where
        T: Serialize + DeserializeOwned + Debug + Send,
    {
        let codec = Serde::json().max_bytes(self.max_bytes);
        let mut value = None;
        let took = (self.peak)(&mut || value = Some(Codec::<T>::decode(&codec, bytes)));
        let value = value.expect("it was decoded");
        let plain_bytes = plain_bytes(bytes).min(self.max_bytes as usize);
        let most = AHEAD_BYTES + BYTES_A_BYTE * (plain_bytes + 64);
        assert!(took <= most, "{took} bytes were allocated for {plain_bytes}: {bytes:?}");
        if !may_be_read(bytes, self.max_bytes) {
            assert!(value.is_err(), "read as {value:?}: {bytes:?}");
        }
        if value.is_err() {
            corrupt_and_kept::<T>(codec, bytes);
        }
        value.ok()
    }

    fn round_trip<T>(&self, value: &T, above_bytes: usize)
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug + Send,
    {
        for format in FORMATS {
            let format = format.max_bytes(self.max_bytes);
            let plain = Codec::<T>::encode(&format, value);
            let Ok(plain) = plain else {
                let wide = format.max_bytes(u32::MAX);
                if let Ok(bytes) = Codec::<T>::encode(&wide, value) {
                    assert!(bytes.len() > 1 + self.max_bytes as usize, "refused: {value:?}");
                }
                continue;
            };
            for how in COMPRESSIONS {
                let packed = Codec::<T>::encode(&format.compressed(how, above_bytes), value);
                let packed = packed.expect("it was written plain");
                assert!(packed.len() <= plain.len(), "compression has made it longer");
                for bytes in [&plain, &packed] {
                    let read = Codec::<T>::decode(&format, bytes);
                    let read = read.unwrap_or_else(|why| panic!("{why}: {value:?} as {bytes:?}"));
                    assert_eq!(read, *value, "{bytes:?}");
                }
            }
        }
    }

    /// A value that was written, and what is left of it after some bytes were changed.
    fn write_and_spoil(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let (format, above_bytes) = (*input.choose(&FORMATS)?, input.int_in_range(0..=40)?);
        let how = *input.choose(&COMPRESSIONS)?;
        let spoilt: Vec<(u16, u8)> =
            (0..input.int_in_range(0..=3)?).map(|_| input.arbitrary()).collect::<Result<_>>()?;
        let cut = input.int_in_range(0..=255_u8)?;
        let profile = profile(input)?;
        self.round_trip(&profile, above_bytes);
        let writer = format.compressed(how, above_bytes).max_bytes(self.max_bytes);
        let Ok(bytes) = writer.encode(&profile) else { return Ok(()) };
        let mut bytes = bytes.to_vec();
        for (at, byte) in spoilt {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(usize::from(cut.saturating_sub(200))));
        self.read_everything(&bytes);
        Ok(())
    }

    /// A few bytes that want to become many; honest, or with another length.
    fn bomb(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let (format, how) = (*input.choose(&FORMATS)?, *input.choose(&COMPRESSIONS)?);
        let zeros = "0".repeat(input.int_in_range(1 << 10..=1 << 18)?);
        let writer = format.compressed(how, 0).max_bytes(u32::MAX);
        let mut bytes = writer.encode(&zeros).expect("a text has a form").to_vec();
        assert!(bytes.len() < zeros.len() / 8, "{} bytes", bytes.len());
        if input.arbitrary()? {
            let lie: u32 = input.arbitrary()?;
            bytes[1..5].copy_from_slice(&lie.to_le_bytes());
        }
        self.max_bytes = *input.choose(&BOUNDS_BYTES[..4])?;
        self.read_everything(&bytes);
        Ok(())
    }
}

fn profile(input: &mut Unstructured<'_>) -> Result<Profile> {
    let kind = match input.int_in_range(0..=3_u8)? {
        0 => Kind::Unit,
        1 => Kind::Newtype(input.arbitrary()?),
        2 => Kind::Tuple(input.arbitrary()?, input.arbitrary()?),
        _ => Kind::Struct { wide: input.arbitrary()?, nothing: () },
    };
    let mut name = text(input)?;
    // Something to compress.
    name = name.repeat(input.int_in_range(0..=40)?);
    let scores = (0..input.int_in_range(0..=9)?).map(|_| input.arbitrary());
    let scores = scores.collect::<Result<_>>()?;
    let friends = (0..input.int_in_range(0..=3)?).map(|_| Ok((text(input)?, input.arbitrary()?)));
    let friends = friends.collect::<Result<_>>()?;
    let mut parts = Vec::new();
    for _ in 0..input.int_in_range(0..=3)? {
        let part = (0..input.int_in_range(0..=5)?).map(|_| input.arbitrary());
        parts.push(part.collect::<Result<_>>()?);
    }
    Ok(Profile { name, scores, friends, kind, parts })
}

fn text(input: &mut Unstructured<'_>) -> Result<String> {
    (0..input.int_in_range(0..=6)?).map(|_| input.arbitrary::<char>()).collect()
}

/// A leading byte, a length that may be a lie, and compressed bytes that are none of a codec's.
fn packed(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let format = input.int_in_range(1..=3_u8)?;
    let is_zstd: bool = input.arbitrary()?;
    let lie: i8 = if input.arbitrary()? { input.arbitrary()? } else { 0 };
    let body = input.bytes(input.len())?;
    let compressed = if is_zstd {
        zstd::bulk::compress(body, 1).expect("memory is compressed")
    } else {
        lz4_flex::block::compress(body)
    };
    let declared = (body.len() as u32).wrapping_add_signed(lie.into());
    let tag = (1 + u8::from(is_zstd)) << 4 | format;
    Ok([&[tag], &declared.to_le_bytes()[..], &compressed].concat())
}

/// How long the serialised value is, as far as the bytes say.
fn plain_bytes(bytes: &[u8]) -> usize {
    match *bytes {
        [tag, ref body @ ..] if tag >> 4 == 0 => body.len(),
        [_, a, b, c, d, ..] => u32::from_le_bytes([a, b, c, d]) as usize,
        _ => 0,
    }
}

/// Whether there is a format of that byte, and the length is within the bound.
fn may_be_read(bytes: &[u8], max_bytes: u32) -> bool {
    let Some(tag) = bytes.first() else { return false };
    (1..=3).contains(&(tag & 15))
        && tag >> 4 <= 2
        && (tag >> 4 == 0 || bytes.len() >= 5)
        && plain_bytes(bytes) <= max_bytes as usize
}

/// Through a storage the same is an error of its own kind, and takes nothing away.
fn corrupt_and_kept<T: Serialize + DeserializeOwned + Send>(codec: Serde, bytes: &[u8]) {
    thread_local! {
        static CACHE: Cache = Cache::builder()
            .expected_entries(64)
            .maintenance(Maintenance::Manual)
            .build()
            .expect("these options go together");
    }
    CACHE.with(|cache| {
        let storage: &dyn Storage = cache;
        let ada = Options::new().with_user("ada");
        let stored = bytes.to_vec().into();
        block_on(storage.set("value", stored, ada)).expect("there is room");
        let error = block_on(storage.typed(codec).take::<T>("value", ada)).err();
        let error = error.unwrap_or_else(|| panic!("only a storage reads {bytes:?}"));
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.source().is_some());
        let kept = block_on(storage.get("value", ada)).expect("open").expect("kept");
        assert_eq!(kept.data, bytes);
    });
}
