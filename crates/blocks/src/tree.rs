//! Reading a content.

use std::{ops::Range, sync::Arc};

use crate::{
    BlocksError, ChunkId, Domain, Pin, Result, Root,
    cache::{Key, Lease, Value},
    cut::{BLOCK, REGION},
    fold::Base,
    id::{Keys, Kind},
    node::{Entry, Node, child_of, span},
    store::Inner,
    walk::{Extents, Walk},
};

#[derive(Debug)]
struct Shape {
    store: Arc<Inner>,
    root: Root,
    size: u64,
    keys: Keys,
    _pin: Pin,
}

/// A content, open for reading. Clones share it. Nodes and chunks are read when they are needed,
/// verified, and kept in the store's cache.
#[derive(Debug, Clone)]
pub struct Tree(Arc<Shape>);

impl Tree {
    pub(crate) fn new(store: Arc<Inner>, domain: Domain, root: Root, size: u64) -> Self {
        let pin = store.pins.root(domain, root);
        Self(Arc::new(Shape { store, root, size, keys: Keys::new(domain), _pin: pin }))
    }

    #[must_use]
    pub fn root(&self) -> Root {
        self.0.root
    }

    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.0.size
    }

    #[must_use]
    pub fn domain(&self) -> Domain {
        self.0.keys.domain
    }

    /// Fills `out` from `offset`; holes are zeros. Never gives a byte that was not verified.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.check(offset, out.len() as u64)?;
        self.each(offset, out.len() as u64, |range, found| {
            // Both ends lie within `out`, whose length is a usize.
            #[allow(clippy::cast_possible_truncation)]
            let part = &mut out[(range.start - offset) as usize..(range.end - offset) as usize];
            match found {
                None => part.fill(0),
                Some((chunk_at, Entry { id, .. })) => {
                    let value = self.0.store.cached(&self.0.keys, Kind::Data, &id)?;
                    let Value::Data(bytes) = &*value else {
                        return Err(BlocksError::Damaged { chunk: id });
                    };
                    let from = usize::try_from(range.start - chunk_at).unwrap_or(usize::MAX);
                    let bytes = bytes.get(from..).and_then(|bytes| bytes.get(..part.len()));
                    part.copy_from_slice(bytes.ok_or(BlocksError::Damaged { chunk: id })?);
                }
            }
            Ok(())
        })
    }

    /// The data and the holes of `range` in order, without gaps; neighbours of a kind are one.
    /// Costs a read for each node that lists data there, not for holes.
    #[must_use]
    pub fn extents(&self, range: Range<u64>) -> Extents {
        let range = range.start..range.end.min(self.0.size).max(range.start);
        Extents::new(Walk::new(Some(self.clone()), None, range.clone()), range)
    }

    pub(crate) fn check(&self, offset: u64, length: u64) -> Result<()> {
        let end = offset.saturating_add(length);
        if end > self.0.size {
            return Err(BlocksError::OutOfRange { range: offset..end, size: self.0.size });
        }
        Ok(())
    }

    /// Visits `length` bytes from `offset` in pieces: holes, or parts of the chunk at an offset.
    pub(crate) fn each(
        &self,
        offset: u64,
        length: u64,
        mut visit: impl FnMut(Range<u64>, Option<(u64, Entry)>) -> Result<()>,
    ) -> Result<()> {
        let (mut at, end) = (offset, offset + length);
        while at < end {
            let region = at / REGION;
            let base = region * REGION;
            let stop = end.min(base + REGION);
            let Some(leaf) = self.leaf(region)? else {
                visit(at..stop, None)?;
                at = stop;
                continue;
            };
            let entries = entries(&leaf);
            let place = |block: u16| base + u64::from(block) * BLOCK as u64;
            let mut next = entries.partition_point(|entry| place(entry.end()) <= at);
            while at < stop {
                let Some(entry) = entries.get(next).filter(|entry| place(entry.start) < stop)
                else {
                    visit(at..stop, None)?;
                    at = stop;
                    break;
                };
                let start = place(entry.start);
                if at < start {
                    visit(at..start, None)?;
                    at = start;
                }
                let to = stop.min(place(entry.end()));
                visit(at..to, Some((start, *entry)))?;
                at = to;
                next += 1;
            }
        }
        Ok(())
    }

    /// The root node and its level.
    pub(crate) fn base(&self) -> Result<Option<Base>> {
        let Some(id) = self.0.root.node() else { return Ok(None) };
        match &*self.node(&id)? {
            Value::Node(node) => Ok(Some(Base { id, level: node.level() })),
            Value::Data(_) => Err(BlocksError::Damaged { chunk: id }),
        }
    }

    pub(crate) fn node(&self, id: &ChunkId) -> Result<Arc<Value>> {
        self.0.store.cached(&self.0.keys, Kind::Node, id)
    }

    pub(crate) fn chunk(&self, id: &ChunkId) -> Result<Arc<Value>> {
        self.0.store.cached(&self.0.keys, Kind::Data, id)
    }

    /// The leaf of a region; `None` for a hole.
    pub(crate) fn leaf(&self, region: u64) -> Result<Option<Arc<Value>>> {
        match self.descend(region, |_| true)? {
            Descent::Leaf(leaf) => Ok(Some(leaf)),
            Descent::Hole | Descent::Stopped => Ok(None),
        }
    }

    /// Goes down to the leaf of a region through nodes that `may` be read.
    pub(crate) fn descend(&self, region: u64, may: impl Fn(&ChunkId) -> bool) -> Result<Descent> {
        let Some(mut id) = self.0.root.node() else { return Ok(Descent::Hole) };
        let mut above = None;
        loop {
            if !may(&id) {
                return Ok(Descent::Stopped);
            }
            let value = self.node(&id)?;
            let Value::Node(node) = &*value else {
                return Err(BlocksError::Damaged { chunk: id });
            };
            let level = node.level();
            match above {
                None if region >= span(level) => return Ok(Descent::Hole),
                Some(above) if above != level + 1 => {
                    return Err(BlocksError::Damaged { chunk: id });
                }
                _ => {}
            }
            let Node::Inner { children, .. } = node else { return Ok(Descent::Leaf(value)) };
            let slot = child_of(level, region);
            let Ok(found) = children.binary_search_by_key(&slot, |(slot, _)| *slot) else {
                return Ok(Descent::Hole);
            };
            id = children[found].1;
            above = Some(level);
        }
    }

    /// The name under which a chunk or node of this content is cached.
    pub(crate) fn key(&self, id: ChunkId) -> Key {
        (self.0.keys.tag, id)
    }

    /// Reads a chunk before somebody asks for it; see [`crate::Ahead::fetch`].
    pub(crate) fn read_ahead(
        &self,
        entry: &Entry,
        lease: &Arc<Lease>,
        go_on: &dyn Fn() -> bool,
    ) -> Result<bool> {
        let bytes = Value::weight_of(usize::from(entry.blocks) * BLOCK);
        let Shape { store, keys, .. } = &*self.0;
        store.cache.ahead((self.key(entry.id), lease), bytes, go_on, || {
            store.fetch(keys, Kind::Data, &entry.id).map(Value::Data)
        })
    }

    pub(crate) fn store(&self) -> &Inner {
        &self.0.store
    }

    pub(crate) fn shares_store(&self, store: &Arc<Inner>) -> bool {
        Arc::ptr_eq(&self.0.store, store)
    }
}

/// Where the way down to a leaf ends.
#[derive(Debug)]
pub(crate) enum Descent {
    Leaf(Arc<Value>),
    /// Nothing is stored of the region.
    Hole,
    /// At a node that may not be read.
    Stopped,
}

/// The chunks a leaf lists.
pub(crate) fn entries(leaf: &Value) -> &[Entry] {
    match leaf {
        Value::Node(Node::Leaf(entries)) => entries,
        _ => &[],
    }
}
