//! What the disk is: its size, its blocks, its sectors.

use std::ops::Range;

use super::{KIB, bad, refuse};
use crate::field::Le;
use crate::work::Work;
use crate::{Feature, ImageError, Source};

/// The table at the region's start; items lie behind it.
const TABLE: usize = 64 << 10;
const MOST: u16 = 2047;

const PARAMETERS: [u8; 16] = *b"\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b";
const SIZE: [u8; 16] = *b"\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8";
const PAGE_83: [u8; 16] = *b"\xab\x12\xca\xbe\xe6\xb2\x23\x45\x93\xef\xc3\x09\xe0\x00\xc7\x46";
const LOGICAL: [u8; 16] = *b"\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f";
const PHYSICAL: [u8; 16] = *b"\xc7\x48\xa3\xcd\x5d\x44\x71\x44\x9c\xc9\xe9\x88\x52\x51\xc5\x56";
const PARENT: [u8; 16] = *b"\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c";

pub(super) struct Described {
    /// Of the disk, in bytes.
    pub(super) size: u64,
    /// Of a block, in bytes.
    pub(super) block: u64,
    /// Of a sector, in bytes.
    pub(super) sector: u32,
}

pub(super) fn read(
    source: &dyn Source,
    region: &Range<u64>,
    work: &Work<'_>,
) -> Result<Described, ImageError> {
    let mut table = vec![0; TABLE];
    source.read_at(region.start, &mut table)?;
    let count = Le(&table).u16(10);
    if !table.starts_with(b"metadata") || count > MOST {
        return Err(bad("the metadata table is not one", region.start));
    }
    let (mut parameters, mut size, mut sector) = (None, None, None);
    let entries = table[32..].as_chunks::<32>().0.iter();
    for (index, entry) in entries.take(count.into()).enumerate() {
        let at = region.start + 32 + index as u64 * 32;
        let fields = Le(entry);
        let (offset, len, flags) = (u64::from(fields.u32(16)), fields.u32(20), fields.u32(24));
        let number = || -> Result<u64, ImageError> {
            let start = region.start + offset;
            let inside = start.checked_add(u64::from(len)).is_some_and(|end| end <= region.end);
            if !matches!(len, 4 | 8) || offset < 64 * KIB || !inside {
                return Err(bad("a metadata item lies outside its region", at + 16));
            }
            let mut bytes = [0; 8];
            source.read_at(start, &mut bytes[..len as usize])?;
            Ok(u64::from_le_bytes(bytes))
        };
        let again = match &entry[..16] {
            id if *id == PARAMETERS && len == 8 => parameters.replace(number()?).is_some(),
            id if *id == SIZE && len == 8 => size.replace(number()?).is_some(),
            id if *id == LOGICAL && len == 4 => sector.replace(number()?).is_some(),
            id if *id == PAGE_83 || *id == PHYSICAL => false,
            id if *id == PARENT => return refuse(Feature::Differencing),
            id if *id == PARAMETERS || *id == SIZE || *id == LOGICAL => {
                return Err(bad("a metadata item has a wrong length", at + 20));
            }
            // Not understood: fine unless the file says that we must.
            _ if flags & 4 != 0 => return refuse(Feature::Unknown(fields.u64(0))),
            _ => false,
        };
        if again {
            return Err(bad("a metadata item stands twice", at));
        }
    }
    let (Some(parameters), Some(size), Some(sector)) = (parameters, size, sector) else {
        return Err(bad("the metadata do not say what the disk is", region.start));
    };
    check(parameters, size, sector, region.start, work)
}

fn check(
    parameters: u64,
    size: u64,
    sector: u64,
    at: u64,
    work: &Work<'_>,
) -> Result<Described, ImageError> {
    let (block, flags) = (parameters & u64::from(u32::MAX), parameters >> 32);
    if flags & 2 != 0 {
        return refuse(Feature::Differencing);
    }
    if !block.is_power_of_two() || !(1 << 20..=256 << 20).contains(&block) {
        return Err(bad("blocks are not between 1 and 256 MiB", at));
    }
    let sector = u32::try_from(sector).unwrap_or(u32::MAX);
    if sector != 512 {
        return refuse(Feature::SectorSize(sector));
    }
    let limit = work.limits.virtual_limit();
    if size > limit {
        return Err(ImageError::TooLarge { size, limit });
    }
    if size == 0 {
        return Err(ImageError::Empty);
    }
    if !size.is_multiple_of(512) {
        return Err(bad("the disk's size is not a multiple of 512", at));
    }
    Ok(Described { size, block, sector })
}
