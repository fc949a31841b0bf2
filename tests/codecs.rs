//! Values in serde's formats: what is written is read, whatever else is there is refused and kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use pollster::block_on;
use scopecache::{Cache, Codec, Compression, ErrorKind, Options, Serde, Storage, StorageExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Profile {
    name: String,
    scores: Vec<i64>,
    friends: BTreeMap<String, Option<u8>>,
}

const FORMATS: [Serde; 3] = [Serde::json(), Serde::message_pack(), Serde::postcard()];
const COMPRESSIONS: [Compression; 2] = [Compression::Lz4, Compression::Zstd { level: 3 }];

fn ada() -> Options<'static> {
    Options::new().with_user("ada")
}

fn profile(scores: usize) -> Profile {
    Profile {
        name: "Ada \0 Lovelace é".into(),
        scores: (0..scores as i64).map(|it| it % 7 - 3).collect(),
        friends: [("eve".into(), None), ("bob".into(), Some(7))].into(),
    }
}

fn storage() -> Arc<dyn Storage> {
    Arc::new(Cache::builder().build().expect("these options go together"))
}

fn encode<T: Serialize + DeserializeOwned>(codec: Serde, value: &T) -> Vec<u8> {
    codec.encode(value).expect("it has a form").to_vec()
}

fn decode<T: Serialize + DeserializeOwned>(codec: Serde, bytes: &[u8]) -> Result<T, String> {
    codec.decode(bytes).map_err(|why| why.to_string())
}

/// Every way to write, and the leading byte of a long value.
fn ways() -> impl Iterator<Item = (Serde, u8)> {
    FORMATS.into_iter().zip(1..).flat_map(|(format, low)| {
        let packed = COMPRESSIONS.into_iter().zip(1..);
        let packed = packed.map(move |(how, high)| (format.compressed(how, 100), high << 4 | low));
        packed.chain([(format, low)])
    })
}

#[test]
fn what_one_way_writes_every_way_reads() {
    let storage = storage();
    for (writer, tag) in ways() {
        for scores in [0, 1000] {
            let value = profile(scores);
            block_on(storage.typed(writer).set("profile", &value, ada())).expect("room");
            for (reader, _) in ways() {
                let read = block_on(storage.typed(reader).get::<Profile>("profile", ada()));
                assert_eq!(read.expect("the same features"), Some(value.clone()));
            }
        }
        let stored = block_on(storage.get("profile", ada())).expect("open").expect("set").data;
        assert_eq!(stored[0], tag);
        assert_eq!(stored.len() < 900, tag >> 4 != 0, "{} bytes", stored.len());
    }
}

#[test]
fn short_values_and_those_that_do_not_shrink_are_left_as_they_are() {
    let mut random = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 56) as u8
    })
    .take(1000)
    .collect();
    for how in COMPRESSIONS {
        let codec = Serde::postcard().compressed(how, 100);
        assert_eq!(encode(codec, &vec![0_u8; 99])[0], 3, "100 bytes with the length");
        assert_ne!(encode(codec, &vec![0_u8; 100])[0], 3);
        let bytes = encode(codec, &noise);
        assert_eq!(bytes, encode(Serde::postcard(), &noise));
        assert_eq!(encode(codec.compressed(how, 0), &0_u8), [3, 0]);
    }
}

