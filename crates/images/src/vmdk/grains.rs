//! The grain directory and its tables.

use std::ops::Range;

use super::header::{GRAINS, Header};
use super::{FORMAT, SECTOR, bad};
use crate::blocks::{Blocks, Builder, Layout};
use crate::work::Work;
use crate::{ImageError, Source};

/// "A grain of zeros" in place of a sector.
const ZEROS: u32 = 1;
const TABLE: usize = 512 * 4;

/// A file whose grains lie plainly in it.
pub(super) fn plain(
    source: Box<dyn Source>,
    header: &Header,
    work: &Work<'_>,
) -> Result<Blocks, ImageError> {
    let layout = Layout {
        format: FORMAT,
        size: header.size,
        block: header.grain,
        unit: SECTOR,
        base: 0,
        prefix: 0,
        end: header.end,
    };
    let mut builder = Builder::new(layout, work)?;
    let tables =
        walk(&*source, header, work, &mut |grain, sector, at| builder.set(grain, sector, at))?;
    builder.finish(source, tables)
}

/// Calls `take` with each stored grain, its sector and where the table says so; returns the
/// ranges that no grain may touch.
pub(super) fn walk(
    source: &dyn Source,
    header: &Header,
    work: &Work<'_>,
    take: &mut dyn FnMut(u64, u32, u64) -> Result<(), ImageError>,
) -> Result<Vec<Range<u64>>, ImageError> {
    let count = header.tables();
    let hint = "convert it to one with larger grains, or to raw";
    // The directory itself and one range a table.
    work.afford(count * 20, hint)?;
    let mut directory = vec![0; usize::try_from(count * 4).unwrap_or(0)];
    source.read_at(header.directory, &mut directory)?;
    let end = header.directory + count * 4;
    let mut taken = vec![0..SECTOR, header.descriptor.clone(), header.directory..end];
    let grains = header.size.div_ceil(header.grain);
    let mut table = [0; TABLE];
    for (index, entry) in directory.as_chunks().0.iter().enumerate() {
        let index = index as u64;
        work.tick(index * header.table_span())?;
        let start = u64::from(u32::from_le_bytes(*entry)) * SECTOR;
        if start == 0 {
            continue;
        }
        if start + TABLE as u64 > header.end {
            return Err(bad("a grain table lies outside the file", header.directory + index * 4));
        }
        taken.push(start..start + TABLE as u64);
        source.read_at(start, &mut table)?;
        for (slot, entry) in table.as_chunks().0.iter().enumerate() {
            let grain = index * GRAINS + slot as u64;
            let sector = u32::from_le_bytes(*entry);
            if sector > ZEROS && grain < grains {
                take(grain, sector, start + slot as u64 * 4)?;
            }
        }
    }
    Ok(taken)
}
