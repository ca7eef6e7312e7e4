//! A block: some rows in key order, as they lie in sled.
//!
//! Rows, then where each begins (u32 each), then how many (u32). A row is
//! key length (u16), value length (u32), key, value.

use super::damaged;
use crate::StoreError;

/// The length that says that the key was removed.
const REMOVED: u32 = u32::MAX;
const ROW_HEAD: usize = 6;

/// A row of a block: its value, or `None` for a removal.
pub(super) type Entry<'a> = (&'a [u8], Option<&'a [u8]>);

/// A block being filled.
#[derive(Debug, Default)]
pub(super) struct Builder {
    bytes: Vec<u8>,
    starts: Vec<u32>,
}

impl Builder {
    pub(super) fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.starts.push(len32(self.bytes.len()));
        self.bytes.extend_from_slice(&len32(key.len()).to_le_bytes()[..2]);
        let len = value.map_or(REMOVED, |value| len32(value.len()));
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The whole block; to be cleared before it is filled again.
    pub(super) fn seal(&mut self) -> &[u8] {
        for start in &self.starts {
            self.bytes.extend_from_slice(&start.to_le_bytes());
        }
        self.bytes.extend_from_slice(&len32(self.starts.len()).to_le_bytes());
        &self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.starts.clear();
    }
}

/// A block whose checksum was right. Whatever else it says is still looked at
/// with care.
#[derive(Debug, Clone)]
pub(super) struct Block {
    bytes: sled::IVec,
    rows: usize,
}

impl Block {
    pub(super) fn new(bytes: sled::IVec) -> Result<Self, StoreError> {
        let rows = bytes.last_chunk::<4>().map(|n| u32::from_le_bytes(*n) as usize);
        let rows = rows.filter(|rows| *rows > 0 && rows.saturating_mul(4) + 4 <= bytes.len());
        Ok(Self { rows: rows.ok_or_else(damaged)?, bytes })
    }

    pub(super) fn len(&self) -> usize {
        self.rows
    }

    pub(super) fn entry(&self, at: usize) -> Result<Entry<'_>, StoreError> {
        self.read(at).ok_or_else(damaged)
    }

    /// How many rows lie before the first one that `before` does not hold for.
    pub(super) fn seek(&self, before: impl Fn(&[u8]) -> bool) -> Result<usize, StoreError> {
        let (mut low, mut high) = (0, self.rows);
        while low < high {
            let middle = usize::midpoint(low, high);
            if before(self.entry(middle)?.0) { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    fn read(&self, at: usize) -> Option<Entry<'_>> {
        let ends = self.bytes.len() - 4 - self.rows * 4;
        let start = self.bytes.get(ends + at * 4..)?.first_chunk::<4>()?;
        let row = self.bytes.get(u32::from_le_bytes(*start) as usize..ends)?;
        let (head, rest) = row.split_first_chunk::<ROW_HEAD>()?;
        let (key, rest) =
            rest.split_at_checked(usize::from(u16::from_le_bytes([head[0], head[1]])))?;
        let len = u32::from_le_bytes([head[2], head[3], head[4], head[5]]);
        let value = if len == REMOVED { None } else { Some(rest.get(..len as usize)?) };
        Some((key, value))
    }
}

fn len32(len: usize) -> u32 {
    u32::try_from(len).expect("a block is bounded far below 4 GiB")
}
