//! Storing a content that can be read at any place: each region is read, cut, hashed and
//! compressed by one worker, piece by piece, so that all cores read and no byte is copied on its
//! way from the reader's buffer to the hash.

use std::{cell::RefCell, fmt, io, ops::Range, sync::Arc};

use crate::{
    BlockStore, BlocksError, Domain, Result, Sealed,
    cut::{BLOCK, Cutter, REGION, ZERO_RUN, is_zero},
    id::Keys,
    session::Session,
    store::{Inner, check_size},
    work::{self, Done, Piece},
};

/// Bytes read at a time: about what a core's own cache holds.
const READ: usize = 512 << 10;

/// Fills a buffer from an offset; called by several threads at once.
pub type Reader = dyn Fn(u64, &mut [u8]) -> io::Result<()> + Send + Sync;

impl BlockStore {
    /// Stores a content of `size_bytes` and makes it durable. `extents` are the ranges that may
    /// hold something other than zeros, ascending and apart; `read` reads all within the size, also
    /// around them. `going_on` hears the offset up to which the work was handed out; `false` ends
    /// it with [`BlocksError::Source`] of [`io::ErrorKind::Interrupted`].
    #[allow(clippy::needless_pass_by_value, reason = "it is made for this call")]
    pub fn ingest_from(
        &self,
        domain: Domain,
        size_bytes: u64,
        extents: impl IntoIterator<Item = io::Result<Range<u64>>>,
        read: Arc<Reader>,
        going_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Sealed> {
        check_size(size_bytes)?;
        let mut session = Session::new(&self.0, domain, None, u64::MAX);
        let mut open = Part { region: 0, ranges: Vec::new(), size: size_bytes };
        for extent in extents {
            let extent = extent.map_err(BlocksError::Source)?;
            if extent.end > size_bytes {
                return Err(BlocksError::OutOfRange { range: extent, size: size_bytes });
            }
            let mut at = extent.start;
            while at < extent.end {
                let region = at / REGION;
                if region < open.region {
                    let before = (open.region) * REGION;
                    return Err(BlocksError::OutOfOrder { offset: at, at: before });
                }
                if region > open.region {
                    let next = Part { region, ranges: Vec::new(), size: size_bytes };
                    hand_out(&mut session, std::mem::replace(&mut open, next), &read)?;
                    if !going_on(region * REGION) {
                        return Err(BlocksError::Source(io::ErrorKind::Interrupted.into()));
                    }
                }
                let end = extent.end.min((region + 1) * REGION);
                open.add(at..end)?;
                at = end;
            }
        }
        hand_out(&mut session, open, &read)?;
        session.seen_bytes = size_bytes;
        let sealed = session.finish(size_bytes)?;
        going_on(size_bytes);
        Ok(sealed)
    }
}

fn hand_out(session: &mut Session, part: Part, read: &Arc<Reader>) -> Result<()> {
    if part.ranges.is_empty() {
        return Ok(());
    }
    let read = read.clone();
    session.step(|session| {
        session.begin_region(part.region)?;
        session.hand_out(move |store, keys| part.store(store, keys, &*read))
    })
}

/// One region of a content and where it has data.
struct Part {
    region: u64,
    /// Blocks of the region, ascending and apart.
    ranges: Vec<Range<u16>>,
    size: u64,
}

impl Part {
    fn add(&mut self, range: Range<u64>) -> Result<()> {
        let base = self.region * REGION;
        let block = |at: u64| u16::try_from(at).expect("4,096 blocks a region");
        let start = block((range.start - base) / BLOCK as u64);
        let end = block((range.end - base).div_ceil(BLOCK as u64));
        match self.ranges.last_mut() {
            // Two extents may share a block.
            Some(last) if start < last.end && end <= last.start => {
                return Err(BlocksError::OutOfOrder { offset: range.start, at: base });
            }
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ => self.ranges.push(start..end),
        }
        Ok(())
    }

    fn store(&self, store: &Inner, keys: &Keys, read: &Reader) -> Result<Done> {
        thread_local! {
            static BYTES: RefCell<Buffer> = const { RefCell::new(Buffer::new()) };
        }
        BYTES.with_borrow_mut(|bytes| {
            bytes.wipe();
            let mut cutting = Cutting { bytes, pieces: Vec::new(), open: None, at: 0 };
            let (mut cutter, mut done) = (Cutter::default(), Done::default());
            for range in &self.ranges {
                cutting.gap(self.region, &mut cutter, range.start);
                let mut next = range.start;
                while next < range.end {
                    let blocks = usize::from(range.end - next).min(READ / BLOCK);
                    self.fill(cutting.bytes, next, blocks, read)?;
                    let from = cutting.bytes.len - blocks * BLOCK;
                    for n in 0..blocks {
                        cutting.block(self.region, &mut cutter, from + n * BLOCK);
                    }
                    next += u16::try_from(blocks).expect("128 at most");
                    cutting.flush(store, keys, &mut done)?;
                }
            }
            if cutter.end() {
                cutting.close(self.region);
            }
            cutting.flush(store, keys, &mut done)?;
            Ok(done)
        })
    }

