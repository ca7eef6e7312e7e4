//! What ingest and edit share: blocks in, a tree out.
//!
//! The caller's thread cuts; workers hash, compress and append batches; the entries that come
//! back make leaves. Leaves are folded into the node above them each 256 regions, so memory does
//! not grow with the content.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
};

use crate::{
    BlocksError, ChunkId, Domain, Pin, Result, Root,
    cut::{BLOCK, Cutter},
    fold::{Base, Change, Fold},
    id::Keys,
    node::{Entry, Node},
    store::Inner,
    work::{self, BATCH, Batch, Done, Piece},
};

/// Batches under way at most, so that a session holds less than 48 MiB on any machine.
const UNDER_WAY: usize = 24;

/// A content that is stored and durable.
#[derive(Debug, Clone)]
pub struct Sealed {
    pub root: Root,
    pub size_bytes: u64,
    /// Bytes of the chunks that were not in the store before, before compression.
    pub new_bytes: u64,
    /// Bytes of the chunks that were.
    pub known_bytes: u64,
    /// Bytes found to be holes. An edit counts only what it looked at, here and above.
    pub zero_bytes: u64,
    /// Bytes appended to packs, nodes of the tree included.
    pub stored_bytes: u64,
    /// Keeps the content from being collected; drop it when the root is recorded where the
    /// root lists given to `collect` come from.
    pub pin: Pin,
}

#[derive(Debug)]
pub(crate) struct Session {
    store: Arc<Inner>,
    keys: Keys,
    cutter: Cutter,
    batch: Batch,
    /// First byte of the open chunk within the batch.
    open_at: usize,
    /// First block of the open chunk within the region.
    open_start: u16,
    region: u64,
    /// The regions seen of the current group of 256.
    regions: BTreeMap<u64, Vec<Entry>>,
    /// Level-1 nodes of groups that are complete.
    groups: Vec<Change>,
    base: Option<Base>,
    limit: u64,
    results: (Sender<Result<Done>>, Receiver<Result<Done>>),
    under_way: usize,
    spare: Vec<Vec<u8>>,
    failed: bool,
    pub(crate) seen_bytes: u64,
    total: Done,
    /// Last, so that what is under way is dropped before it.
    _pin: Pin,
}

impl Session {
    /// A session over `base`, whose regions from `limit` on are cut off.
    pub(crate) fn new(store: &Arc<Inner>, domain: Domain, base: Option<Base>, limit: u64) -> Self {
        Self {
            _pin: store.pins.session(),
            store: store.clone(),
            keys: Keys::new(domain),
            cutter: Cutter::default(),
            batch: Batch::default(),
            open_at: 0,
            open_start: 0,
            region: 0,
            regions: BTreeMap::new(),
            groups: Vec::new(),
            base,
            limit,
            results: channel(),
            under_way: 0,
            spare: Vec::new(),
            failed: false,
            seen_bytes: 0,
            total: Done::default(),
        }
    }

