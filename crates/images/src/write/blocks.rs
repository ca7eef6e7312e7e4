//! The blocks of a disk that may hold something.

use std::io;
use std::ops::Range;

use crate::Source;

/// The numbers of the blocks of `block` bytes that touch an extent, ascending.
pub(super) struct Blocks<'a> {
    source: &'a dyn Source,
    block: u64,
    next: u64,
    extent: Range<u64>,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(source: &'a dyn Source, block: u64) -> Self {
        Self { source, block, next: 0, extent: 0..0 }
    }
}

impl Iterator for Blocks<'_> {
    type Item = io::Result<u64>;

    fn next(&mut self) -> Option<Self::Item> {
        let from = self.next * self.block;
        if self.extent.end <= from {
            if from >= self.source.len() {
                return None;
            }
            match self.source.next_data(from) {
                Ok(Some(extent)) => self.extent = extent,
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        let found = self.extent.start.max(from) / self.block;
        self.next = found + 1;
        Some(Ok(found))
    }
}
