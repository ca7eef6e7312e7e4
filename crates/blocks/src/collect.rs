//! Collecting what no root needs: mark from the roots, sweep whole packs, empty the trash.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::Ordering,
    time::Duration,
};

use parking_lot::MutexGuard;

use crate::{
    BlockStore, BlocksError, ChunkId, Domain, Result, Root,
    cache::Value,
    id::{Keys, Kind},
    index::{Loc, Prefix},
    node::Node,
    pack::{FOOTER_ENTRY, PACK_OVERHEAD, Record, unreadable},
    store::Inner,
};

/// A pack is compacted when so much of it is dead, percent.
const DEAD_PERCENT: u64 = 20;
/// Or when more than this part of all dead bytes, percent, would stay otherwise …
const LEFT_PERCENT: u64 = 4;
/// … and that is more than this part of the store, percent.
const WORTH_PERCENT: u64 = 1;
/// Live records copied at a time, so at most 4 MiB.
const CHUNKS_AT_ONCE: usize = 16;
/// Packs whose records are listed at a time.
const PACKS_AT_ONCE: usize = 256;

/// What a collection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CollectReport {
    /// Roots marked, those held by pins included.
    pub roots: u64,
    pub live_chunks: u64,
    pub dead_chunks: u64,
    /// Bytes of dead records found in packs, headers included.
    pub dead_bytes: u64,
    /// Packs moved to the trash, and their bytes.
    pub retired_packs: u64,
    pub retired_bytes: u64,
    /// Bytes of live records copied out of them.
    pub moved_bytes: u64,
    /// Packs deleted from the trash, and their bytes.
    pub deleted_packs: u64,
    pub deleted_bytes: u64,
    /// Chunks a root needs that are damaged or missing.
    pub lost_chunks: u64,
    /// Chunks a root needs that were only in the trash, and are back.
    pub rescued_chunks: u64,
}

/// A collection that has begun: what sessions touch from now on stays.
#[derive(Debug)]
pub struct Collection<'a> {
    store: &'a Inner,
    _turn: MutexGuard<'a, ()>,
    epoch: u32,
    /// What was touched before this epoch and is not marked is dead.
    threshold: u32,
    report: CollectReport,
    nodes: HashSet<ChunkId>,
}

impl BlockStore {
    /// Begins a collection. List the roots after this call: a root recorded before its `Sealed`
    /// was dropped is then either in the list or still pinned. Waits for a collection under way.
    #[must_use]
    pub fn begin_collect(&self) -> Collection<'_> {
        let store = &*self.0;
        let turn = store.collecting.lock();
        let (epoch, threshold) = store.pins.advance();
        let (report, nodes) = (CollectReport::default(), HashSet::new());
        Collection { store, _turn: turn, epoch, threshold, report, nodes }
    }

    /// Collects in one call. `roots` must be lazy (read its list when iterated, not before);
    /// otherwise use [`BlockStore::begin_collect`]. `grace` is how long packs stay in the trash;
    /// without it the store's option decides. The sizes are not used.
    pub fn collect(
        &self,
        roots: impl IntoIterator<Item = (Domain, Root, u64)>,
        grace: Option<Duration>,
    ) -> Result<CollectReport> {
        self.begin_collect().sweep(roots, grace)
    }
}

impl Drop for Collection<'_> {
    fn drop(&mut self) {
        // One that ends early must not leave the pins remembering.
        self.store.pins.seen();
    }
}