#[test]
fn what_cannot_be_understood_is_corrupt_and_kept() {
    let storage = storage();
    let mut bad: Vec<Vec<u8>> =
        vec![vec![], vec![0], vec![4], vec![0x31, 0, 0, 0, 0], vec![0xff; 9]];
    bad.push(br#"{"name":"plain JSON"}"#.to_vec());
    for (writer, tag) in ways() {
        let good = encode(writer, &profile(1000));
        // Cut at some places, with a byte too much, and with another length.
        bad.extend([1, 2, 4, 5, 7, good.len() / 2, good.len() - 1].map(|at| good[..at].to_vec()));
        bad.push([&good[..], &[0]].concat());
        if tag >> 4 != 0 {
            for wrong in [0, 1, u32::from(u16::MAX), u32::MAX] {
                let mut bytes = good.clone();
                bytes[1..5].copy_from_slice(&wrong.to_le_bytes());
                bad.push(bytes);
            }
        }
    }
    for bytes in bad {
        block_on(storage.set("profile", bytes.clone().into(), ada())).expect("room");
        for (reader, _) in ways() {
            let typed = storage.typed(reader);
            let errors = [
                block_on(typed.get::<Profile>("profile", ada())).err(),
                block_on(typed.take::<Profile>("profile", ada())).err(),
                block_on(typed.update("profile", ada(), |it: Profile| it)).err(),
            ];
            for error in errors {
                let error = error.unwrap_or_else(|| panic!("{bytes:?} was read"));
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                assert!(std::error::Error::source(&error).is_some());
            }
        }
        let kept = block_on(storage.get("profile", ada())).expect("open").expect("kept");
        assert_eq!(kept.data, bytes);
    }
}

#[test]
fn the_words_say_what_is_wrong() {
    let json = Serde::json();
    assert_eq!(decode::<u8>(json, &[]).unwrap_err(), "there is no leading format byte");
    let unknown = decode::<u8>(json, b"{}").unwrap_err();
    assert!(unknown.starts_with("the format byte 0x7b is unknown"), "{unknown}");
    assert_eq!(decode::<u8>(json, &[2, 7, 7]).unwrap_err(), "there are bytes after the value");
    let long = decode::<String>(json.max_bytes(3), b"\x01\"ab\"").unwrap_err();
    assert_eq!(long, "the serialised value is longer than the bound of 3 bytes");
}

#[test]
fn a_bomb_is_refused_by_what_it_declares() {
    for how in COMPRESSIONS {
        let writer = Serde::postcard().compressed(how, 0).max_bytes(u32::MAX);
        let zeros = vec![0_u8; 8 << 20];
        let bomb = encode(writer, &zeros);
        assert!(bomb.len() < 64 << 10, "{} bytes", bomb.len());
        let bound = Serde::json().max_bytes(1 << 20);
        let refused = decode::<Vec<u8>>(bound, &bomb).unwrap_err();
        assert!(refused.contains("longer than the bound"), "{refused}");
        // One that lies about its length unpacks to no more than it declares.
        let mut liar = bomb.clone();
        liar[1..5].copy_from_slice(&1000_u32.to_le_bytes());
        assert!(decode::<Vec<u8>>(bound, &liar).is_err());
        assert_eq!(decode::<Vec<u8>>(writer, &bomb).expect("within this bound"), zeros);
        // What could not be read is not written either.
        let refused = Codec::encode(&bound.compressed(how, 0), &zeros).unwrap_err().to_string();
        assert!(refused.contains("longer than the bound"), "{refused}");
    }
}

/// An array within an array, each of which says that it has billions of items: serde makes room for a
/// mebibyte of them each time.
#[test]
fn message_pack_that_declares_too_much_or_lies_too_deep_is_refused() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Tree(Vec<Tree>);
    let declares = [&[2][..], &b"\xdd\xff\xff\xff\xff".repeat(100)].concat();
    let refused = decode::<Tree>(Serde::json(), &declares).unwrap_err();
    assert_eq!(refused, "the value declares more than there is");
    let nested = |depth: usize| [&[2][..], &[0x91].repeat(depth), &[0x90]].concat();
    assert!(decode::<Tree>(Serde::json(), &nested(50)).is_ok());
    let refused = decode::<Tree>(Serde::json(), &nested(1000)).unwrap_err();
    assert_eq!(refused, "depth limit exceeded");
    // Every length there is, in both forms.
    let everything = serde_json::json!([
        "x".repeat(31), "x".repeat(200), "x".repeat(300), "x".repeat(70_000),
        vec![0; 15], vec![1; 16], vec![300; 70_000], -1, -200, -40_000, i64::MIN, u64::MAX, 1.5, null, true,
        {"a": {}}, (0..20).map(|it| (it.to_string(), it)).collect::<BTreeMap<_, _>>(),
    ]);
    let bytes = encode(Serde::message_pack(), &everything);
    assert_eq!(decode::<serde_json::Value>(Serde::json(), &bytes), Ok(everything));
}

#[test]
fn a_take_of_a_typed_value_is_one() {
    let storage = storage();
    let typed = storage.typed(Serde::message_pack());
    block_on(typed.set("once", &7_u64, ada())).expect("room");
    assert_eq!(block_on(typed.take::<u64>("once", ada())).expect("a number"), Some(7));
    assert_eq!(block_on(typed.take::<u64>("once", ada())).expect("nothing"), None);
}
