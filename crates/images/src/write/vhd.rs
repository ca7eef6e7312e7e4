//! VHD, dynamic, with the disk's exact size.

use super::blocks::Blocks;
use super::{Export, SECTOR, Sink, WriteError};
use crate::Format;
use crate::vhd::checksum;

/// The largest disk a VHD may hold, in bytes: 2,040 GiB.
pub const MAX_VHD: u64 = 2040 << 30;
const BLOCK: u64 = 2 << 20;
/// A bit a sector, all set.
const BITMAP: [u8; 512] = [0xff; 512];
const TABLE_AT: u64 = 512 + 1024;
const HOLE: u32 = u32::MAX;

/// Writes the disk as a dynamic VHD. The extents are walked twice, the data are read once.
///
/// Errors: [`WriteError::TooLarge`] for a disk of more than [`MAX_VHD`] bytes.
pub fn vhd(export: &Export<'_>, out: &mut (impl Sink + ?Sized)) -> Result<(), WriteError> {
    let size = export.size();
    if size > MAX_VHD {
        return Err(WriteError::TooLarge { format: Format::Vhd, limit: MAX_VHD });
    }
    let entries = size.div_ceil(BLOCK);
    let table_bytes = (entries * 4).next_multiple_of(SECTOR);
    let footer = footer(size, export.id);
    out.put(&footer)?;
    out.put(&header(entries))?;
    let mut at = TABLE_AT + table_bytes;
    let mut table = Vec::new();
    for block in Blocks::new(export.source, BLOCK) {
        table.resize(usize::try_from(block? * 4).unwrap_or(0), 0xff);
        let sector = u32::try_from(at / SECTOR).map_err(|_| WriteError::Changed)?;
        table.extend_from_slice(&sector.to_be_bytes());
        at += SECTOR + BLOCK;
    }
    table.resize(usize::try_from(table_bytes).unwrap_or(0), HOLE.to_be_bytes()[0]);
    out.put(&table)?;
    let mut written = TABLE_AT + table_bytes;
    let mut buf = vec![0; 256 << 10];
    for block in Blocks::new(export.source, BLOCK) {
        let start = block? * BLOCK;
        out.put(&BITMAP)?;
        for piece in (0..BLOCK).step_by(buf.len()) {
            export.tick(start + piece)?;
            export.read(start + piece, &mut buf)?;
            out.put(&buf)?;
        }
        written += SECTOR + BLOCK;
    }
    if written != at {
        return Err(WriteError::Changed);
    }
    out.put(&footer)?;
    export.tick(size)
}

fn footer(size: u64, id: [u8; 16]) -> [u8; 512] {
    let mut bytes = [0; 512];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"conectix");
    // A reserved bit that is always set, and the format's version.
    put(8, &2_u32.to_be_bytes());
    put(12, &0x0001_0000_u32.to_be_bytes());
    put(16, &512_u64.to_be_bytes());
    // Of all creators' names, readers take the size and not the geometry from this one's.
    put(28, b"win ");
    put(32, &0x000a_0000_u32.to_be_bytes());
    put(36, b"Wi2k");
    put(40, &size.to_be_bytes());
    put(48, &size.to_be_bytes());
    put(56, &geometry(size));
    put(60, &3_u32.to_be_bytes());
    put(68, &id);
    let sum = checksum(&bytes, 64);
    bytes[64..68].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn header(entries: u64) -> [u8; 1024] {
    let mut bytes = [0; 1024];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"cxsparse");
    put(8, &u64::MAX.to_be_bytes());
    put(16, &TABLE_AT.to_be_bytes());
    put(24, &0x0001_0000_u32.to_be_bytes());
    // At most 2,040 GiB of blocks of 2 MiB.
    put(28, &u32::try_from(entries).unwrap_or(u32::MAX).to_be_bytes());
    put(32, &(2_u32 << 20).to_be_bytes());
    let sum = checksum(&bytes, 36);
    bytes[36..40].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// Cylinders (two bytes), heads and sectors a track, as the format's specification finds them.
fn geometry(size: u64) -> [u8; 4] {
    let total = (size / SECTOR).min(65_535 * 16 * 255);
    let (mut sectors, mut heads);
    let mut rest;
    if total >= 65_535 * 16 * 63 {
        (sectors, heads) = (255, 16);
        rest = total / sectors;
    } else {
        sectors = 17;
        rest = total / sectors;
        heads = rest.div_ceil(1024).max(4);
        if rest >= heads * 1024 || heads > 16 {
            (sectors, heads) = (31, 16);
            rest = total / sectors;
        }
        if rest >= heads * 1024 {
            (sectors, heads) = (63, 16);
            rest = total / sectors;
        }
    }
    let [.., high, low] = (rest / heads).to_be_bytes();
    let byte = |value: u64| u8::try_from(value).unwrap_or(u8::MAX);
    [high, low, byte(heads), byte(sectors)]
}
