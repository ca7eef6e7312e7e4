//! Disk-image file formats, read safely.
//!
//! [`open`] takes a file that is already staged locally, finds out what it is, walks its whole
//! structure and only then hands out a [`Disk`]. Nothing in the file can make this crate open
//! another file, allocate more than [`Limits::max_memory`] or write outside a caller's buffer.
//! Raw and qcow2 (versions 2 and 3, zlib and zstd) are read; other formats are recognised and
//! refused by name.

mod detect;
mod disk;
mod error;
mod format;
mod limits;
mod qcow2;
mod raw;
mod source;

pub use disk::{Disk, Extents};
pub use error::{Feature, ImageError};
pub use format::Format;
pub use limits::Limits;
pub use source::Source;

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
    match detected {
        Format::Raw => Ok(Disk::raw(raw::Raw::open(Box::new(source), limits)?)),
        Format::Qcow2 => Ok(Disk::qcow2(qcow2::Qcow2::open(Box::new(source), limits)?)),
        format => Err(ImageError::Unsupported { format }),
    }
}
