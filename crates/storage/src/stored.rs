//! A content as an image's source.

use std::{io, ops::Range};

use vmint_blocks::{ExtentKind, Tree};
use vmint_images::Source;

/// A content that is read as a disk file would be.
#[derive(Debug)]
pub(crate) struct Stored(pub(crate) Tree);

impl Source for Stored {
    fn len(&self) -> u64 {
        self.0.size_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buf).map_err(io::Error::other)
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        for extent in self.0.extents(from..self.0.size_bytes()) {
            if let (range, ExtentKind::Data) = extent.map_err(io::Error::other)? {
                return Ok(Some(range));
            }
        }
        Ok(None)
    }
}
