//! Values in serde's formats, with one leading byte that says which.
//!
//! ```text
//!            +--------+------------------------------+
//!   plain    | 0 | f  | the value, serialised        |
//!            +--------+-----------+------------------+
//!   packed   | c | f  | length    | compressed value |
//!            +--------+-----------+------------------+
//!             4   4 bits  u32, LE
//!
//!   f: 1 JSON, 2 MessagePack, 3 postcard        c: 1 LZ4 (a block), 2 zstd (a frame)
//! ```
//!
//! The length is that of the serialised value. It is held against the bound before anything is
//! allocated, and what is unpacked must fill it exactly: so a few bytes can never become more than
//! the bound allows.

mod format;
#[cfg(feature = "message_pack")]
mod message_pack;
mod pack;

use std::error::Error as StdError;
use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::format::Format;
pub use self::pack::Compression;
use crate::storage::Codec;

/// The greatest length of a serialised value unless [`Serde::max_bytes`] says otherwise: what a
/// cache accepts by default.
const MAX_BYTES: u32 = 16 << 20;

/// The [`Codec`] of everything that serde can serialise, as JSON, MessagePack or postcard,
/// compressed where that is asked for.
///
/// One leading byte tells the format, and reading goes by that byte: a program can change its format
/// or its compression and still read what it stored before, as long as the features are on.
///
/// | | feature | the value must |
/// |---|---|---|
/// | [`json`](Self::json) | `json` | fit JSON: keys of maps are strings |
/// | [`message_pack`](Self::message_pack) | `message_pack` | |
/// | [`postcard`](Self::postcard) | `postcard` | have a type that tells its shape: no `serde_json::Value`, no untagged enum; fields are only known by their place |
///
/// JSON and MessagePack are read down to a depth of 128. With postcard a type that contains itself (a list,
/// a tree) is read to any depth that the stored bytes ask for: use one of the others where these may come
/// from elsewhere. Apart from that, reading takes memory in proportion to the bound, whatever the bytes declare.
///
/// # Errors
///
/// `Corrupt` through [`Typed`](crate::Typed), where the leading byte is unknown or its feature is off,
/// where bytes are missing or left over, where the value does not fit the type, and where it is
/// longer than the bound. What is stored stays there.
///
/// # Examples
///
/// ```
/// # fn main() -> scopecache::Result<()> { pollster::block_on(async {
/// use scopecache::{Cache, Options, Serde, Storage, StorageExt};
/// use std::sync::Arc;
///
/// let storage: Arc<dyn Storage> = Arc::new(Cache::builder().build()?);
/// let typed = storage.typed(Serde::json());
/// let ada = Options::new().with_user("ada");
///
/// typed.set("scores", &vec![3, 5, 8], ada).await?;
/// assert_eq!(typed.get::<Vec<u32>>("scores", ada).await?, Some(vec![3, 5, 8]));
/// # Ok(()) }) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Serde {
    format: Format,
    compression: Option<(Compression, usize)>,
    max_bytes: u32,
}

impl Serde {
    /// JSON: readable, and understood everywhere.
    pub const fn json() -> Self {
        Self::new(Format::Json)
    }

    /// MessagePack with the names of fields: smaller than JSON, and fields may come and go.
    #[cfg(feature = "message_pack")]
    pub const fn message_pack() -> Self {
        Self::new(Format::MessagePack)
    }

    /// Postcard: the smallest, for types that do not change.
    #[cfg(feature = "postcard")]
    pub const fn postcard() -> Self {
        Self::new(Format::Postcard)
    }

    const fn new(format: Format) -> Self {
        Self { format, compression: None, max_bytes: MAX_BYTES }
    }

    /// Compresses values whose serialised form is longer than `above_bytes`, where that makes them
    /// smaller.
    ///
    /// The length of what is stored then tells something of its content: do not let strangers write
    /// into the same value as secrets.
    pub const fn compressed(mut self, how: Compression, above_bytes: usize) -> Self {
        self.compression = Some((how, above_bytes));
        self
    }

    /// The greatest length of a serialised value in bytes, before it is compressed and after it is
    /// unpacked; 16 MiB unless told. Longer ones are refused, in both directions.
    pub const fn max_bytes(mut self, max_bytes: u32) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    fn check(&self, length: usize) -> Result<(), Refused> {
        if length > self.max_bytes as usize {
            return Err(Refused::TooLong { max_bytes: self.max_bytes });
        }
        Ok(())
    }
}

impl<T: Serialize + DeserializeOwned> Codec<T> for Serde {
    type Error = Box<dyn StdError + Send + Sync>;

    fn encode(&self, value: &T) -> Result<Bytes, Self::Error> {
        let plain = self.format.write(value)?;
        let length = plain.len() - 1;
        self.check(length)?;
        if let Some((how, above_bytes)) = self.compression
            && length > above_bytes
            && let Some(packed) = how.pack(&plain)?
        {
            return Ok(packed.into());
        }
        Ok(plain.into())
    }

    fn decode(&self, data: &[u8]) -> Result<T, Self::Error> {
        let (&tag, body) = data.split_first().ok_or(Refused::Empty)?;
        let format = Format::of(tag).ok_or(Refused::Unknown { tag })?;
        if tag >> 4 == 0 {
            self.check(body.len())?;
            return format.read(body);
        }
        let how = Compression::of(tag).ok_or(Refused::Unknown { tag })?;
        let (length, body) = body.split_first_chunk::<4>().ok_or(Refused::Cut)?;
        let length = u32::from_le_bytes(*length) as usize;
        if !planted!("believe_lengths") {
            self.check(length)?;
        }
        format.read(&how.unpack(body, length)?)
    }
}

/// Why bytes are no value, or a value no bytes.
#[derive(Debug)]
enum Refused {
    Empty,
    Cut,
    #[cfg(any(feature = "message_pack", feature = "postcard"))]
    LeftOver,
    Length,
    #[cfg(feature = "message_pack")]
    Declares,
    Unknown {
        tag: u8,
    },
    TooLong {
        max_bytes: u32,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no leading format byte"),
            Self::Cut => f.write_str("the length of a compressed value is cut off"),
            #[cfg(any(feature = "message_pack", feature = "postcard"))]
            Self::LeftOver => f.write_str("there are bytes after the value"),
            Self::Length => f.write_str("a compressed value has not the length that it declares"),
            #[cfg(feature = "message_pack")]
            Self::Declares => f.write_str("the value declares more than there is"),
            Self::Unknown { tag } => write!(
                f,
                "the format byte {tag:#04x} is unknown, or its feature of scopecache is off"
            ),
            Self::TooLong { max_bytes } => {
                write!(f, "the serialised value is longer than the bound of {max_bytes} bytes")
            }
        }
    }
}

impl StdError for Refused {}
