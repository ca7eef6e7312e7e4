//! Disks on their way out: raw, qcow2, VMDK, VHD, OVA and bundles.
//!
//! Every writer of a disk goes from the first byte to the last and never back, holds a few MiB at most
//! (and one number per 32 MiB of disk), and writes nothing for what reads zero.

mod blocks;
mod bundle;
mod ova;
mod qcow2;
mod raw;
mod sink;
mod tar;
mod vhd;
mod vmdk;

use std::{fmt, io};

pub use bundle::BundleWriter;
pub use ova::{MAX_OVA_DISKS, Machine, ova};
pub use qcow2::qcow2;
pub use raw::raw;
pub use sink::{Sink, Sparse};
pub use vhd::{MAX_VHD, vhd};
pub use vmdk::vmdk;

use crate::{Format, Source};

const SECTOR: u64 = 512;

/// One disk to be written. Its bytes must stay the same until that is done.
#[derive(Clone, Copy)]
pub struct Export<'a> {
    /// The disk; what it has beyond a multiple of 512 bytes is filled up with zeros.
    pub source: &'a dyn Source,
    /// Tells this image from others, in formats that have an id.
    pub id: [u8; 16],
    /// Asked now and then with the bytes of the disk that are done; `false` ends the work.
    pub watch: &'a dyn Fn(u64) -> bool,
}

impl Export<'_> {
    /// Of the disk, in bytes.
    fn size(&self) -> u64 {
        self.source.len().next_multiple_of(SECTOR)
    }

    fn tick(&self, done: u64) -> Result<(), WriteError> {
        if (self.watch)(done) { Ok(()) } else { Err(WriteError::Cancelled) }
    }

    /// Fills `buf` from `offset`; what lies behind the disk's end reads zero.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), WriteError> {
        let there = self.source.len().saturating_sub(offset);
        let there = usize::try_from(there).unwrap_or(usize::MAX).min(buf.len());
        let (bytes, rest) = buf.split_at_mut(there);
        self.source.read_at(offset, bytes)?;
        rest.fill(0);
        Ok(())
    }
}

impl fmt::Debug for Export<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export").field("size", &self.size()).finish_non_exhaustive()
    }
}

/// Why a disk was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk could not be read, or the image not written.
    #[error("the image could not be written: {0}")]
    Io(#[from] io::Error),
    /// A format has no room for such a disk.
    #[error("{format} holds at most {limit} bytes: export the disk as raw or qcow2")]
    TooLarge { format: Format, limit: u64 },
    /// A package's name is used for the files in it.
    #[error("a package's name is 1 to 64 letters, digits, dots, dashes or underscores")]
    Name,
    /// A package has 1 to 21 disks.
    #[error("a package holds 1 to 21 disks: export them one by one")]
    Disks,
    /// The watch said so.
    #[error("the export was cancelled")]
    Cancelled,
    /// The source said different things at different times.
    #[error("the disk changed while it was written")]
    Changed,
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Whole words first: the compiler makes wide comparisons of them.
    let (chunks, rest) = bytes.as_chunks::<64>();
    chunks.iter().all(|chunk| *chunk == [0; 64]) && rest.iter().all(|byte| *byte == 0)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
