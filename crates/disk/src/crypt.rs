//! Encryption of what a layer holds: AES-256-XTS over the blocks of 4 KiB.
//!
//! Which blocks were written is not hidden. A block that somebody alters on disk reads as
//! noise, not as an error: a disk that is written in place has no room for tags.

use std::{fmt, io};

use aes::{Aes256, cipher::KeyInit};
use parking_lot::RwLock;
use xts_mode::Xts128;

use crate::{BLOCK, segments::Segments};

const BLOCK_LEN: usize = 4096;

/// The key of one volume; never used for another one.
#[derive(Clone)]
pub struct VolumeKey([u8; 64]);

impl VolumeKey {
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for VolumeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VolumeKey(secret)")
    }
}

/// A volume's key, ready for use.
pub(crate) struct Crypt {
    xts: Xts128<Aes256>,
    /// Tells a wrong key from the right one: of zeros at a place that no volume has.
    check: String,
    /// Who rewrites parts of a block takes it alone.
    partial: RwLock<()>,
}

impl Crypt {
    pub(crate) fn new(key: &VolumeKey) -> Self {
        let (data, tweak) = key.0.split_at(32);
        let cipher = |half: &[u8]| {
            let half: [u8; 32] = half.try_into().expect("half of 64 bytes");
            Aes256::new(&half.into())
        };
        let xts = Xts128::new(cipher(data), cipher(tweak));
        let mut block = [0; 16];
        xts.encrypt_sector(&mut block, tweak_of(u64::MAX, u64::MAX).into());
        let check = format!("{:032x}", u128::from_le_bytes(block));
        Self { xts, check, partial: RwLock::new(()) }
    }

    /// What a volume's manifest says of its key.
    pub(crate) fn check(&self) -> &str {
        &self.check
    }

    /// Fills `buf` from blocks of layer `seq` that are there.
    pub(crate) fn read_at(
        &self,
        segments: &Segments,
        seq: u64,
        offset: u64,
        buf: &mut [u8],
    ) -> io::Result<()> {
        if is_whole(offset, buf.len()) {
            segments.read_at(offset, buf)?;
            self.decrypt(seq, offset, buf);
            return Ok(());
        }
        let (start, head, mut blocks) = around(offset, buf.len());
        segments.read_at(start, &mut blocks)?;
        self.decrypt(seq, start, &mut blocks);
        buf.copy_from_slice(&blocks[head..head + buf.len()]);
        Ok(())
    }

    /// Writes `buf` into layer `seq`; blocks that it covers in part are there already.
    pub(crate) fn write_at(
        &self,
        segments: &Segments,
        seq: u64,
        offset: u64,
        buf: &[u8],
    ) -> io::Result<()> {
        if is_whole(offset, buf.len()) {
            let mut blocks = buf.to_vec();
            self.encrypt(seq, offset, &mut blocks);
            let _shared = self.partial.read();
            return segments.write_at(offset, &blocks);
        }
        let (start, head, mut blocks) = around(offset, buf.len());
        let last = blocks.len() - BLOCK_LEN;
        let _alone = self.partial.write();
        let mut old = |at: usize| {
            let block = &mut blocks[at..at + BLOCK_LEN];
            segments.read_at(start + at as u64, block)?;
            self.decrypt(seq, start + at as u64, block);
            Ok::<_, io::Error>(())
        };
        if head > 0 || buf.len() < BLOCK_LEN {
            old(0)?;
        }
        if last > 0 && !(head + buf.len()).is_multiple_of(BLOCK_LEN) {
            old(last)?;
        }
        blocks[head..head + buf.len()].copy_from_slice(buf);
        self.encrypt(seq, start, &mut blocks);
        segments.write_at(start, &blocks)
    }

    fn encrypt(&self, seq: u64, offset: u64, blocks: &mut [u8]) {
        for (block, at) in blocks.chunks_exact_mut(BLOCK_LEN).zip(offset / BLOCK..) {
            self.xts.encrypt_sector(block, tweak_of(seq, at).into());
        }
    }

    fn decrypt(&self, seq: u64, offset: u64, blocks: &mut [u8]) {
        for (block, at) in blocks.chunks_exact_mut(BLOCK_LEN).zip(offset / BLOCK..) {
            self.xts.decrypt_sector(block, tweak_of(seq, at).into());
        }
    }
}

impl fmt::Debug for Crypt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Crypt(secret)")
    }
}

/// No two layers of a volume encrypt a block alike.
fn tweak_of(seq: u64, block: u64) -> [u8; 16] {
    let mut tweak = [0; 16];
    tweak[..8].copy_from_slice(&block.to_le_bytes());
    tweak[8..].copy_from_slice(&seq.to_le_bytes());
    tweak
}

fn is_whole(offset: u64, length: usize) -> bool {
    offset.is_multiple_of(BLOCK) && length.is_multiple_of(BLOCK_LEN)
}

/// Where the blocks around a range begin, how far into them it does, and room for them.
fn around(offset: u64, length: usize) -> (u64, usize, Vec<u8>) {
    let start = offset / BLOCK * BLOCK;
    let head = usize::try_from(offset - start).unwrap_or(0);
    (start, head, vec![0; (head + length).next_multiple_of(BLOCK_LEN)])
}
