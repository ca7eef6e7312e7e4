//! What lies under a volume's layers.

use std::io;

/// A stretch of a base: from an offset up to `end`, data or a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where the stretch ends; beyond the offset asked for.
    pub end: u64,
    /// False when every byte of it reads zero.
    pub data: bool,
}

/// Bytes that never change, read by several threads at once.
pub trait Base: Send + Sync {
    /// The size in bytes.
    fn size(&self) -> u64;

    /// Fills `buf` from `offset`; the range lies inside [`Base::size`].
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// What stands at `offset` (inside the size) and how far. A base that knows no holes says
    /// that all of it is data.
    fn span(&self, offset: u64) -> io::Result<Span> {
        let _ = offset;
        Ok(Span { end: self.size(), data: true })
    }
}

impl Base for vmint_blocks::Tree {
    fn size(&self) -> u64 {
        self.size_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        Self::read_at(self, offset, buf).map_err(io::Error::from)
    }

    fn span(&self, offset: u64) -> io::Result<Span> {
        // A long stretch of data costs a node for each 16 MiB of it: look this far at a time.
        let end = Base::size(self).min(offset + (1 << 30));
        match self.extents(offset..end).next() {
            None => Ok(Span { end, data: false }),
            Some(extent) => {
                let (range, kind) = extent.map_err(io::Error::from)?;
                Ok(Span { end: range.end, data: kind == vmint_blocks::ExtentKind::Data })
            }
        }
    }
}
