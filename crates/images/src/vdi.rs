//! VirtualBox's disk images, dynamic and fixed.

use crate::blocks::{Blocks, Builder, Layout};
use crate::field::Le;
use crate::work::Work;
use crate::{Feature, Format, ImageError, Source};

const FORMAT: Format = Format::Vdi;
const HEADER: u64 = 512;
const HEADER_LEN: usize = 512;
const VERSION: u32 = 0x0001_0001;
const SECTOR: u64 = 512;
/// A block that was never written, and one that was set to zeros.
const FREE: u32 = u32::MAX;
const ZERO: u32 = u32::MAX - 1;

/// A kind of image.
mod kind {
    pub(super) const DYNAMIC: u32 = 1;
    pub(super) const FIXED: u32 = 2;
}

pub(crate) fn open(source: Box<dyn Source>, work: &Work<'_>) -> Result<Blocks, ImageError> {
    let len = source.len();
    if len < HEADER {
        return Err(bad("the file ends inside its header", len));
    }
    let mut header = [0; HEADER_LEN];
    source.read_at(0, &mut header)?;
    let fields = Le(&header);
    if fields.u32(0x44) != VERSION {
        return refuse(Feature::Version(fields.u32(0x44) >> 16));
    }
    if !matches!(fields.u32(0x4c), kind::DYNAMIC | kind::FIXED) {
        return refuse(Feature::Differencing);
    }
    // The ids of the image and its parent this one would be a difference to.
    if header[0x1a8..0x1c8].iter().any(|byte| *byte != 0) {
        return refuse(Feature::Differencing);
    }
    let (map_at, data_at) = (u64::from(fields.u32(0x154)), u64::from(fields.u32(0x158)));
    let (sector, size) = (fields.u32(0x168), fields.u64(0x170));
    let (block, extra) = (u64::from(fields.u32(0x178)), fields.u32(0x17c));
    let (blocks, allocated) = (u64::from(fields.u32(0x180)), u64::from(fields.u32(0x184)));
    if sector != 512 {
        return refuse(Feature::SectorSize(sector));
    }
    if !block.is_power_of_two() || !(4096..=64 << 20).contains(&block) || extra != 0 {
        return Err(bad("blocks are not between 4 KiB and 64 MiB", 0x178));
    }
    let limit = work.limits.virtual_limit();
    let size = size.checked_next_multiple_of(SECTOR).filter(|size| *size <= limit);
    let size = size.ok_or(ImageError::TooLarge { size: fields.u64(0x170), limit })?;
    if size == 0 {
        return Err(ImageError::Empty);
    }
    let needed = size.div_ceil(block);
    if needed > blocks {
        return Err(bad("the block map is too small for the disk", 0x180));
    }
    let map_end = map_at + blocks * 4;
    if map_at < HEADER || map_end > data_at || data_at > len {
        return Err(bad("the block map lies outside its place", 0x154));
    }
    let layout =
        Layout { format: FORMAT, size, block, unit: block, base: data_at, prefix: 0, end: len };
    let mut builder = Builder::new(layout, work)?;
    let mut piece = vec![0; 64 << 10];
    let mut index = 0;
    while index < needed {
        work.tick(index * block)?;
        let count = (needed - index).min(piece.len() as u64 / 4);
        let piece = &mut piece[..usize::try_from(count).unwrap_or(0) * 4];
        source.read_at(map_at + index * 4, piece)?;
        for entry in piece.as_chunks().0 {
            match u32::from_le_bytes(*entry) {
                FREE | ZERO => {}
                at if u64::from(at) >= allocated => {
                    return Err(bad("a block lies behind the last one", map_at + index * 4));
                }
                at => builder.set(index, at, map_at + index * 4)?,
            }
            index += 1;
        }
    }
    // Blocks are counted from the end of the map: none can lie over it.
    builder.finish(source, Vec::new())
}

fn bad(what: &'static str, at: u64) -> ImageError {
    ImageError::Malformed { format: FORMAT, what, at }
}

fn refuse<T>(feature: Feature) -> Result<T, ImageError> {
    Err(ImageError::Feature { format: FORMAT, feature })
}
