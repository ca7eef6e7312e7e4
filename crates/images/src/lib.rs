//! Disk-image file formats, read safely.
//!
//! [`open`] takes a file that is already staged locally, finds out what it is, walks its whole
//! structure and only then hands out a [`Disk`]. Nothing in the file can make this crate open
//! another file, allocate more than [`Limits::max_memory`] or write outside a caller's buffer.
//! Raw, qcow2 (versions 2 and 3, zlib and zstd), VMDK (monolithicSparse and streamOptimized), VHD
//! (fixed and dynamic), VHDX and VDI are read; other formats are recognised and refused by name.

mod blocks;
mod detect;
mod disk;
mod error;
mod field;
mod format;
mod inflate;
mod limits;
mod map;
mod qcow2;
mod raw;
mod source;
mod vdi;
mod vhd;
mod vhdx;
mod vmdk;
mod work;

pub use disk::{Disk, Extents};
pub use error::{Feature, ImageError};
pub use format::Format;
pub use limits::Limits;
pub use source::Source;

use work::Work;

/// The kind of file this is, judged by its bytes alone; reads at most 34 KiB.
///
/// Errors: [`ImageError::Ambiguous`] when the bytes satisfy more than one format, which no
/// honest tool produces; [`ImageError::Empty`].
pub fn detect<S: Source>(source: &S) -> Result<Format, ImageError> {
    detect::only(&detect::all(source)?)
}

/// Opens `source` as a disk after checking all of its structure.
///
/// `declared` is what the sender says it is; it must agree with the bytes. A file that matches
/// no known format is a raw disk. A raw disk is rounded up to 512 bytes, the rest reads zero.
pub fn open<S: Source + 'static>(
    source: S,
    declared: Option<Format>,
    limits: &Limits,
) -> Result<Disk, ImageError> {
    let detected = detect(&source)?;
    if let Some(declared) = declared
        && declared != detected
    {
        return Err(ImageError::Mismatch { declared, detected });
    }
    let (source, work) = (Box::new(source), Work::new(limits, None));
    Ok(Disk::new(match detected {
        Format::Raw => Box::new(raw::Raw::open(source, limits)?),
        Format::Qcow2 => Box::new(qcow2::Qcow2::open(source, &work)?),
        Format::Vmdk => vmdk::open(source, &work)?,
        Format::Vhd => vhd::open(source, &work)?,
        Format::Vhdx => Box::new(vhdx::open(source, &work)?),
        Format::Vdi => Box::new(vdi::open(source, &work)?),
        format => return Err(ImageError::Unsupported { format }),
    }))
}
