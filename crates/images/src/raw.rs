//! A raw disk: the file is the disk.

use std::ops::Range;

use crate::disk::Reader;
use crate::{ImageError, Limits, Source};

const SECTOR: u64 = 512;

pub(crate) struct Raw {
    source: Box<dyn Source>,
    len: u64,
    size: u64,
}

impl Raw {
    pub(crate) fn open(source: Box<dyn Source>, limits: &Limits) -> Result<Self, ImageError> {
        let len = source.len();
        let limit = limits.virtual_limit();
        if len == 0 {
            return Err(ImageError::Empty);
        }
        let size = len.checked_next_multiple_of(SECTOR).filter(|size| *size <= limit);
        let size = size.ok_or(ImageError::TooLarge { size: len, limit })?;
        Ok(Self { source, len, size })
    }
}

impl Reader for Raw {
    fn size(&self) -> u64 {
        self.size
    }

    /// What the rounding added reads zero.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ImageError> {
        let there = self.len.saturating_sub(offset).min(buf.len() as u64);
        let (bytes, rest) = buf.split_at_mut(usize::try_from(there).unwrap_or(0));
        self.source.read_at(offset, bytes)?;
        rest.fill(0);
        Ok(())
    }

    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>, ImageError> {
        Ok(self.source.next_data(from)?)
    }
}
