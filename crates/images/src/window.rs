//! A part of a source as a source of its own.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::Source;

/// Bytes `range` of a source, which lie inside it.
#[derive(Clone)]
pub(crate) struct Window {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) range: Range<u64>,
}

impl Source for Window {
    fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > self.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.source.read_at(self.range.start + offset, buf)
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let Range { start, end } = self.range;
        let next = self.source.next_data(start.saturating_add(from))?;
        let next = next.filter(|next| next.start < end);
        Ok(next.map(|next| next.start - start..next.end.min(end) - start))
    }
}
