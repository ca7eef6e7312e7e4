//! Storing a content that differs from another one in known places.

use std::{io, ops::Range};

use crate::{
    BlockStore, BlocksError, Result, Sealed, Tree,
    cut::{BLOCK, REGION, REGION_BLOCKS, ZERO_RUN, is_zero},
    node::Entry,
    session::Session,
    store::check_size,
    tree::entries,
};

/// Bytes read ahead while cutting.
const READ: usize = 64 << 10;

/// Gives the new bytes of a part of a dirty range.
pub type Source<'a> = dyn FnMut(Range<u64>, &mut [u8]) -> io::Result<()> + 'a;

impl BlockStore {
    /// Stores the content that is `base` except in the `dirty` ranges, whose bytes come from
    /// `read` (called with parts of them, and with some perhaps twice). The result's root is the one an ingest of
    /// the whole content would give; its domain is the base's. Costs what is dirty and the chunks
    /// around it: everything else is taken over unread.
    ///
    /// Beyond the base's size the content is zero where it is not dirty; what lies beyond
    /// `new_size` is dropped.
    pub fn edit(
        &self,
        base: &Tree,
        new_size: u64,
        dirty: &[Range<u64>],
        read: &mut Source<'_>,
    ) -> Result<Sealed> {
        check_size(new_size)?;
        if !base.shares_store(&self.0) {
            return Err(BlocksError::OtherStore);
        }
        let mut ranges = normalise(dirty, new_size);
        if new_size < base.size_bytes() && !new_size.is_multiple_of(REGION) {
            // What is cut off must become zero in the last region that stays.
            let end = new_size.next_multiple_of(REGION).min(base.size_bytes());
            ranges.push(new_size..end.next_multiple_of(BLOCK as u64));
        }
        let limit = new_size.div_ceil(REGION);
        let session = Session::new(&self.0, base.domain(), base.base()?, limit);
        let mut edit = Edit { base, ranges: &ranges, new_size, read, session };
        let mut next = 0;
        for range in &ranges {
            for region in next.max(range.start / REGION)..range.end.div_ceil(REGION) {
                edit.region(region)?;
                next = region + 1;
            }
        }
        edit.session.finish(new_size)
    }
}

/// Sorted, not overlapping, not empty, within the size.
fn normalise(dirty: &[Range<u64>], size: u64) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = dirty
        .iter()
        .map(|range| range.start..range.end.min(size))
        .filter(|range| range.start < range.end)
        .collect();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

struct Edit<'a, 'r> {
    base: &'a Tree,
    ranges: &'a [Range<u64>],
    new_size: u64,
    read: &'a mut Source<'r>,
    session: Session,
}

impl Edit<'_, '_> {
    /// Cuts one region anew where it is dirty and takes over the chunks of the base elsewhere.
    fn region(&mut self, region: u64) -> Result<()> {
        self.session.step(|session| session.begin_region(region))?;
        let leaf = self.base.leaf(region)?;
        let old = leaf.as_deref().map_or(&[][..], entries);
        // Up to here the region is done; cutting may begin anew here.
        let mut at = 0;
        let mut next = 0;
        while at < REGION_BLOCKS {
            let dirty = self.next_dirty(region, at);
            // A chunk also depends on the zeros after it that ended it.
            let safe = |entry: &&Entry| {
                dirty.is_none_or(|dirty| entry.end() + u16::from(ZERO_RUN) <= dirty)
            };
            while let Some(entry) = old.get(next).filter(|entry| entry.start < at || safe(entry)) {
                if entry.start >= at {
                    self.session.keep(*entry);
                }
                next += 1;
            }
            let Some(dirty) = dirty else { break };
            let start = old.get(next).map_or(dirty, |entry| entry.start.min(dirty));
            at = self.cut(region, start, old)?;
        }
        Ok(())
    }

    /// The first dirty block of the region from `block` on.
    fn next_dirty(&self, region: u64, block: u16) -> Option<u16> {
        let base = region * REGION;
        let at = base + u64::from(block) * BLOCK as u64;
        let next = self.ranges.partition_point(|range| range.end <= at);
        let range = self.ranges.get(next).filter(|range| range.start < base + REGION)?;
        u16::try_from((range.start.max(at) - base) / BLOCK as u64).ok()
    }

    /// Cuts from block `at` until a cut falls where the base's chunks can be taken over; returns
    /// that block.
    fn cut(&mut self, region: u64, mut at: u16, old: &[Entry]) -> Result<u16> {
        let mut bytes = vec![0; READ];
        while at < REGION_BLOCKS {
            let blocks = usize::from(REGION_BLOCKS - at).min(READ / BLOCK);
            let bytes = &mut bytes[..blocks * BLOCK];
            self.content(region * REGION + u64::from(at) * BLOCK as u64, bytes)?;
            for block in bytes.chunks_exact(BLOCK) {
                self.session.step(|session| {
                    session.seen_bytes += BLOCK as u64;
                    if is_zero(block) { session.zero() } else { session.data(at, block) }
                })?;
                at += 1;
                // Inside an old chunk the old cutter was not at rest.
                let next = old.partition_point(|entry| entry.end() <= at);
                let inside = old.get(next).is_some_and(|entry| entry.start < at);
                if self.session.at_rest() && !inside && self.next_dirty(region, at) != Some(at) {
                    return Ok(at);
                }
            }
        }
        self.session.step(Session::end_region)?;
        Ok(at)
    }

    /// The new content from `offset`.
    fn content(&mut self, offset: u64, out: &mut [u8]) -> Result<()> {
        let end = offset + out.len() as u64;
        // All offsets below lie within `out`.
        #[allow(clippy::cast_possible_truncation)]
        let within =
            |range: &Range<u64>| (range.start - offset) as usize..(range.end - offset) as usize;
        let live = offset..end.min(self.new_size).max(offset);
        let old_end = self.base.size_bytes().clamp(live.start, live.end);
        let first = self.ranges.partition_point(|range| range.end <= live.start);
        let dirty = self.ranges[first..].iter().take_while(|range| range.start < live.end);
        let mut at = live.start;
        let clean = |at: u64, to: u64, out: &mut [u8]| -> Result<()> {
            let middle = to.min(old_end).max(at);
            if at < middle {
                self.base.read_at(at, &mut out[within(&(at..middle))])?;
            }
            out[within(&(middle..to))].fill(0);
            Ok(())
        };
        for range in dirty {
            let range = range.start.max(at)..range.end.min(live.end);
            if range.is_empty() {
                continue;
            }
            clean(at, range.start, out)?;
            (self.read)(range.clone(), &mut out[within(&range)]).map_err(BlocksError::Source)?;
            at = range.end;
        }
        clean(at, live.end, out)?;
        out[within(&(live.end..end))].fill(0);
        Ok(())
    }
}
