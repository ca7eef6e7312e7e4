//! A disk cut into equal blocks that lie plainly in the file: sparse VMDK, VHD, VHDX and VDI.

use std::ops::Range;

use crate::disk::Reader;
use crate::map::{self, Map};
use crate::work::Work;
use crate::{Format, ImageError, Source};

/// How blocks are numbered and where they may lie.
pub(crate) struct Layout {
    pub(crate) format: Format,
    /// Of the disk, in bytes.
    pub(crate) size: u64,
    /// Of a block, in bytes.
    pub(crate) block: u64,
    /// Bytes a block's number counts.
    pub(crate) unit: u64,
    /// Where number 0 lies.
    pub(crate) base: u64,
    /// Bytes of the block's own in front of its data.
    pub(crate) prefix: u64,
    /// Where data must end: the file's end, or the start of what follows it.
    pub(crate) end: u64,
}

/// Checks the blocks one after the other, then all of them together.
pub(crate) struct Builder<'a> {
    layout: Layout,
    map: Map,
    data: u64,
    work: &'a Work<'a>,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(layout: Layout, work: &'a Work<'a>) -> Result<Self, ImageError> {
        let map = Map::new(layout.size.div_ceil(layout.block), work)?;
        Ok(Self { layout, map, data: 0, work })
    }

    /// Block `index` of the disk lies at number `at`; `entry` is where the file says so.
    pub(crate) fn set(&mut self, index: u64, at: u32, entry: u64) -> Result<(), ImageError> {
        let Layout { format, size, block, unit, base, prefix, end } = self.layout;
        let needed = size.saturating_sub(index * block).min(block);
        let start = base + u64::from(at) * unit;
        if at == u32::MAX || start.checked_add(prefix + needed).is_none_or(|last| last > end) {
            let what = "a block lies outside the file";
            return Err(ImageError::Malformed { format, what, at: entry });
        }
        self.data += needed;
        let limit = self.work.limits.max_data;
        if self.data > limit {
            return Err(ImageError::TooMuchData { limit });
        }
        self.map.set(index, at, self.work)
    }

    /// The disk, once no block shares bytes with another or with one of `tables` (byte ranges).
    pub(crate) fn finish(
        self,
        source: Box<dyn Source>,
        tables: Vec<Range<u64>>,
    ) -> Result<Blocks, ImageError> {
        let Layout { format, unit, base, block, prefix, .. } = self.layout;
        let units = |range: Range<u64>| {
            range.start.saturating_sub(base) / unit..range.end.saturating_sub(base).div_ceil(unit)
        };
        let tables = tables.into_iter().map(units).collect();
        map::apart(format, self.map.values().collect(), (prefix + block).div_ceil(unit), tables)?;
        Ok(Blocks { source, layout: self.layout, map: self.map })
    }
}

pub(crate) struct Blocks {
    source: Box<dyn Source>,
    layout: Layout,
    map: Map,
}

impl Reader for Blocks {
    fn size(&self) -> u64 {
        self.layout.size
    }

    fn read_at(&self, mut offset: u64, mut buf: &mut [u8]) -> Result<(), ImageError> {
        let Layout { block, unit, base, prefix, .. } = self.layout;
        while !buf.is_empty() {
            let within = offset % block;
            let len = (block - within).min(buf.len() as u64);
            let (part, rest) = buf.split_at_mut(usize::try_from(len).unwrap_or(0));
            match self.map.get(offset / block) {
                Some(at) => {
                    self.source.read_at(base + u64::from(at) * unit + prefix + within, part)?;
                }
                None => part.fill(0),
            }
            offset += len;
            buf = rest;
        }
        Ok(())
    }

    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>, ImageError> {
        Ok(self.map.next_data(from, self.layout.block, self.layout.size))
    }
}
