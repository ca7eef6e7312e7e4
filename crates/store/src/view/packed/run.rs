//! A run: one sorted sequence of rows, cut into blocks, never changed.

use super::{
    block::{Block, Builder},
    blocks::{Blocks, Space},
    bloom::{self, Bloom},
    damaged,
};
use crate::StoreError;

/// Bytes of a run's index in one blob.
const INDEX_BLOB: usize = 16 << 10;

/// A run and what is known of its blocks without reading them.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) head: Head,
    /// The first key of each block and the block's checksum.
    pub(super) blocks: Vec<(Box<[u8]>, u32)>,
    last: Box<[u8]>,
    bloom: Bloom,
}

/// What the manifest says of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: u64,
    /// Of all its rows.
    pub(super) bytes: u64,
    pub(super) index_blobs: u32,
    pub(super) index_sum: u32,
}

impl Run {
    /// Reads the index of a run.
    pub(super) fn load(store: &Blocks, head: Head) -> Result<Self, StoreError> {
        let mut bytes = Vec::new();
        for number in 0..head.index_blobs {
            let blob = store.get(Space::Index, head.id, number)?;
            bytes.extend_from_slice(&blob.ok_or_else(damaged)?);
        }
        if crc32c::crc32c(&bytes) != head.index_sum {
            return Err(damaged());
        }
        let index = parse(&bytes).ok_or_else(damaged)?;
        let (blocks, last, bloom) = index;
        Ok(Self { head, blocks, last, bloom })
    }

    pub(super) fn may_hold(&self, key: &[u8], hash: u64) -> bool {
        *key <= *self.last && self.bloom.may_hold(hash)
    }

    /// Its last key.
    pub(super) fn last(&self) -> &[u8] {
        &self.last
    }

    /// The one block that can hold the first row for which `before` is false:
    /// the last one whose first key it holds for.
    pub(super) fn seek(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        self.blocks.partition_point(|(first, _)| before(first)).saturating_sub(1)
    }

    /// Reads a block and checks it.
    pub(super) fn block(&self, store: &Blocks, at: usize) -> Result<Block, StoreError> {
        let sum = self.blocks.get(at).ok_or_else(damaged)?.1;
        let number = u32::try_from(at).map_err(|_| damaged())?;
        let bytes = store.get(Space::Rows, self.head.id, number)?.ok_or_else(damaged)?;
        if crc32c::crc32c(&bytes) != sum {
            return Err(damaged());
        }
        Block::new(bytes)
    }
}

type Index = (Vec<(Box<[u8]>, u32)>, Box<[u8]>, Bloom);

/// Index: filter, last key, then each block's first key and checksum; each of
/// the byte strings behind its length (u32).
fn parse(mut bytes: &[u8]) -> Option<Index> {
    fn text<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (len, rest) = from.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        *from = rest;
        Some(text)
    }
    let bloom = Bloom::from_bytes(text(&mut bytes)?)?;
    let last = text(&mut bytes)?.into();
    let mut blocks = Vec::new();
    while !bytes.is_empty() {
        let first = text(&mut bytes)?.into();
        let (sum, rest) = bytes.split_first_chunk::<4>()?;
        blocks.push((first, u32::from_le_bytes(*sum)));
        bytes = rest;
    }
    Some((blocks, last, bloom))
}

/// A run being written, row by row in key order.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    store: &'a Blocks,
    id: u64,
    block_bytes: usize,
    block: Builder,
    first: Vec<u8>,
    last: Vec<u8>,
    blocks: Vec<(Box<[u8]>, u32)>,
    hashes: Vec<u64>,
    bytes: u64,
}

impl<'a> Writer<'a> {
    pub(super) fn new(store: &'a Blocks, id: u64, block_bytes: usize) -> Self {
        Self {
            store,
            id,
            block_bytes,
            block: Builder::default(),
            first: Vec::new(),
            last: Vec::new(),
            blocks: Vec::new(),
            hashes: Vec::new(),
            bytes: 0,
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Adds a row behind all before; returns the bytes written with it.
    pub(super) fn push(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<usize, StoreError> {
        let row = key.len() + value.map_or(0, <[u8]>::len);
        let mut wrote = 0;
        if !self.block.is_empty() && self.block.len() + row > self.block_bytes {
            wrote = self.cut()?;
        }
        if self.block.is_empty() {
            self.first.clear();
            self.first.extend_from_slice(key);
        }
        self.block.push(key, value);
        self.hashes.push(bloom::hash(key));
        self.last.clear();
        self.last.extend_from_slice(key);
        self.bytes += row as u64;
        Ok(wrote)
    }

    fn cut(&mut self) -> Result<usize, StoreError> {
        let number = u32::try_from(self.blocks.len()).map_err(|_| damaged())?;
        let bytes = self.block.seal();
        self.blocks.push((self.first.as_slice().into(), crc32c::crc32c(bytes)));
        self.store.put(Space::Rows, self.id, number, bytes)?;
        let wrote = bytes.len();
        self.block.clear();
        Ok(wrote)
    }

    /// Writes what is left; `None` if there was no row at all.
    pub(super) fn finish(mut self) -> Result<Option<Run>, StoreError> {
        if !self.block.is_empty() {
            self.cut()?;
        }
        if self.blocks.is_empty() {
            return Ok(None);
        }
        let bloom = Bloom::new(&self.hashes);
        let mut index = Vec::new();
        let mut text = |text: &[u8], sum: Option<u32>| {
            let len = u32::try_from(text.len()).expect("an index is bounded far below 4 GiB");
            index.extend_from_slice(&len.to_le_bytes());
            index.extend_from_slice(text);
            index.extend(sum.into_iter().flat_map(u32::to_le_bytes));
        };
        text(bloom.as_bytes(), None);
        text(&self.last, None);
        self.blocks.iter().for_each(|(first, sum)| text(first, Some(*sum)));
        let mut index_blobs = 0;
        for blob in index.chunks(INDEX_BLOB) {
            self.store.put(Space::Index, self.id, index_blobs, blob)?;
            index_blobs += 1;
        }
        let index_sum = crc32c::crc32c(&index);
        let head = Head { id: self.id, bytes: self.bytes, index_blobs, index_sum };
        Ok(Some(Run { head, blocks: self.blocks, last: self.last.into(), bloom }))
    }
}
