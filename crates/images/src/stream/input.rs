//! A source read from its start to its end.

use std::io::{self, BufRead, Read};

use super::PIECE;
use crate::work::Work;
use crate::{ImageError, Source};

pub(super) struct Input<'a> {
    source: &'a dyn Source,
    work: &'a Work<'a>,
    buf: Vec<u8>,
    /// What of the buffer was not taken yet.
    from: usize,
    /// Where the buffer's end lies in the source.
    end: u64,
    /// Why reading ended early; the decoder only sees that it did.
    pub(super) failed: Option<ImageError>,
}

impl<'a> Input<'a> {
    pub(super) fn new(source: &'a dyn Source, work: &'a Work<'a>) -> Self {
        Self { source, work, buf: Vec::new(), from: 0, end: 0, failed: None }
    }

    /// How many bytes were taken.
    pub(super) fn at(&self) -> u64 {
        self.end - (self.buf.len() - self.from) as u64
    }

    fn refill(&mut self) -> Result<(), ImageError> {
        self.work.tick(self.end)?;
        let left = self.source.len().saturating_sub(self.end);
        self.buf.resize(usize::try_from(left).unwrap_or(PIECE).min(PIECE), 0);
        self.source.read_at(self.end, &mut self.buf)?;
        self.end += self.buf.len() as u64;
        self.from = 0;
        Ok(())
    }
}

impl BufRead for Input<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.from == self.buf.len()
            && let Err(error) = self.refill()
        {
            self.buf.clear();
            self.from = 0;
            self.failed.get_or_insert(error);
            return Err(io::Error::other("the input failed"));
        }
        Ok(&self.buf[self.from..])
    }

    fn consume(&mut self, len: usize) {
        self.from = (self.from + len).min(self.buf.len());
    }
}

impl Read for Input<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let len = piece.len().min(out.len());
        out[..len].copy_from_slice(&piece[..len]);
        self.consume(len);
        Ok(len)
    }
}
