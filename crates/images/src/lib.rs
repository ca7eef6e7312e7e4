//! Disk-image file formats, read safely.
//!
//! [`Opener`] takes a file that is already staged locally, finds out what it is, walks its whole
//! structure and only then hands out a [`Disk`]. Nothing in the file can make this crate open
//! another file, allocate more than [`Limits::max_memory`] or write outside a caller's buffer.
//! The one file it makes is that of a compressed stream: without a name, in a folder the caller
//! chose, within the limits.
//! Raw, qcow2 (versions 2 and 3, zlib and zstd), VMDK (monolithicSparse and streamOptimized), VHD
//! (fixed and dynamic), VHDX, VDI, OVA and our own bundles are read, each also inside gzip, xz, zstd
//! or bzip2; other formats are recognised and refused by name.

mod blocks;
pub mod bundle;
mod detect;
mod disk;
mod error;
mod field;
mod format;
mod inflate;
pub mod instance_bundle;
mod limits;
mod map;
mod open;
mod ova;
mod qcow2;
mod raw;
mod source;
mod stream;
mod tar;
mod vdi;
mod vhd;
mod vhdx;
mod vmdk;
mod window;
mod work;
pub mod write;

pub use disk::{Disk, Extents};
pub use error::{Feature, ImageError};
pub use format::Format;
pub use limits::Limits;
pub use open::Opener;
pub use source::Source;

/// The kind of file this is, judged by its bytes alone; reads at most 34 KiB.
///
/// Errors: [`ImageError::Ambiguous`] when the bytes satisfy more than one format, which no
/// honest tool produces; [`ImageError::Empty`].
pub fn detect<S: Source>(source: &S) -> Result<Format, ImageError> {
    detect::only(&detect::all(source)?)
}

/// How many disks [`Opener::disk`] finds in a file: those of an OVA in the order in which its
/// machine has them, 1 of anything else, also of a package that is compressed. The disks
/// themselves are not looked at.
///
/// Errors: those of [`open`].
pub fn disks<S: Source>(source: &S, limits: &Limits) -> Result<usize, ImageError> {
    match detect(source)? {
        Format::Ova => ova::count(source, &work::Work::new(limits, None)),
        _ => Ok(1),
    }
}

/// Opens `source` as a disk after checking all of its structure; see [`Opener`] for what is
/// compressed, holds several disks or should be cancelled.
///
/// `declared` is what the sender says it is; it must agree with the bytes. A file that matches
/// no known format is a raw disk. A raw disk is rounded up to 512 bytes, the rest reads zero.
pub fn open<S: Source + 'static>(
    source: S,
    declared: Option<Format>,
    limits: &Limits,
) -> Result<Disk, ImageError> {
    Opener::new(limits).declared(declared).open(source)
}
