//! An opened image, whatever its format.

use std::ops::Range;
use std::{fmt, io};

use crate::{Format, ImageError, Source};

/// A disk inside an image file. Can be read by several threads.
pub struct Disk {
    reader: Box<dyn Reader>,
    /// From the outside in.
    layers: Vec<Format>,
}

/// What a format does once its structure was checked.
pub(crate) trait Reader: Send + Sync {
    /// Of the disk, in bytes.
    fn size(&self) -> u64;

    /// Fills `buf`, which lies inside the disk.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ImageError>;

    /// The first run of stored bytes at or after `from`.
    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>, ImageError>;

    /// What the file says its bytes are called; see [`Disk::promised`].
    fn promised(&self) -> Option<[u8; 32]> {
        None
    }
}

impl Disk {
    pub(crate) fn new(reader: Box<dyn Reader>, layers: Vec<Format>) -> Self {
        Self { reader, layers }
    }

    /// What the file was found to be, compression aside: what its sender may declare.
    #[must_use]
    pub fn format(&self) -> Format {
        self.layers.iter().copied().find(|layer| !layer.is_compression()).unwrap_or(Format::Raw)
    }

    /// What the file was found to be, from the outside in, such as gzip, ova and vmdk.
    #[must_use]
    pub fn layers(&self) -> &[Format] {
        &self.layers
    }

    /// The disk's size in bytes: a multiple of 512, never zero, within the limits.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.reader.size()
    }

    /// What the file says the Merkle root of the disk's bytes is, which whoever stores them has
    /// to hold it to. Only a bundle says so.
    #[must_use]
    pub fn promised(&self) -> Option<[u8; 32]> {
        self.reader.promised()
    }

    /// Fills `buf` with the disk's bytes from `offset`; holes read zero.
    ///
    /// Errors: [`ImageError::OutOfRange`]; [`ImageError::Malformed`] when a compressed block
    /// does not unfold to exactly one block; [`ImageError::Io`].
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ImageError> {
        let (len, size) = (buf.len() as u64, self.size_bytes());
        if offset.checked_add(len).is_none_or(|end| end > size) {
            return Err(ImageError::OutOfRange { offset, len, size });
        }
        self.reader.read_at(offset, buf)
    }

    /// The ranges that may hold something other than zeros, ascending and apart; everything
    /// between them reads zero. Ends after the first error.
    #[must_use]
    pub fn extents(&self) -> Extents<'_> {
        Extents { disk: self, at: Some(0) }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (format, size) = (self.format(), self.size_bytes());
        f.debug_struct("Disk").field("format", &format).field("size_bytes", &size).finish()
    }
}

impl Source for Disk {
    fn len(&self) -> u64 {
        self.size_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        Self::read_at(self, offset, buf).map_err(|error| match error {
            ImageError::Io(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        })
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        if from >= self.size_bytes() {
            return Ok(None);
        }
        self.reader.next_data(from).map_err(|error| match error {
            ImageError::Io(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        })
    }
}

/// The data extents of a [`Disk`]; see [`Disk::extents`].
#[derive(Debug)]
pub struct Extents<'a> {
    disk: &'a Disk,
    /// Where to look next; `None` when done.
    at: Option<u64>,
}

impl Iterator for Extents<'_> {
    type Item = Result<Range<u64>, ImageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let from = self.at.take()?;
        match self.disk.reader.next_data(from) {
            Ok(Some(range)) => {
                self.at = Some(range.end);
                Some(Ok(range))
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}
