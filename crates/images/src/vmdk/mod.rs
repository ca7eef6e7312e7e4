//! VMware's disk images in one file: monolithicSparse and streamOptimized.

mod descriptor;
mod grains;
mod header;
mod packed;

use descriptor::Subformat;
use header::Header;

use crate::disk::Reader;
use crate::work::Work;
use crate::{Feature, Format, ImageError, Source};

const FORMAT: Format = Format::Vmdk;
const SECTOR: u64 = 512;
const SECTOR_LEN: usize = 512;

pub(crate) fn open(
    source: Box<dyn Source>,
    work: &Work<'_>,
) -> Result<Box<dyn Reader>, ImageError> {
    let header = Header::read(&*source, work.limits)?;
    let subformat = descriptor::check(&*source, &header)?;
    match (subformat, header.packed) {
        (Subformat::Sparse, false) => Ok(Box::new(grains::plain(source, &header, work)?)),
        (Subformat::Stream, true) => Ok(Box::new(packed::open(source, &header, work)?)),
        _ => Err(bad("the descriptor and the header disagree on compression", 8)),
    }
}

fn bad(what: &'static str, at: u64) -> ImageError {
    ImageError::Malformed { format: FORMAT, what, at }
}

fn refuse<T>(feature: Feature) -> Result<T, ImageError> {
    Err(ImageError::Feature { format: FORMAT, feature })
}
