//! What models store, and how they hash.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher};

/// A value that knows whether it was dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    value: u32,
    mark: u32,
}

const MARK: u32 = 0x5eed_cafe;

std::thread_local! {
    static ALIVE: Cell<i64> = const { Cell::new(0) };
}

impl Counted {
    pub(super) fn new(value: u32) -> Self {
        ALIVE.set(ALIVE.get() + 1);
        Self { value, mark: MARK }
    }

    pub(super) fn get(&self) -> u32 {
        assert_eq!(self.mark, MARK, "read after it was dropped");
        self.value
    }

    pub(super) fn alive() -> i64 {
        ALIVE.get()
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(self.get())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        assert_eq!(std::mem::take(&mut self.mark), MARK, "dropped twice");
        ALIVE.set(ALIVE.get() - 1);
    }
}

/// A hasher without secrets: the same tags in every execution, by default another for each key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(super) one_hash: bool,
}

#[derive(Clone)]
pub(crate) struct Spreading {
    one_hash: bool,
    state: u64,
}

impl BuildHasher for Spread {
    type Hasher = Spreading;

    fn build_hasher(&self) -> Spreading {
        // The offset of FNV-1a.
        Spreading { one_hash: self.one_hash, state: 0xcbf2_9ce4_8422_2325 }
    }
}

impl Hasher for Spreading {
    fn write(&mut self, bytes: &[u8]) {
        if !self.one_hash {
            for &byte in bytes {
                // The prime of FNV-1a.
                self.state = (self.state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
        }
    }

    fn finish(&self) -> u64 {
        // The finalizer of MurmurHash3: the tag is in the high bits.
        let mixed = (self.state ^ self.state >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        mixed ^ mixed >> 33
    }
}