impl Collection<'_> {
    /// Marks what `roots` and pins need, retires the packs of what is dead, and deletes what was
    /// in the trash for `grace`. If a node cannot be read nothing is swept: what it lists is
    /// unknown.
    pub fn sweep(
        mut self,
        roots: impl IntoIterator<Item = (Domain, Root, u64)>,
        grace: Option<Duration>,
    ) -> Result<CollectReport> {
        for (domain, root, _) in roots {
            self.mark(domain, root)?;
        }
        for (domain, root) in self.store.pins.seen() {
            match self.mark(domain, root) {
                // Somebody opened a tree that never was in this store.
                Err(BlocksError::Missing { chunk } | BlocksError::Foreign { chunk })
                    if root.node() == Some(chunk) => {}
                other => other?,
            }
        }
        self.nodes = HashSet::new();
        let grace = grace.unwrap_or(self.store.options.trash_grace);
        let retired = self.retire(grace);
        // Also after a failure: what is due in the trash may be the space that was missing.
        self.empty(grace)?;
        let live = self.store.live.read();
        let trash: HashSet<u32> = self.store.trash.numbers().into_iter().collect();
        self.store.quarantine.retain(|pack| live.contains(&pack) || trash.contains(&pack));
        drop(live);
        retired.map(|()| self.report)
    }

    fn mark(&mut self, domain: Domain, root: Root) -> Result<()> {
        let Some(id) = root.node() else { return Ok(()) };
        self.report.roots += 1;
        let keys = Keys::new(domain);
        let mut stack = vec![id];
        while let Some(id) = stack.pop() {
            if !self.nodes.insert(id) {
                continue;
            }
            self.touch(&id)?;
            let value = self.store.cached(&keys, Kind::Node, &id)?;
            match &*value {
                Value::Node(Node::Inner { children, .. }) => {
                    stack.extend(children.iter().map(|(_, child)| *child));
                }
                Value::Node(Node::Leaf(entries)) => {
                    for entry in entries {
                        self.touch(&entry.id)?;
                    }
                }
                Value::Data(_) => return Err(BlocksError::Damaged { chunk: id }),
            }
        }
        Ok(())
    }

    /// Keeps one chunk; brings it back if only the trash has it.
    fn touch(&mut self, id: &ChunkId) -> Result<()> {
        if self.store.index.touch(id, self.epoch).is_some() {
            return Ok(());
        }
        // As it is: an encrypted one can't be read here.
        let found = self.store.trash.find(id).map(|loc| {
            let mut bytes = vec![0; usize::try_from(Record::size(loc.stored())).unwrap_or(0)];
            self.store.read_record(loc, &mut bytes).map(|()| bytes)
        });
        let bytes = match found.transpose() {
            Err(error) if !unreadable(&error) => {
                return Err(BlocksError::io("reading a pack")(error));
            }
            found => found.ok().flatten().filter(|bytes| Record::intact(bytes)),
        };
        let record = bytes.as_deref().and_then(Record::parse).filter(|record| record.id == *id);
        if let (Some(bytes), Some(record)) = (bytes, record) {
            self.store.trash_reads.fetch_add(1, Ordering::Relaxed);
            tracing::error!(chunk = %id, "a chunk in use was collected; back from the trash");
            self.store.append(&bytes, &[(record, 0)])?;
            self.report.rescued_chunks += 1;
        } else {
            self.report.lost_chunks += 1;
        }
        Ok(())
    }

    fn retire(&mut self, grace: Duration) -> Result<()> {
        // Bytes alive in each pack, their place in the footer included; a pack made from now on
        // holds only what is alive.
        let horizon = self.store.writer.horizon();
        let mut live: HashMap<u32, u64> = HashMap::new();
        let threshold = self.threshold;
        let report = &mut self.report;
        self.store.index.for_each(|_, loc, stamp| {
            if stamp >= threshold {
                report.live_chunks += 1;
                *live.entry(loc.pack).or_default() +=
                    Record::size(loc.stored()) + FOOTER_ENTRY as u64;
            } else {
                report.dead_chunks += 1;
            }
        });
        let mut candidates = Vec::new();
        let mut total = 0;
        for pack in self.store.packs_from(0).into_iter().filter(|pack| *pack < horizon) {
            let size = self.store.packs.bytes(pack).unwrap_or(0);
            let alive = live.get(&pack).copied().unwrap_or(0);
            let dead = size.saturating_sub(alive + PACK_OVERHEAD);
            total += size;
            self.report.dead_bytes += dead;
            candidates.push((dead, size, alive, pack));
        }
        candidates.sort_unstable_by_key(|(dead, _, _, pack)| (u64::MAX - dead, *pack));
        // Each upload to a bucket ends a pack: small ones are put together again.
        let small = self.store.options.pack_bytes / 8;
        let whole = self.store.packs.takes_whole_packs();
        let many = whole && candidates.iter().filter(|(_, size, ..)| *size < small).count() >= 8;
        let mut left = self.report.dead_bytes;
        let bearable = (left * LEFT_PERCENT / 100).max(total * WORTH_PERCENT / 100);
        let mut chosen = Vec::new();
        for (dead, size, alive, pack) in candidates {
            let much = dead * 100 >= size * DEAD_PERCENT || left > bearable && dead > size / 100;
            if alive == 0 || much || many && size < small {
                left -= dead;
                chosen.push((size, alive, pack));
            }
        }
        // What frees space for nothing comes first: the disk may be full.
        let current = self.store.writer.current();
        let (free, costly): (Vec<_>, Vec<_>) =
            chosen.into_iter().partition(|(_, alive, pack)| *alive == 0 && Some(*pack) != current);
        self.retire_packs(&free)?;
        self.empty(grace)?;
        if costly.iter().any(|(.., pack)| self.store.writer.current() == Some(*pack)) {
            self.store.writer.rotate()?;
        }
        self.retire_packs(&costly)
    }

    fn empty(&mut self, grace: Duration) -> Result<()> {
        let emptied = self.store.trash.empty(grace);
        let (packs, bytes) = emptied.map_err(BlocksError::io("emptying the trash"))?;
        self.report.deleted_packs += packs;
        self.report.deleted_bytes += bytes;
        Ok(())
    }

    fn retire_packs(&mut self, chosen: &[(u64, u64, u32)]) -> Result<()> {
        for group in chosen.chunks(PACKS_AT_ONCE) {
            // Taken from the index and not from footers: nothing may point to a pack that goes.
            let mut places: HashMap<u32, Vec<(Prefix, Loc)>> =
                group.iter().map(|(.., pack)| (*pack, Vec::new())).collect();
            self.store.index.for_each(|prefix, loc, _| {
                if let Some(places) = places.get_mut(&loc.pack) {
                    places.push((prefix, loc));
                }
            });
            for (size, _, pack) in group {
                let places = places.remove(pack).unwrap_or_default();
                self.retire_pack(*pack, places, *size)?;
            }
        }
        Ok(())
    }

    fn retire_pack(&mut self, pack: u32, mut places: Vec<(Prefix, Loc)>, size: u64) -> Result<()> {
        // A session may have found one in the meantime; then it is alive again.
        places.retain(|(prefix, loc)| !self.store.index.remove(*prefix, *loc, self.threshold));
        places.sort_unstable_by_key(|(_, loc)| loc.offset);
        for part in places.chunks(CHUNKS_AT_ONCE) {
            self.move_live(part)?;
        }
        if !places.is_empty() {
            self.store.writer.sync()?;
        }
        // What could not be moved is in quarantine now: nothing points here any more.
        self.store.trash.take(pack).map_err(BlocksError::io("retiring a pack"))?;
        self.store.live.write().remove(&pack);
        self.report.retired_packs += 1;
        self.report.retired_bytes += size;
        Ok(())
    }

    /// Copies records as they are to the pack that grows and points the index there.
    fn move_live(&mut self, part: &[(Prefix, Loc)]) -> Result<()> {
        let (mut bytes, mut records, mut from) = (Vec::new(), Vec::new(), HashMap::new());
        for (prefix, loc) in part {
            let at = bytes.len();
            let size = usize::try_from(Record::size(loc.stored())).unwrap_or(0);
            bytes.resize(at + size, 0);
            let read = self.store.read_record(*loc, &mut bytes[at..]);
            if let Err(error) = read
                && !unreadable(&error)
            {
                return Err(BlocksError::io("reading a pack")(error));
            }
            match Record::parse(&bytes[at..]).filter(|_| Record::intact(&bytes[at..])) {
                Some(record) if Prefix::from(&record.id) == *prefix => {
                    records.push((record, at));
                    from.insert(*prefix, *loc);
                }
                _ => {
                    bytes.truncate(at);
                    self.store.condemn(*prefix, *loc);
                    self.report.lost_chunks += 1;
                }
            }
        }
        let store = self.store;
        let moved = store.writer.append(
            &bytes,
            &records,
            |_| true,
            |pack| store.add_pack(pack),
            |record, to| {
                let prefix = Prefix::from(&record.id);
                if let Some(from) = from.get(&prefix) {
                    store.index.relocate(prefix, *from, to);
                }
            },
        )?;
        self.report.moved_bytes += moved;
        Ok(())
    }
}