    /// Puts the next `blocks` from block `at` behind `bytes`; what lies behind the content's end
    /// is zero.
    fn fill(&self, bytes: &mut Buffer, at: u16, blocks: usize, read: &Reader) -> Result<()> {
        let offset = self.region * REGION + u64::from(at) * BLOCK as u64;
        let there = usize::try_from(self.size - offset).unwrap_or(usize::MAX);
        let room = bytes.grow(blocks * BLOCK);
        let (live, beyond) = room.split_at_mut(there.min(blocks * BLOCK));
        read(offset, live).map_err(BlocksError::Source)?;
        beyond.fill(0);
        Ok(())
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("region", &self.region).finish_non_exhaustive()
    }
}

/// Bytes that are read over one another, so that they stay in a core's own cache and are cleared
/// once, not before each read.
struct Buffer {
    bytes: Vec<u8>,
    /// What is held; behind it lies what was held before.
    len: usize,
}

impl Buffer {
    const fn new() -> Self {
        Self { bytes: Vec::new(), len: 0 }
    }

    /// Leaves nothing of another content for a reader that fills less than it was given.
    fn wipe(&mut self) {
        self.bytes.clear();
        self.len = 0;
    }

    /// Room behind what is held, with zeros or bytes of the same region in it.
    fn grow(&mut self, more: usize) -> &mut [u8] {
        let from = self.len;
        self.len += more;
        if self.bytes.len() < self.len {
            self.bytes.resize(self.len, 0);
        }
        &mut self.bytes[from..self.len]
    }

    fn held(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Lets go of all before `from`.
    fn keep(&mut self, from: usize) {
        self.bytes.copy_within(from..self.len, 0);
        self.len -= from;
    }
}

/// The chunk that is not complete yet.
struct Open {
    /// First block within the region.
    start: u16,
    /// First byte within the buffer.
    from: usize,
    blocks: u8,
}

/// Cuts what lies in a buffer, where it lies.
struct Cutting<'a> {
    bytes: &'a mut Buffer,
    pieces: Vec<Piece>,
    open: Option<Open>,
    /// The next block.
    at: u16,
}

impl Cutting<'_> {
    /// Goes over a hole up to block `to`: one that does not end the open chunk becomes zeros in it.
    fn gap(&mut self, region: u64, cutter: &mut Cutter, to: u16) {
        let hole = to - self.at;
        if self.open.is_some() {
            let zeros = hole.min(ZERO_RUN.into());
            for _ in 0..zeros {
                if cutter.zero() {
                    self.close(region);
                    break;
                }
                self.bytes.grow(BLOCK).fill(0);
            }
        }
        self.at = to;
    }

    /// Takes the block at byte `from` of the buffer.
    fn block(&mut self, region: u64, cutter: &mut Cutter, from: usize) {
        let block = &self.bytes.held()[from..from + BLOCK];
        if is_zero(block) {
            if cutter.zero() {
                self.close(region);
            }
        } else {
            let step = cutter.data(block);
            if step.cut_before {
                self.close(region);
            }
            let at = self.at;
            let open = self.open.get_or_insert(Open { start: at, from, blocks: 0 });
            open.blocks = u8::try_from(at - open.start + 1).expect("at most 64");
            if step.cut_after {
                self.close(region);
            }
        }
        self.at += 1;
    }

    fn close(&mut self, region: u64) {
        if let Some(Open { start, from, blocks }) = self.open.take() {
            self.pieces.push(Piece { region, start, blocks, at: from });
        }
    }

    /// Stores the chunks that are complete and keeps the bytes of the one that is not.
    fn flush(&mut self, store: &Inner, keys: &Keys, done: &mut Done) -> Result<()> {
        if !self.pieces.is_empty() {
            work::process(store, keys, self.bytes.held(), &self.pieces, done)?;
            self.pieces.clear();
        }
        self.bytes.keep(self.open.as_ref().map_or(self.bytes.len, |open| open.from));
        if let Some(open) = &mut self.open {
            open.from = 0;
        }
        Ok(())
    }
}
