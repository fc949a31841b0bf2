//! Recorded traces: `NAME.txt.zst`, a line a request, of which `key size` count here.

mod belady;
mod reference;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;

use ahash::RandomState;
use anyhow::{Context, Result, bail};
use ruzstd::decoding::StreamingDecoder;

pub(crate) use self::belady::Belady;
pub(crate) use self::reference::{Figures, POLICIES, Point, REFERENCE_FILE, Reference};

const SUFFIX: &str = ".txt.zst";

/// The requests of a trace, in memory.
pub(crate) struct Trace {
    pub(crate) name: String,
    pub(crate) keys: Vec<u64>,
    /// Bytes of the object at each request, none of them 0; empty where the trace has none.
    pub(crate) sizes: Vec<u64>,
    pub(crate) unique_keys: u64,
}

impl Trace {
    pub(crate) fn load(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(format!("{name}{SUFFIX}"));
        let read = || -> Result<Self> {
            let packed = BufReader::new(File::open(&path)?);
            let mut text = Vec::new();
            StreamingDecoder::new(packed)?.read_to_end(&mut text)?;
            Self::parse(name, &text)
        };
        read().with_context(|| format!("cannot read {}", path.display()))
    }

    fn parse(name: &str, text: &[u8]) -> Result<Self> {
        let (mut keys, mut sizes) = (Vec::new(), Vec::new());
        for (line, fields) in text.split(|&byte| byte == b'\n').enumerate() {
            if fields.is_empty() {
                continue;
            }
            let Some((key, size)) = request(fields) else {
                bail!("line {}: not `key size ttl op owner t`", line + 1);
            };
            keys.push(key);
            sizes.push(size);
        }
        if sizes.iter().all(|&size| size == 0) {
            sizes = Vec::new();
        }
        // As the reference has it: an unknown size counts as 1.
        sizes.iter_mut().for_each(|size| *size = (*size).max(1));
        let unique_keys = dense(&keys).1;
        Ok(Self { name: name.into(), keys, sizes, unique_keys })
    }

    /// The size of the object of a request; 1 where the trace has no sizes.
    #[inline]
    pub(crate) fn size(&self, request: usize) -> u64 {
        self.sizes.get(request).copied().unwrap_or(1)
    }
}

/// The names of the traces in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>> {
    let what = || format!("cannot list {}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(what)? {
        let file = entry.with_context(what)?.file_name();
        names.extend(file.to_str().and_then(|file| file.strip_suffix(SUFFIX)).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// Key and size of a line.
fn request(line: &[u8]) -> Option<(u64, u64)> {
    let mut fields = line.split(|&byte| byte == b' ');
    let key = number(fields.next()?, 16)?;
    let size = number(fields.next()?, 10)?;
    Some((key, size))
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    u64::from_str_radix(str::from_utf8(digits).ok()?, radix).ok()
}

/// The keys renumbered from 0 in the order of their first request, and how many there are.
fn dense(keys: &[u64]) -> (Vec<u32>, u64) {
    let mut numbers: HashMap<u64, u32, RandomState> = HashMap::default();
    let number = |key: &u64| {
        let next = numbers.len() as u32;
        *numbers.entry(*key).or_insert(next)
    };
    let dense = keys.iter().map(number).collect();
    (dense, numbers.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_parsed() {
        let trace = Trace::parse("t", b"3f2a 1024 60 g 7 15300\na 0 0 s 0 0\n3f2a 9 0 g 0 1\n");
        let trace = trace.unwrap();
        assert_eq!(trace.keys, [0x3f2a, 10, 0x3f2a]);
        assert_eq!(trace.sizes, [1024, 1, 9]);
        assert_eq!((trace.unique_keys, trace.size(1)), (2, 1));

        let sizeless = Trace::parse("t", b"1 0 0 g 0 0\n").unwrap();
        assert!(sizeless.sizes.is_empty());
        assert_eq!(sizeless.size(0), 1);

        let error = Trace::parse("t", b"1 0 0 g 0 0\nxyz 1\n").err().unwrap();
        assert!(error.to_string().starts_with("line 2"), "{error}");
    }
}
