//! What one table entry means.

use super::header::Header;

/// Bits 9 to 55: where a table or cluster starts.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Set when the cluster's reference count is one; of no use to a reader.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;

/// Where a guest cluster's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Not stored, or stored as "all zeros" (perhaps with a cluster set aside for it).
    Zero { reserved: Option<u64> },
    /// One whole cluster at this offset.
    Plain(u64),
    /// A compressed cluster: its first byte, and how many bytes it may take at most.
    Packed { offset: u64, len: u64 },
}

/// The entry sets bits that must be clear.
#[derive(Debug)]
pub(super) struct Reserved;

/// Reads an L1 entry: the offset of an L2 table, if there is one.
pub(super) fn l2_table(entry: u64) -> Result<Option<u64>, Reserved> {
    if entry & !(OFFSET | COPIED) != 0 {
        return Err(Reserved);
    }
    let offset = entry & OFFSET;
    Ok((offset != 0).then_some(offset))
}

/// Reads an L2 entry.
pub(super) fn place(entry: u64, header: &Header) -> Result<Place, Reserved> {
    if entry & COMPRESSED != 0 {
        // The copied bit must be clear for compressed clusters.
        let ok = entry & COPIED == 0;
        return if ok { Ok(packed(entry, header.cluster_bits)) } else { Err(Reserved) };
    }
    let zero = if header.version >= 3 { ZERO } else { 0 };
    if entry & !(OFFSET | COPIED | zero) != 0 {
        return Err(Reserved);
    }
    let offset = Some(entry & OFFSET).filter(|offset| *offset != 0);
    Ok(match offset {
        Some(offset) if entry & zero == 0 => Place::Plain(offset),
        reserved => Place::Zero { reserved },
    })
}

/// The width of the sector count grows with the cluster size, at the offset's cost.
fn packed(entry: u64, cluster_bits: u32) -> Place {
    let offset_bits = 62 - (cluster_bits - 8);
    let offset = entry & ((1 << offset_bits) - 1);
    let more_sectors = (entry & (COMPRESSED - 1)) >> offset_bits;
    // The count is of sectors beyond the one the data starts in.
    Place::Packed { offset, len: (more_sectors + 1) * 512 - offset % 512 }
}
