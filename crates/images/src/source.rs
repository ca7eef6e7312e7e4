//! Where an image's bytes come from.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// Bytes that can be read at any place, by several threads at once.
///
/// The length must not change while an image is open.
pub trait Source: Send + Sync {
    /// The number of bytes.
    fn len(&self) -> u64;

    /// Fills `buf` from `offset`; reading past the end is an `UnexpectedEof` error.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first range at or after `from` that may hold something other than zeros, or `None`.
    /// A source that knows no holes says `from..len`.
    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let len = self.len();
        Ok((from < len).then_some(from..len))
    }
}

impl Source for File {
    fn len(&self) -> u64 {
        // A block device or a vanished file has no length of use: it is then an empty image.
        self.metadata().map_or(0, |meta| meta.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buf, offset)
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let len = Source::len(self);
        if from >= len {
            return Ok(None);
        }
        // Only the returned offset is used; reads are positional, so the shared cursor is free.
        let start = match seek(self, SeekFrom::Data(from)) {
            Ok(start) if start < len => start,
            Ok(_) | Err(Errno::NXIO) => return Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some(from..len)),
            Err(error) => return Err(error.into()),
        };
        let end = match seek(self, SeekFrom::Hole(start)) {
            Ok(end) => end.min(len),
            Err(_) => len,
        };
        Ok(Some(start..end.max(start + 1)))
    }
}

impl Source for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|start| self.get(start..));
        let bytes = from.and_then(|rest| rest.get(..buf.len()));
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
