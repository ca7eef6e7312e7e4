//! Storing a content that comes in ascending order.

use std::sync::Arc;

use crate::{
    BlocksError, Domain, Result, Sealed,
    cut::{BLOCK, REGION, is_zero},
    session::Session,
    store::Inner,
};

/// A content being stored. What is not written is zero. Dropped without `finish` it leaves only
/// chunks that the next collection removes.
#[derive(Debug)]
pub struct Ingest {
    session: Session,
    size: u64,
    /// Where the next byte goes.
    at: u64,
    /// The start of a block not complete yet.
    partial: Vec<u8>,
    in_region: bool,
}

impl Ingest {
    pub(crate) fn new(store: &Arc<Inner>, domain: Domain, size: u64) -> Self {
        Self {
            session: Session::new(store, domain, None, u64::MAX),
            size,
            at: 0,
            partial: Vec::with_capacity(BLOCK),
            in_region: false,
        }
    }

    /// Takes `bytes` at `offset`, which is not below the end of what was written before. What is
    /// between is zero. Large writes (64 KiB and more) are cheapest. After an error the ingest is
    /// of no more use.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let (at, size) = (self.at, self.size);
        let range = offset..offset.saturating_add(bytes.len() as u64);
        if offset < at {
            return Err(BlocksError::OutOfOrder { offset, at });
        }
        if range.end > size {
            return Err(BlocksError::OutOfRange { range, size });
        }
        self.skip_to(offset)?;
        self.take(bytes)
    }

    /// The offset after the last byte written.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Completes the content and makes it durable.
    pub fn finish(mut self) -> Result<Sealed> {
        if !self.partial.is_empty() {
            let rest = BLOCK - self.partial.len();
            self.take(&[0; BLOCK][..rest])?;
        }
        self.session.step(Session::end_region)?;
        self.session.seen_bytes = self.size;
        self.session.finish(self.size)
    }

    fn skip_to(&mut self, offset: u64) -> Result<()> {
        while self.at < offset {
            let gap = offset - self.at;
            let in_block = self.at % BLOCK as u64;
            if in_block == 0 && self.at / REGION != offset / REGION {
                // The rest of the region is a hole, and so are those up to the offset's.
                self.session.step(Session::end_region)?;
                self.in_region = false;
                self.at = offset / REGION * REGION;
            } else if in_block == 0 && gap >= BLOCK as u64 {
                self.block_done(None)?;
            } else {
                let step = (BLOCK as u64 - in_block).min(gap);
                self.take(&[0; BLOCK][..usize::try_from(step).unwrap_or(BLOCK)])?;
            }
        }
        Ok(())
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<()> {
        if !self.partial.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK - self.partial.len()));
            self.partial.extend_from_slice(now);
            self.at += now.len() as u64;
            if self.partial.len() < BLOCK {
                return Ok(());
            }
            let block = std::mem::take(&mut self.partial);
            self.at -= BLOCK as u64;
            self.block_done(Some(&block))?;
            self.partial = block;
            self.partial.clear();
            bytes = rest;
        }
        let mut blocks = bytes.chunks_exact(BLOCK);
        for block in &mut blocks {
            self.block_done(Some(block))?;
        }
        self.partial.extend_from_slice(blocks.remainder());
        self.at += blocks.remainder().len() as u64;
        Ok(())
    }

    /// Takes the whole block at `self.at`.
    fn block_done(&mut self, block: Option<&[u8]>) -> Result<()> {
        let (region, within) = (self.at / REGION, self.at % REGION / BLOCK as u64);
        let within = u16::try_from(within).expect("4,096 blocks a region");
        if within == 0 {
            self.in_region = false;
        }
        let begin = !std::mem::replace(&mut self.in_region, true);
        self.at += BLOCK as u64;
        let ends = self.at.is_multiple_of(REGION);
        self.session.step(|session| {
            if begin {
                session.begin_region(region)?;
            }
            match block {
                Some(block) if !is_zero(block) => session.data(within, block)?,
                _ => session.zero()?,
            }
            if ends { session.end_region() } else { Ok(()) }
        })
    }
}
