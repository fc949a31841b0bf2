//! What MessagePack declares, held against what is there.
//!
//! An array says how many items it has before the first of them, and serde makes room for up to a
//! mebibyte of them in advance. A few bytes that declare an array within an array, again and again, would
//! so ask for gigabytes. Items have a byte at least: where all that are declared are there, what is made room
//! for is bounded by the bytes.

use rmp::Marker;

use super::Refused;

/// Walks over the first value of `bytes`, without recursion; `O(bytes)`.
///
/// # Errors
///
/// Where it declares more than there is.
pub(super) fn check(mut bytes: &[u8]) -> Result<(), Refused> {
    let mut awaited = 1_usize;
    while awaited > 0 {
        let marker = Marker::from_u8(skip(&mut bytes, 1)?[0]);
        let items = match marker {
            Marker::FixArray(items) => items.into(),
            Marker::Array16 => number(&mut bytes, 2)?,
            Marker::Array32 => number(&mut bytes, 4)?,
            Marker::FixMap(pairs) => 2 * usize::from(pairs),
            Marker::Map16 => 2 * number(&mut bytes, 2)?,
            Marker::Map32 => 2 * number(&mut bytes, 4)?,
            _ => {
                let length = content(marker, &mut bytes)?;
                skip(&mut bytes, length)?;
                0
            }
        };
        awaited += items;
        awaited -= 1;
        if awaited > bytes.len() {
            return Err(Refused::Declares);
        }
    }
    Ok(())
}

/// How many bytes follow the marker and the length of something that has no items.
fn content(marker: Marker, bytes: &mut &[u8]) -> Result<usize, Refused> {
    // An extension has its type besides.
    Ok(match marker {
        Marker::FixStr(length) => length.into(),
        Marker::Str8 | Marker::Bin8 => number(bytes, 1)?,
        Marker::Str16 | Marker::Bin16 => number(bytes, 2)?,
        Marker::Str32 | Marker::Bin32 => number(bytes, 4)?,
        Marker::Ext8 => 1 + number(bytes, 1)?,
        Marker::Ext16 => 1 + number(bytes, 2)?,
        Marker::Ext32 => 1 + number(bytes, 4)?,
        Marker::U8 | Marker::I8 => 1,
        Marker::U16 | Marker::I16 | Marker::FixExt1 => 2,
        Marker::FixExt2 => 3,
        Marker::U32 | Marker::I32 | Marker::F32 => 4,
        Marker::FixExt4 => 5,
        Marker::U64 | Marker::I64 | Marker::F64 => 8,
        Marker::FixExt8 => 9,
        Marker::FixExt16 => 17,
        // Numbers and words that are their own marker; what is reserved, the deserializer refuses.
        _ => 0,
    })
}

/// A big-endian number of so many bytes.
fn number(bytes: &mut &[u8], length: usize) -> Result<usize, Refused> {
    Ok(skip(bytes, length)?.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)))
}

fn skip<'b>(bytes: &mut &'b [u8], length: usize) -> Result<&'b [u8], Refused> {
    let (skipped, rest) = bytes.split_at_checked(length).ok_or(Refused::Declares)?;
    *bytes = rest;
    Ok(skipped)
}
