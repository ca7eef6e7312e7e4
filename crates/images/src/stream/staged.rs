//! What a stream unfolds to, within its budget; zeros take no space.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::PIECE;
use crate::ImageError;
use crate::work::Work;

const BLOCK: usize = 4096;
/// What a container may add to the disk in it: headers and tables.
const AROUND: u64 = 64 << 20;

pub(super) struct Staged<'a> {
    file: File,
    work: &'a Work<'a>,
    buf: Vec<u8>,
    /// Where the buffer goes; a multiple of its size.
    at: u64,
    /// Bytes that are no holes.
    data: u64,
    /// Why writing ended early; the decoder's error only says that it did.
    pub(super) failed: Option<ImageError>,
}

impl<'a> Staged<'a> {
    pub(super) fn new(file: File, work: &'a Work<'a>) -> Self {
        Self { file, work, buf: Vec::with_capacity(PIECE), at: 0, data: 0, failed: None }
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = (PIECE - self.buf.len()).min(bytes.len());
            self.buf.extend_from_slice(&bytes[..room]);
            bytes = &bytes[room..];
            if self.buf.len() == PIECE
                && let Err(error) = self.flush()
            {
                self.failed.get_or_insert(error);
                return Err(io::Error::other("the output failed"));
            }
        }
        Ok(())
    }

    /// The whole output.
    pub(super) fn finish(mut self) -> Result<File, ImageError> {
        self.flush()?;
        self.file.set_len(self.at)?;
        Ok(self.file)
    }

    fn flush(&mut self) -> Result<(), ImageError> {
        self.work.again()?;
        let limits = self.work.limits;
        let (start, size) = (self.at, self.at + self.buf.len() as u64);
        let limit = limits.virtual_limit();
        if size > limit.saturating_add(AROUND) {
            return Err(ImageError::TooLarge { size, limit });
        }
        for (index, block) in self.buf.chunks(BLOCK).enumerate() {
            if block.iter().all(|byte| *byte == 0) {
                continue;
            }
            self.data += block.len() as u64;
            if self.data > limits.max_data.saturating_add(AROUND) {
                return Err(ImageError::TooMuchData { limit: limits.max_data });
            }
            self.file.write_all_at(block, start + (index * BLOCK) as u64)?;
        }
        self.at = size;
        self.buf.clear();
        Ok(())
    }
}
