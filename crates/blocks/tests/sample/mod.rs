//! Bytes like a disk's, from a seed, and stores to put them in.
#![allow(dead_code, clippy::unwrap_used, reason = "not every suite needs all of it")]

use std::path::Path;

use vmint_blocks::{BlockStore, Options};

/// A store in `dir`; one in a bucket when the suite runs as a part of `object.rs`.
pub(crate) fn open(dir: &Path, options: Options) -> BlockStore {
    if module_path!().starts_with("object") {
        return s3::open(dir, options);
    }
    BlockStore::open(dir, options).unwrap()
}

/// Whether stores are in a bucket, where all is slower.
pub(crate) fn is_remote() -> bool {
    module_path!().starts_with("object")
}

#[path = "../s3/mod.rs"]
pub(crate) mod s3;

/// Runs of zeros, of one byte and of noise, 4 KiB to 48 KiB each.
pub(crate) fn fill(bytes: &mut [u8], seed: u64) {
    let mut random = Random::new(seed);
    let mut at = 0;
    while at < bytes.len() {
        let run = (random.below(12) + 1) * 4096;
        let part = at..(at + run).min(bytes.len());
        match random.below(4) {
            0 => bytes[part.clone()].fill(0),
            1 => bytes[part.clone()].fill(random.below(256) as u8),
            _ => bytes[part.clone()].fill_with(|| (random.next() >> 40) as u8),
        }
        at = part.end;
    }
}

pub(crate) fn content(size: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; size];
    fill(&mut bytes, seed);
    bytes
}

/// Xorshift: the same numbers for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        ((self.next() >> 20) % limit as u64) as usize
    }
}
