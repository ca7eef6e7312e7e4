//! Where each block of a disk lies in the file; only what is there takes memory.

use std::ops::Range;

use crate::work::Work;
use crate::{Format, ImageError};

/// Entries a page of the map holds.
const PAGE: u64 = 1024;
const HOLE: u32 = u32::MAX;
const HINT: &str = "convert it to raw, or to a format with larger blocks";

/// Block number to a number of the format's own; most blocks of most disks have none.
pub(crate) struct Map {
    pages: Vec<Option<Box<[u32]>>>,
    blocks: u64,
    held: u64,
}

impl Map {
    /// A map of `blocks` holes.
    pub(crate) fn new(blocks: u64, work: &Work<'_>) -> Result<Self, ImageError> {
        let pages = blocks.div_ceil(PAGE);
        let held = pages.saturating_mul(16);
        work.afford(held, HINT)?;
        let mut list = Vec::new();
        list.resize_with(usize::try_from(pages).unwrap_or(0), || None);
        Ok(Self { pages: list, blocks, held })
    }

    /// Puts `value` (never `u32::MAX`) at `block`, which lies in the map.
    pub(crate) fn set(
        &mut self,
        block: u64,
        value: u32,
        work: &Work<'_>,
    ) -> Result<(), ImageError> {
        let (page, within) = place(block);
        let Some(slot) = self.pages.get_mut(page) else { return Ok(()) };
        if slot.is_none() {
            self.held += PAGE * 4;
            // The check for overlaps needs as much again.
            work.afford(self.held * 2, HINT)?;
        }
        let entries = slot.get_or_insert_with(|| vec![HOLE; place(PAGE - 1).1 + 1].into());
        entries[within] = value;
        Ok(())
    }

    pub(crate) fn get(&self, block: u64) -> Option<u32> {
        let (page, within) = place(block);
        let entry = self.pages.get(page)?.as_ref()?[within];
        (entry != HOLE).then_some(entry)
    }

    /// The first run of blocks at or after byte `from` that are there, in bytes of a disk of
    /// `size` bytes cut into blocks of `block` bytes.
    pub(crate) fn next_data(&self, from: u64, block: u64, size: u64) -> Option<Range<u64>> {
        let first = (from / block..self.blocks).find_map(|at| self.skip(at))?;
        let end = (first..self.blocks).find(|at| self.get(*at).is_none()).unwrap_or(self.blocks);
        let start = (first * block).max(from);
        (start < size).then(|| start..(end * block).min(size))
    }

    /// All values, in the order of the disk.
    pub(crate) fn values(&self) -> impl Iterator<Item = u32> + '_ {
        self.pages.iter().flatten().flat_map(|page| page.iter().copied()).filter(|at| *at != HOLE)
    }

    /// `at` if it is there.
    fn skip(&self, at: u64) -> Option<u64> {
        self.get(at).map(|_| at)
    }
}

fn place(block: u64) -> (usize, usize) {
    let part = |number| usize::try_from(number).unwrap_or(usize::MAX);
    (part(block / PAGE), part(block % PAGE))
}

/// Fails if two of the runs share a unit: `blocks` of `len` units each, and the file's `tables`.
pub(crate) fn apart(
    format: Format,
    mut blocks: Vec<u32>,
    len: u64,
    mut tables: Vec<Range<u64>>,
) -> Result<(), ImageError> {
    let bad = |what, at| Err(ImageError::Malformed { format, what, at });
    blocks.sort_unstable();
    tables.sort_unstable_by_key(|range| range.start);
    if let Some(pair) = tables.windows(2).find(|pair| pair[1].start < pair[0].end) {
        return bad("two tables overlap", pair[1].start);
    }
    if let Some(pair) = blocks.windows(2).find(|pair| u64::from(pair[1] - pair[0]) < len) {
        return bad("two blocks of the disk share bytes of the file", u64::from(pair[1]));
    }
    for table in tables {
        // The last block that starts before the table's end is the only one that can touch it.
        let next = blocks.partition_point(|at| u64::from(*at) < table.end);
        let before = next.checked_sub(1).and_then(|last| blocks.get(last));
        if table.start < table.end && before.is_some_and(|at| u64::from(*at) + len > table.start) {
            return bad("a block of the disk lies over a table", table.start);
        }
    }
    Ok(())
}
