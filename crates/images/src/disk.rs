//! An opened image, whatever its format.

use std::fmt;
use std::ops::Range;

use crate::qcow2::Qcow2;
use crate::raw::Raw;
use crate::{Format, ImageError};

/// A disk inside an image file. Can be read by several threads.
pub struct Disk {
    kind: Kind,
}

enum Kind {
    Raw(Raw),
    Qcow2(Box<Qcow2>),
}

impl Disk {
    pub(crate) fn raw(raw: Raw) -> Self {
        Self { kind: Kind::Raw(raw) }
    }

    pub(crate) fn qcow2(qcow2: Qcow2) -> Self {
        Self { kind: Kind::Qcow2(Box::new(qcow2)) }
    }

    /// What the file was found to be.
    #[must_use]
    pub fn format(&self) -> Format {
        match self.kind {
            Kind::Raw(_) => Format::Raw,
            Kind::Qcow2(_) => Format::Qcow2,
        }
    }

    /// The disk's size in bytes: a multiple of 512, never zero, within the limits.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        match &self.kind {
            Kind::Raw(raw) => raw.size(),
            Kind::Qcow2(qcow2) => qcow2.size(),
        }
    }

    /// Fills `buf` with the disk's bytes from `offset`; holes read zero.
    ///
    /// Errors: [`ImageError::OutOfRange`]; [`ImageError::Malformed`] when a compressed cluster
    /// does not unfold to exactly one cluster; [`ImageError::Io`].
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ImageError> {
        let (len, size) = (buf.len() as u64, self.size_bytes());
        if offset.checked_add(len).is_none_or(|end| end > size) {
            return Err(ImageError::OutOfRange { offset, len, size });
        }
        match &self.kind {
            Kind::Raw(raw) => raw.read_at(offset, buf),
            Kind::Qcow2(qcow2) => qcow2.read_at(offset, buf),
        }
    }

    /// The ranges that may hold something other than zeros, ascending and apart; everything
    /// between them reads zero. Ends after the first error.
    #[must_use]
    pub fn extents(&self) -> Extents<'_> {
        Extents { disk: self, at: Some(0) }
    }

    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>, ImageError> {
        match &self.kind {
            Kind::Raw(raw) => raw.next_data(from),
            Kind::Qcow2(qcow2) => qcow2.next_data(from),
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (format, size) = (self.format(), self.size_bytes());
        f.debug_struct("Disk").field("format", &format).field("size_bytes", &size).finish()
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
        match self.disk.next_data(from) {
            Ok(Some(range)) => {
                self.at = Some(range.end);
                Some(Ok(range))
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}
