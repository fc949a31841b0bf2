//! Compression of serialised values, and unpacking within a bound.

use std::error::Error as StdError;

use super::Refused;

type Result<T> = std::result::Result<T, Box<dyn StdError + Send + Sync>>;

/// The leading byte and the length.
const HEADER_BYTES: usize = 5;

/// How values are compressed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// LZ4: fast in both directions.
    #[cfg(feature = "lz4")]
    Lz4,
    /// zstd: smaller than LZ4, and slower.
    #[cfg(feature = "zstd")]
    Zstd {
        /// 1 to 22, the higher the smaller and slower; 3 is usual.
        level: i32,
    },
}

impl Compression {
    /// The compression of bytes that begin with `tag`.
    pub(super) fn of(tag: u8) -> Option<Self> {
        match tag >> 4 {
            #[cfg(feature = "lz4")]
            1 => Some(Self::Lz4),
            #[cfg(feature = "zstd")]
            2 => Some(Self::Zstd { level: 0 }),
            _ => None,
        }
    }

    /// Compresses `plain`, a leading byte and a value of at most `u32::MAX` bytes; `None` where
    /// that saves nothing.
    pub(super) fn pack(self, plain: &[u8]) -> Result<Option<Vec<u8>>> {
        let (&format, body) = plain.split_first().ok_or(Refused::Empty)?;
        let declared = u32::try_from(body.len())?.to_le_bytes();
        let (tag, packed) = self.compress(body)?;
        if HEADER_BYTES + packed.len() >= plain.len() {
            return Ok(None);
        }
        Ok(Some([&[tag << 4 | format], &declared[..], &packed].concat()))
    }

    /// Unpacks `body`, whose value has `length` bytes; nothing larger is ever allocated.
    pub(super) fn unpack(self, body: &[u8], length: usize) -> Result<Vec<u8>> {
        let mut plain = vec![0; length];
        let unpacked = self.decompress(body, &mut plain)?;
        if unpacked == length { Ok(plain) } else { Err(Refused::Length.into()) }
    }

    /// The tag and the compressed bytes.
    fn compress(self, body: &[u8]) -> Result<(u8, Vec<u8>)> {
        let _ = body; // where no compression is built in
        match self {
            #[cfg(feature = "lz4")]
            Self::Lz4 => Ok((1, lz4_flex::block::compress(body))),
            #[cfg(feature = "zstd")]
            Self::Zstd { level } => Ok((2, zstd::bulk::compress(body, level)?)),
        }
    }

    /// The length of what `body` was made of; an error where it does not fit into `room`.
    fn decompress(self, body: &[u8], room: &mut [u8]) -> Result<usize> {
        let _ = (&body, &room); // as above
        match self {
            #[cfg(feature = "lz4")]
            Self::Lz4 => Ok(lz4_flex::block::decompress_into(body, room)?),
            #[cfg(feature = "zstd")]
            Self::Zstd { .. } => {
                Ok(zstd::bulk::Decompressor::new()?.decompress_to_buffer(body, room)?)
            }
        }
    }
}
