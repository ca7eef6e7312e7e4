//! Writing: data in place where the top layer has the block, else a whole new block.

use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;

use super::{Extent, Stack, Volume};
use crate::BLOCK;
use crate::layer::Layer;
use crate::map::State;

const BLOCK_LEN: usize = 4096;
type Block = Box<[u8; BLOCK_LEN]>;

impl Volume {
    /// Writes `buf` at `offset`. It survives this process's death once it returns, and a power
    /// cut after the next [`Volume::flush`].
    ///
    /// Errors: `InvalidInput` outside the volume; `StorageFull`, after which the volume is as it
    /// was and goes on.
    pub fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.check_failed()?;
        let _shared = self.gate.read();
        let stack = self.stack();
        stack.check(offset, buf.len() as u64)?;
        if buf.is_empty() {
            return Ok(());
        }
        self.put(&stack, offset, buf)
    }

    /// Makes a range read zero, whatever the base says, without storing zeros.
    pub fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_failed()?;
        let _shared = self.gate.read();
        let stack = self.stack();
        stack.check(offset, len)?;
        if len == 0 {
            return Ok(());
        }
        let end = offset + len;
        let whole = offset.div_ceil(BLOCK)..end / BLOCK;
        // The disk's last block is whole even where the disk ends inside it.
        let whole = whole.start..if end == stack.size { end.div_ceil(BLOCK) } else { whole.end };
        if whole.start >= whole.end {
            return self.zero_edge(&stack, offset..end);
        }
        self.zero_edge(&stack, offset..whole.start * BLOCK)?;
        self.zero_edge(&stack, (whole.end * BLOCK).min(end)..end)?;
        let _change = self.change.lock();
        let mut at = whole.start;
        while at < whole.end {
            // What reads zero for want of anything below needs no record.
            let (extent, until) = stack.extent(at * BLOCK, (whole.end * BLOCK).min(stack.size))?;
            let until = if until >= stack.size { whole.end } else { until / BLOCK };
            match extent {
                Extent::Data => {
                    // A stretch of data may end inside a block; that block goes with it.
                    let until = until.max(at + 1);
                    stack.top()?.mark(at..until, State::Zero)?;
                    at = until;
                }
                Extent::Zero | Extent::Hole if until > at => at = until,
                Extent::Zero | Extent::Hole => {
                    stack.top()?.mark(at..at + 1, State::Zero)?;
                    at += 1;
                }
            }
        }
        self.wrote();
        Ok(())
    }

    /// Tells that a range is of no use any more: it reads zero from now on, and its space is
    /// given back where that is cheap.
    pub fn trim(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write_zeroes(offset, len)
    }

    fn zero_edge(&self, stack: &Stack, range: Range<u64>) -> io::Result<()> {
        let len = usize::try_from(range.end - range.start).unwrap_or(0);
        if len == 0 {
            return Ok(());
        }
        let (extent, end) = stack.extent(range.start, range.end)?;
        if extent != Extent::Data && end == range.end {
            return Ok(());
        }
        // An edge touches at most two blocks.
        self.put(stack, range.start, &[0; 2 * BLOCK_LEN][..len])
    }

    /// The caller holds the gate; the range lies inside the volume and is not empty.
    fn put(&self, stack: &Stack, offset: u64, buf: &[u8]) -> io::Result<()> {
        let top = stack.top()?;
        let end = offset + buf.len() as u64;
        let blocks = offset / BLOCK..end.div_ceil(BLOCK);
        if top.is_all_data(&blocks) {
            top.write_at(offset, buf)?;
            self.wrote();
            return Ok(());
        }
        // What lies below never changes, so it is read before the lock is taken.
        let first = Edge::of(stack, blocks.start, offset, end)?;
        let last = if blocks.end - blocks.start > 1 {
            Edge::of(stack, blocks.end - 1, offset, end)?
        } else {
            None
        };
        let _change = self.change.lock();
        top.ready()?;
        let mut whole = offset..end;
        if let Some(edge) = first {
            whole.start = edge.write(top, offset, buf)?;
        }
        if let Some(edge) = last {
            whole.end = edge.block * BLOCK;
            edge.write(top, offset, buf)?;
        }
        if whole.start < whole.end {
            top.write_at(whole.start, part(buf, offset, whole))?;
        }
        top.mark(blocks, State::Data)?;
        self.wrote();
        Ok(())
    }

    /// Comes after the write and before its acknowledgement.
    fn wrote(&self) {
        self.writes.fetch_add(1, Ordering::AcqRel);
    }
}

/// A block of which only `range` (in disk bytes) is written.
struct Edge {
    block: u64,
    range: Range<u64>,
    /// The block's bytes below the top layer, if the top layer had none.
    below: Option<Block>,
}

impl Edge {
    /// The edge that a write of `offset..end` leaves in `block`, if it does not cover it.
    fn of(stack: &Stack, block: u64, offset: u64, end: u64) -> io::Result<Option<Self>> {
        let start = block * BLOCK;
        let range = offset.max(start)..end.min(start + BLOCK);
        if range == (start..start + BLOCK) {
            return Ok(None);
        }
        let (state, _) = stack.top()?.run(block, block + 1);
        let below = if state == State::Absent {
            let mut bytes = Box::new([0; BLOCK_LEN]);
            let there = usize::try_from((stack.size - start).min(BLOCK)).unwrap_or(BLOCK_LEN);
            stack.read_at(start, &mut bytes[..there])?;
            Some(bytes)
        } else {
            None
        };
        Ok(Some(Self { block, range, below }))
    }

    /// Writes the edge's share of `buf`; returns where the block ends or the write does.
    fn write(self, top: &Layer, offset: u64, buf: &[u8]) -> io::Result<u64> {
        let Self { block, range, below } = self;
        let (from, to) = (range.start, range.end);
        let bytes = part(buf, offset, range);
        // Looked at again under the lock: another write may have brought the block meanwhile.
        let mut whole = match top.run(block, block + 1).0 {
            State::Data => {
                top.write_at(from, bytes)?;
                return Ok(to);
            }
            State::Zero => Box::new([0; BLOCK_LEN]),
            // Blocks never become absent again, so it was then and was read.
            State::Absent => below.ok_or(io::ErrorKind::InvalidData)?,
        };
        let at = usize::try_from(from - block * BLOCK).unwrap_or(0);
        whole[at..at + bytes.len()].copy_from_slice(bytes);
        top.write_at(block * BLOCK, &whole[..])?;
        Ok(to)
    }
}

/// The bytes of `buf`, which starts at disk offset `offset`, that belong to `range`.
fn part(buf: &[u8], offset: u64, range: Range<u64>) -> &[u8] {
    let at = |disk: u64| usize::try_from(disk - offset).unwrap_or(usize::MAX);
    &buf[at(range.start)..at(range.end)]
}
