//! A disk as one gzip stream in pieces.

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest as _, Sha256};

use super::PART_BYTES;
use crate::Source;
use crate::write::WriteError;

/// What is read at a time.
const PIECE: usize = 256 << 10;
static ZEROS: [u8; PIECE] = [0; PIECE];

/// What a disk was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    pub size_bytes: u64,
    /// SHA-256 of the disk.
    pub digest: [u8; 32],
}

/// Compresses a disk and gives its stream away, in pieces of [`PART_BYTES`] and a last one.
///
/// Holds little more than one piece. `watch` hears how many bytes of the disk are done; `false`
/// ends the work.
///
/// Errors: [`WriteError::Cancelled`]; [`WriteError::Io`], also with what `take` answers.
pub fn pack(
    disk: &dyn Source,
    watch: &dyn Fn(u64) -> bool,
    take: &mut dyn FnMut(Vec<u8>) -> io::Result<()>,
) -> Result<Packed, WriteError> {
    let (size_bytes, mut at, mut hash) = (disk.len(), 0, Sha256::new());
    let mut out = GzEncoder::new(Pieces { filled: Vec::new(), take }, Compression::fast());
    let mut buffer = vec![0; PIECE];
    let mut data = disk.next_data(0)?;
    while at < size_bytes {
        if !watch(at) {
            return Err(WriteError::Cancelled);
        }
        while data.as_ref().is_some_and(|data| data.end <= at) {
            data = disk.next_data(at)?;
        }
        let (until, hole) = match &data {
            Some(data) if data.start <= at => (data.end, false),
            Some(data) => (data.start, true),
            None => (size_bytes, true),
        };
        let len = usize::try_from(until.min(size_bytes) - at).unwrap_or(PIECE).min(PIECE);
        let piece = if hole {
            &ZEROS[..len]
        } else {
            disk.read_at(at, &mut buffer[..len])?;
            &buffer[..len]
        };
        hash.update(piece);
        out.write_all(piece)?;
        at += len as u64;
    }
    let Pieces { filled, take } = out.finish()?;
    if !filled.is_empty() {
        take(filled)?;
    }
    Ok(Packed { size_bytes, digest: hash.finalize().into() })
}

/// Collects bytes into pieces of one size.
struct Pieces<'a> {
    filled: Vec<u8>,
    take: &'a mut dyn FnMut(Vec<u8>) -> io::Result<()>,
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.filled.len() == PART_BYTES {
            (self.take)(std::mem::take(&mut self.filled))?;
        }
        let len = bytes.len().min(PART_BYTES - self.filled.len());
        self.filled.extend_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
