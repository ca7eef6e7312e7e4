//! Hyper-V's disk images without a parent.

mod header;
mod log;
mod metadata;
mod replayed;
mod table;

use crate::blocks::{Blocks, Builder, Layout};
use crate::work::Work;
use crate::{Feature, Format, ImageError, Source};

const FORMAT: Format = Format::Vhdx;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What an entry of the block table says of its block.
mod state {
    pub(super) const NOT_PRESENT: u64 = 0;
    pub(super) const UNDEFINED: u64 = 1;
    pub(super) const ZERO: u64 = 2;
    pub(super) const UNMAPPED: u64 = 3;
    pub(super) const PRESENT: u64 = 6;
}

pub(crate) fn open(source: Box<dyn Source>, work: &Work<'_>) -> Result<Blocks, ImageError> {
    // The identifier, two headers and two region tables fill the first MiB.
    if source.len() < MIB {
        return Err(bad("the file ends inside its headers", source.len()));
    }
    let log = header::current(&*source)?;
    let source = match &log {
        Some(header::Log { at, run: Some(id) }) => Box::new(log::replay(source, at, *id, work)?),
        _ => source,
    };
    let len = source.len();
    let regions = table::regions(&*source)?;
    let disk = metadata::read(&*source, &regions.metadata, work)?;
    let blocks = disk.size.div_ceil(disk.block);
    // After each `ratio` blocks stands an entry for a bitmap only differencing disks have.
    let ratio = (1 << 23) * u64::from(disk.sector) / disk.block;
    let needed = blocks + (blocks - 1) / ratio;
    if regions.bat.end - regions.bat.start < needed * 8 {
        return Err(bad("the block table is too small for the disk", regions.bat.start));
    }
    let layout = Layout {
        format: FORMAT,
        size: disk.size,
        block: disk.block,
        unit: MIB,
        base: 0,
        prefix: 0,
        end: len,
    };
    let mut builder = Builder::new(layout, work)?;
    let mut piece = vec![0; 64 << 10];
    let mut entry = 0;
    while entry < needed {
        work.tick(entry * disk.block)?;
        let count = (needed - entry).min(piece.len() as u64 / 8);
        let piece = &mut piece[..usize::try_from(count).unwrap_or(0) * 8];
        let at = regions.bat.start + entry * 8;
        source.read_at(at, piece)?;
        for (slot, bytes) in piece.as_chunks().0.iter().enumerate() {
            let index = entry + slot as u64;
            if index % (ratio + 1) != ratio {
                let value = u64::from_le_bytes(*bytes);
                set(&mut builder, index - index / (ratio + 1), value, at + slot as u64 * 8)?;
            }
        }
        entry += count;
    }
    let mut tables = vec![0..MIB, regions.bat, regions.metadata];
    tables.extend(regions.other);
    tables.extend(log.map(|log| log.at));
    builder.finish(source, tables)
}

fn set(builder: &mut Builder<'_>, block: u64, value: u64, at: u64) -> Result<(), ImageError> {
    match value & 7 {
        state::NOT_PRESENT | state::UNDEFINED | state::ZERO | state::UNMAPPED => Ok(()),
        state::PRESENT if value & 0x000f_fff8 == 0 => {
            let place = u32::try_from(value >> 20).unwrap_or(u32::MAX);
            builder.set(block, place, at)
        }
        state::PRESENT => Err(bad("a block table entry has reserved bits set", at)),
        7 => refuse(Feature::Differencing),
        _ => Err(bad("a block is in a state that does not exist", at)),
    }
}

fn bad(what: &'static str, at: u64) -> ImageError {
    ImageError::Malformed { format: FORMAT, what, at }
}

fn refuse<T>(feature: Feature) -> Result<T, ImageError> {
    Err(ImageError::Feature { format: FORMAT, feature })
}

/// Checks a CRC-32C whose own four bytes, at 4, count as zeros.
fn sum_holds(bytes: &mut [u8]) -> bool {
    let stored = crate::field::Le(bytes).u32(4);
    bytes[4..8].fill(0);
    crc32c::crc32c(bytes) == stored
}
