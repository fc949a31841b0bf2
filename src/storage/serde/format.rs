//! The formats. Each writes its leading byte first, and reads a whole value or nothing.

use std::error::Error as StdError;

use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(any(feature = "message_pack", feature = "postcard"))]
use super::Refused;
#[cfg(feature = "message_pack")]
use super::message_pack;

type Result<T> = std::result::Result<T, Box<dyn StdError + Send + Sync>>;

/// How deep values lie within others at most: what serde_json allows. Deeper ones could be more than the stack
/// of a thread has room for.
#[cfg(feature = "message_pack")]
const MOST_NESTED: usize = 128;

/// The lower half of the leading byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Format {
    Json = 1,
    #[cfg(feature = "message_pack")]
    MessagePack = 2,
    #[cfg(feature = "postcard")]
    Postcard = 3,
}

impl Format {
    /// The format of bytes that begin with `tag`.
    pub(super) fn of(tag: u8) -> Option<Self> {
        match tag & 15 {
            1 => Some(Self::Json),
            #[cfg(feature = "message_pack")]
            2 => Some(Self::MessagePack),
            #[cfg(feature = "postcard")]
            3 => Some(Self::Postcard),
            _ => None,
        }
    }

    /// The leading byte and the value.
    pub(super) fn write<T: Serialize>(self, value: &T) -> Result<Vec<u8>> {
        match self {
            Self::Json => {
                let mut bytes = vec![self as u8];
                serde_json::to_writer(&mut bytes, value)?;
                Ok(bytes)
            }
            #[cfg(feature = "message_pack")]
            Self::MessagePack => {
                let mut bytes = vec![self as u8];
                rmp_serde::encode::write_named(&mut bytes, value)?;
                Ok(bytes)
            }
            #[cfg(feature = "postcard")]
            Self::Postcard => Ok(postcard::to_extend(value, vec![self as u8])?),
        }
    }

    /// The value, which must take all of `body`.
    pub(super) fn read<T: DeserializeOwned>(self, body: &[u8]) -> Result<T> {
        match self {
            Self::Json => Ok(serde_json::from_slice(body)?),
            #[cfg(feature = "message_pack")]
            Self::MessagePack => {
                message_pack::check(body)?;
                let mut rest = body;
                let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
                deserializer.set_max_depth(MOST_NESTED);
                let value = T::deserialize(&mut deserializer)?;
                all_read(value, rest)
            }
            #[cfg(feature = "postcard")]
            Self::Postcard => {
                let (value, rest) = postcard::take_from_bytes(body)?;
                all_read(value, rest)
            }
        }
    }
}

/// JSON looks for itself.
#[cfg(any(feature = "message_pack", feature = "postcard"))]
fn all_read<T>(value: T, rest: &[u8]) -> Result<T> {
    if rest.is_empty() { Ok(value) } else { Err(Refused::LeftOver.into()) }
}