    /// Runs a step; after a failed one the session is of no more use.
    pub(crate) fn step<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.failed {
            return Err(BlocksError::SessionFailed);
        }
        let result = step(self);
        self.failed = result.is_err();
        result
    }

    /// Turns to a region; regions come in ascending order, each once, and are cut anew.
    pub(crate) fn begin_region(&mut self, region: u64) -> Result<()> {
        if region >> 8 != self.region >> 8 {
            self.fold_group()?;
        }
        self.region = region;
        self.regions.entry(region).or_default();
        Ok(())
    }

    pub(crate) fn at_rest(&self) -> bool {
        self.cutter.at_rest()
    }

    /// Takes over a chunk of the base as it is.
    pub(crate) fn keep(&mut self, entry: Entry) {
        self.regions.entry(self.region).or_default().push(entry);
    }

    /// Takes block `at` of the region, which is zero.
    pub(crate) fn zero(&mut self) -> Result<()> {
        if self.cutter.zero() { self.cut() } else { Ok(()) }
    }

    /// Takes block `at` of the region, which is not zero.
    pub(crate) fn data(&mut self, at: u16, block: &[u8]) -> Result<()> {
        let begins = self.cutter.at_rest();
        let step = self.cutter.data(block);
        if step.cut_before {
            self.cut()?;
        }
        if begins || step.cut_before {
            self.open_start = at;
            self.open_at = self.batch.bytes.len();
        }
        let held = self.batch.bytes.len() + usize::from(step.zeros) * BLOCK;
        self.batch.bytes.resize(held, 0);
        self.batch.bytes.extend_from_slice(block);
        if step.cut_after { self.cut() } else { Ok(()) }
    }

    /// Takes a chunk that was cut elsewhere, from block `start` of the region.
    pub(crate) fn chunk(&mut self, start: u16, bytes: &[u8]) -> Result<()> {
        (self.open_start, self.open_at) = (start, self.batch.bytes.len());
        self.batch.bytes.extend_from_slice(bytes);
        self.cut()
    }

    pub(crate) fn end_region(&mut self) -> Result<()> {
        if self.cutter.end() { self.cut() } else { Ok(()) }
    }

    /// The open chunk is complete.
    fn cut(&mut self) -> Result<()> {
        let (region, start, at) = (self.region, self.open_start, self.open_at);
        let blocks = u8::try_from((self.batch.bytes.len() - at) / BLOCK).expect("at most 64");
        self.batch.pieces.push(Piece { region, start, blocks, at });
        if self.batch.bytes.len() >= BATCH { self.dispatch() } else { Ok(()) }
    }

    fn dispatch(&mut self) -> Result<()> {
        if self.batch.pieces.is_empty() {
            return Ok(());
        }
        self.make_room()?;
        let mut next = Batch { bytes: self.spare.pop().unwrap_or_default(), pieces: Vec::new() };
        next.bytes.reserve(BATCH + crate::pack::MAX_CHUNK);
        let batch = std::mem::replace(&mut self.batch, next);
        self.submit(move |store, keys| work::take(store, keys, batch));
        Ok(())
    }

    /// Has a worker make chunks of the region turned to.
    pub(crate) fn hand_out(
        &mut self,
        work: impl FnOnce(&Inner, &Keys) -> Result<Done> + Send + 'static,
    ) -> Result<()> {
        self.make_room()?;
        self.submit(work);
        Ok(())
    }

    /// Takes in what is done, and waits while as much is under way as may be.
    fn make_room(&mut self) -> Result<()> {
        while let Ok(done) = self.results.1.try_recv() {
            self.collect(done)?;
        }
        while self.under_way >= UNDER_WAY.min(self.store.pool.size * 2 + 2) {
            self.wait()?;
        }
        Ok(())
    }

    fn submit(&mut self, work: impl FnOnce(&Inner, &Keys) -> Result<Done> + Send + 'static) {
        let (store, keys, results) =
            (self.store.clone(), self.keys.clone(), self.results.0.clone());
        self.under_way += 1;
        self.store.pool.submit(move || {
            let done = catch_unwind(AssertUnwindSafe(|| work(&store, &keys)));
            drop(store);
            // Nobody listens if the session was dropped.
            let _ = results.send(done.unwrap_or(Err(BlocksError::Worker)));
        });
    }

    fn wait(&mut self) -> Result<()> {
        let done = self.results.1.recv().map_err(|_| BlocksError::Worker)?;
        self.collect(done)
    }

    fn collect(&mut self, done: Result<Done>) -> Result<()> {
        self.under_way -= 1;
        let mut done = done?;
        self.total.new_bytes += done.new_bytes;
        self.total.known_bytes += done.known_bytes;
        self.total.stored_bytes += done.stored_bytes;
        for (region, entry) in done.entries.drain(..) {
            self.regions.entry(region).or_default().push(entry);
        }
        if done.bytes.capacity() > 0 {
            self.spare.push(done.bytes);
        }
        Ok(())
    }

    /// Makes the leaves of the current group and the node above them.
    fn fold_group(&mut self) -> Result<()> {
        self.dispatch()?;
        while self.under_way > 0 {
            self.wait()?;
        }
        let mut leaves = Vec::with_capacity(self.regions.len());
        for (region, mut entries) in std::mem::take(&mut self.regions) {
            entries.sort_unstable_by_key(|entry| entry.start);
            let node = if entries.is_empty() { None } else { Some(Node::Leaf(entries)) };
            let id = node.map(|node| self.put(&node)).transpose()?;
            leaves.push(Change { at: region, node: id });
        }
        if let Some(first) = leaves.first() {
            let at = first.at >> 8 << 8;
            let node = self.fold(0, |fold| fold.group(at, &leaves))?;
            self.groups.push(Change { at, node });
        }
        Ok(())
    }

    fn put(&mut self, node: &Node) -> Result<ChunkId> {
        let (id, stored) = self.store.put_node(&self.keys, node)?;
        self.total.stored_bytes += stored;
        Ok(id)
    }

    fn fold<T>(&mut self, floor: u8, fold: impl FnOnce(&mut Fold<'_>) -> Result<T>) -> Result<T> {
        let (store, keys) = (&*self.store, &self.keys);
        let mut folding =
            Fold { store, keys, base: self.base, floor, limit: self.limit, stored: 0 };
        let result = fold(&mut folding);
        self.total.stored_bytes += folding.stored;
        result
    }

    pub(crate) fn finish(mut self, size_bytes: u64) -> Result<Sealed> {
        self.step(|session| {
            session.fold_group()?;
            let groups = std::mem::take(&mut session.groups);
            let root = Root::of(session.fold(1, |fold| fold.tree(&groups))?);
            session.store.writer.sync()?;
            let Done { new_bytes, known_bytes, stored_bytes, .. } = session.total;
            let zero_bytes = session.seen_bytes.saturating_sub(new_bytes + known_bytes);
            let pin = session.store.pins.root(session.keys.domain, root);
            let sealed =
                Sealed { root, size_bytes, new_bytes, known_bytes, zero_bytes, stored_bytes, pin };
            Ok(sealed)
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What is under way still writes: the store may be closed only after it.
        while self.under_way > 0 && self.results.1.recv().is_ok() {
            self.under_way -= 1;
        }
    }
}
