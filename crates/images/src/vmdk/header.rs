//! The first sector of a sparse file, and the footer that completes a streamed one.

use super::{SECTOR, SECTOR_LEN, bad, refuse};
use crate::field::Le;
use crate::{Feature, ImageError, Limits, Source};

/// A bit of the flags.
mod flag {
    pub(super) const NEWLINES: u32 = 1;
    pub(super) const COMPRESSED: u32 = 1 << 16;
    pub(super) const MARKERS: u32 = 1 << 17;
}

const DEFLATE: u16 = 1;
/// "See the footer" in place of the grain directory.
const AT_END: u64 = u64::MAX;
/// Entries of a grain table, always.
pub(super) const GRAINS: u64 = 512;
const FOOTER_MARKER: u32 = 3;
const MAX_DESCRIPTOR: u64 = 1 << 20;

/// What the header says, every number within its bounds; places and lengths in bytes.
pub(super) struct Header {
    /// Of the disk.
    pub(super) size: u64,
    /// Of a grain.
    pub(super) grain: u64,
    pub(super) descriptor: std::ops::Range<u64>,
    pub(super) directory: u64,
    pub(super) packed: bool,
    /// Where data must end.
    pub(super) end: u64,
}

impl Header {
    /// Disk bytes that one grain table maps.
    pub(super) fn table_span(&self) -> u64 {
        self.grain * GRAINS
    }

    /// Entries the grain directory must have.
    pub(super) fn tables(&self) -> u64 {
        self.size.div_ceil(self.table_span())
    }

    pub(super) fn read(source: &dyn Source, limits: &Limits) -> Result<Self, ImageError> {
        let len = source.len();
        let mut head = [0; SECTOR_LEN];
        let there = usize::try_from(len).unwrap_or(usize::MAX).min(head.len());
        source.read_at(0, &mut head[..there])?;
        if !head.starts_with(b"KDMV") {
            // A lone descriptor, or an extent of an old ESX host.
            return refuse(Feature::ExternalExtents);
        }
        if there < head.len() {
            return Err(bad("the file ends inside its header", len));
        }
        let fields = Le(&head);
        if !(1..=3).contains(&fields.u32(4)) {
            return refuse(Feature::Version(fields.u32(4)));
        }
        let flags = fields.u32(8);
        if flags & flag::NEWLINES != 0 && &head[73..77] != b"\n \r\n" {
            return Err(bad("line ends were changed in transfer: send it as binary", 73));
        }
        let packed = flags & flag::COMPRESSED != 0;
        if packed && flags & flag::MARKERS == 0 {
            return Err(bad("compressed grains have no markers", 8));
        }
        if packed && fields.u16(77) != DEFLATE {
            return refuse(Feature::Compression(head[77]));
        }
        let mut end = len;
        let mut directory = fields.u64(56);
        if directory == AT_END {
            if !packed {
                return Err(bad("only a streamed image may have a footer", 56));
            }
            (directory, end) = footer(source, &head)?;
        }
        let mut header = Self {
            size: sectors(fields.u64(12)).unwrap_or(u64::MAX),
            grain: sectors(fields.u64(20)).unwrap_or(u64::MAX),
            descriptor: 0..0,
            directory: sectors(directory).unwrap_or(u64::MAX),
            packed,
            end,
        };
        header.check(u64::from(fields.u32(44)), limits)?;
        header.descriptor = descriptor(fields.u64(28), fields.u64(36), len)?;
        Ok(header)
    }

    fn check(&self, entries: u64, limits: &Limits) -> Result<(), ImageError> {
        let limit = limits.virtual_limit();
        if self.size > limit {
            return Err(ImageError::TooLarge { size: self.size, limit });
        }
        if self.size == 0 {
            return Err(ImageError::Empty);
        }
        if !self.grain.is_power_of_two() || !(4096..=4 << 20).contains(&self.grain) {
            return Err(bad("grains are not between 4 KiB and 4 MiB", 20));
        }
        if entries != GRAINS {
            return Err(bad("grain tables do not have 512 entries", 44));
        }
        let last = self.directory.checked_add(self.tables() * 4);
        if self.directory < SECTOR || last.is_none_or(|last| last > self.end) {
            return Err(bad("the grain directory lies outside the file", 56));
        }
        Ok(())
    }
}

/// A streamed file ends with a marker, the header again with the directory's place, and an end
/// marker. Everything but that place must be as at the start.
fn footer(source: &dyn Source, head: &[u8; SECTOR_LEN]) -> Result<(u64, u64), ImageError> {
    let len = source.len();
    let Some(at) = len.checked_sub(3 * SECTOR) else {
        return Err(bad("the footer is missing: the file is cut short", len));
    };
    let mut bytes = [0; 3 * SECTOR_LEN];
    source.read_at(at, &mut bytes)?;
    let (marker, rest) = bytes.split_at(SECTOR_LEN);
    let (footer, last) = rest.split_at(SECTOR_LEN);
    if (Le(marker).u64(0), Le(marker).u32(8), Le(marker).u32(12)) != (1, 0, FOOTER_MARKER) {
        return Err(bad("the footer is missing: the file is cut short", at));
    }
    if last[..16].iter().any(|byte| *byte != 0) {
        return Err(bad("the end marker is missing", at + 2 * SECTOR));
    }
    if footer[..56] != head[..56] || footer[64..] != head[64..] {
        return Err(bad("the footer and the header differ", at + SECTOR));
    }
    Ok((Le(footer).u64(56), at))
}

/// The embedded descriptor's place: right behind the header, as every tool puts it.
fn descriptor(at: u64, len: u64, file: u64) -> Result<std::ops::Range<u64>, ImageError> {
    if at == 0 || len == 0 {
        return refuse(Feature::ExternalExtents);
    }
    let len = sectors(len).filter(|len| *len <= MAX_DESCRIPTOR);
    let end = len.and_then(|len| SECTOR.checked_add(len)).filter(|end| *end <= file);
    match end {
        Some(end) if at == 1 => Ok(SECTOR..end),
        _ => Err(bad("the descriptor is misplaced or larger than 1 MiB", 28)),
    }
}

fn sectors(count: u64) -> Option<u64> {
    count.checked_mul(SECTOR)
}
