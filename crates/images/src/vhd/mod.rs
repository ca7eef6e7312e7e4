//! Virtual PC's and Hyper-V's first disk images, fixed and dynamic.

mod footer;

use std::ops::Range;

pub(crate) use footer::checksum;
use footer::{Footer, Kind};

use crate::blocks::{Builder, Layout};
use crate::disk::Reader;
use crate::field::Be;
use crate::work::Work;
use crate::{Feature, Format, ImageError, Source};

const FORMAT: Format = Format::Vhd;
const SECTOR: u64 = 512;
const HEADER: usize = 1024;
const HEADER_VERSION: u32 = 0x0001_0000;
const HOLE: u32 = u32::MAX;

pub(crate) fn open(
    source: Box<dyn Source>,
    work: &Work<'_>,
) -> Result<Box<dyn Reader>, ImageError> {
    let (footer, at) = footer::find(&*source)?;
    let limit = work.limits.virtual_limit();
    if footer.size > limit {
        return Err(ImageError::TooLarge { size: footer.size, limit });
    }
    if footer.size == 0 {
        return Err(ImageError::Empty);
    }
    if !footer.size.is_multiple_of(SECTOR) {
        return Err(bad("the disk's size is not a multiple of 512", at + 48));
    }
    match footer.kind {
        Kind::Fixed if footer.size > at => Err(bad("the file is shorter than its disk", at)),
        Kind::Fixed if footer.size > work.limits.max_data => {
            Err(ImageError::TooMuchData { limit: work.limits.max_data })
        }
        Kind::Fixed => Ok(Box::new(Fixed { source, size: footer.size })),
        Kind::Dynamic => dynamic(source, &footer, at, work),
    }
}

/// A disk in blocks, behind a header and a table, in front of the footer at `end`.
fn dynamic(
    source: Box<dyn Source>,
    footer: &Footer,
    end: u64,
    work: &Work<'_>,
) -> Result<Box<dyn Reader>, ImageError> {
    footer::check_copy(&*source, footer)?;
    let at = footer.data_offset;
    if at < SECTOR || at.checked_add(HEADER as u64).is_none_or(|last| last > end) {
        return Err(bad("the dynamic header lies outside the file", 16));
    }
    let mut header = [0; HEADER];
    source.read_at(at, &mut header)?;
    let fields = Be(&header);
    if &header[..8] != b"cxsparse" || fields.u32(24) != HEADER_VERSION {
        return Err(bad("the dynamic header is not one", at));
    }
    if checksum(&header, 36) != fields.u32(36) {
        return Err(bad("the dynamic header's checksum is wrong", at + 36));
    }
    if header[40..56].iter().any(|byte| *byte != 0) {
        return Err(ImageError::Feature { format: FORMAT, feature: Feature::Differencing });
    }
    let (table, entries) = (fields.u64(16), u64::from(fields.u32(28)));
    let block = u64::from(fields.u32(32));
    if !block.is_power_of_two() || !(4096..=256 << 20).contains(&block) {
        return Err(bad("blocks are not between 4 KiB and 256 MiB", at + 32));
    }
    let needed = footer.size.div_ceil(block);
    if needed > entries {
        return Err(bad("the block table is too small for the disk", at + 28));
    }
    let table_end = table.checked_add(entries * 4).filter(|last| *last <= end);
    let Some(table_end) = table_end.filter(|_| table >= SECTOR && table.is_multiple_of(SECTOR))
    else {
        return Err(bad("the block table is unaligned or outside the file", at + 16));
    };
    let layout = Layout {
        format: FORMAT,
        size: footer.size,
        block,
        unit: SECTOR,
        base: 0,
        // One bit a sector; for a disk without a parent it says nothing that matters.
        prefix: (block / SECTOR / 8).next_multiple_of(SECTOR),
        end,
    };
    let mut builder = Builder::new(layout, work)?;
    let mut piece = vec![0; 64 << 10];
    let mut index = 0;
    while index < needed {
        work.tick(index * block)?;
        let count = (needed - index).min(piece.len() as u64 / 4);
        let piece = &mut piece[..usize::try_from(count).unwrap_or(0) * 4];
        source.read_at(table + index * 4, piece)?;
        for entry in piece.as_chunks().0 {
            let sector = u32::from_be_bytes(*entry);
            if sector != HOLE {
                builder.set(index, sector, table + index * 4)?;
            }
            index += 1;
        }
    }
    let tables = vec![0..SECTOR, at..at + HEADER as u64, table..table_end];
    Ok(Box::new(builder.finish(source, tables)?))
}

/// The file is the disk, but for its footer.
struct Fixed {
    source: Box<dyn Source>,
    size: u64,
}

impl Reader for Fixed {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ImageError> {
        Ok(self.source.read_at(offset, buf)?)
    }

    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>, ImageError> {
        let next = self.source.next_data(from)?.filter(|range| range.start < self.size);
        Ok(next.map(|range| range.start..range.end.min(self.size)))
    }
}

fn bad(what: &'static str, at: u64) -> ImageError {
    ImageError::Malformed { format: FORMAT, what, at }
}
