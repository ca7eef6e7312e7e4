//! A content from another store, leaf by leaf: what is known here is taken over, the rest comes
//! as chunks cut elsewhere.
//!
//! The other side says how its content is cut and what each chunk would be called here
//! ([`Tree::recast`]); so nothing that is known need be sent, and the result is the tree an ingest
//! here would make.

use std::sync::Arc;

use crate::{
    BlocksError, ChunkId, Domain, Names, Result, Sealed, Tree,
    cache::Value,
    cut::{BLOCK, REGION},
    id::{Keys, Kind},
    node::{Entry, Node},
    session::Session,
    store::Inner,
    tree::entries,
};

/// One chunk of a region and what it is called in some domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// First block, counted from the region's start.
    pub start: u16,
    /// At most 64.
    pub blocks: u8,
    pub id: [u8; 32],
}

impl Place {
    /// Where the chunk lies in a content whose region this is.
    #[must_use]
    pub fn offset(&self, region: u64) -> u64 {
        region * REGION + u64::from(self.start) * BLOCK as u64
    }

    /// The chunk's size, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        usize::from(self.blocks) * BLOCK
    }
}

/// A region's chunks and what its leaf is called in some domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    pub id: [u8; 32],
    pub places: Vec<Place>,
}

impl Leaf {
    /// A leaf of these chunks as it is called by `names`; `None` if they break the rules of leaves.
    #[must_use]
    pub fn of(names: &Names, places: Vec<Place>) -> Option<Self> {
        let node = node(&places)?;
        let id = names.id(Kind::Node, &node.encode()).0;
        Some(Self { id, places })
    }
}

fn node(places: &[Place]) -> Option<Node> {
    let entry =
        |place: &Place| Entry { start: place.start, blocks: place.blocks, id: ChunkId(place.id) };
    // Reading it back holds it to every rule.
    Node::decode(&Node::Leaf(places.iter().map(entry).collect()).encode())
}

fn places(entries: &[Entry]) -> Vec<Place> {
    let place = |entry: &Entry| Place { start: entry.start, blocks: entry.blocks, id: entry.id.0 };
    entries.iter().map(place).collect()
}

impl Tree {
    /// Up to `limit` regions from `first` on that hold data, ascending.
    pub fn regions(&self, first: u64, limit: usize) -> Result<Vec<u64>> {
        let mut regions: Vec<u64> = Vec::new();
        let start = first.saturating_mul(REGION).min(self.size_bytes());
        for extent in self.extents(start..self.size_bytes()) {
            let (range, kind) = extent?;
            if kind == crate::ExtentKind::Hole {
                continue;
            }
            for region in range.start / REGION..range.end.div_ceil(REGION) {
                if regions.last() != Some(&region) {
                    if regions.len() == limit {
                        return Ok(regions);
                    }
                    regions.push(region);
                }
            }
        }
        Ok(regions)
    }

    /// A region's leaf and its chunks as they would be called by `names`; `None` for a hole. Reads
    /// every chunk of the region unless those are the content's own.
    pub fn recast(&self, region: u64, names: &Names) -> Result<Option<Leaf>> {
        let Some(leaf) = self.leaf(region)? else { return Ok(None) };
        let mut places = places(entries(&leaf));
        if *names != self.names() {
            for place in &mut places {
                let id = ChunkId(place.id);
                let value = self.chunk(&id)?;
                let Value::Data(bytes) = &*value else {
                    return Err(BlocksError::Damaged { chunk: id });
                };
                place.id = names.id(Kind::Data, bytes).0;
            }
        }
        Ok(Leaf::of(names, places))
    }

    /// What the content names by.
    #[must_use]
    pub fn names(&self) -> Names {
        Names::of(self.domain())
    }
}

/// A content being taken over. Dropped without `finish` it leaves only chunks that the next
/// collection removes.
#[derive(Debug)]
pub struct Graft {
    store: Arc<Inner>,
    keys: Keys,
    session: Session,
    /// The region under way, what is still wanted of it, and what its leaf is called.
    region: Option<u64>,
}

impl Graft {
    pub(crate) fn new(store: &Arc<Inner>, domain: Domain) -> Self {
        let session = Session::new(store, domain, None, u64::MAX);
        Self { store: store.clone(), keys: Keys::new(domain), session, region: None }
    }

    /// Turns to a region; they come in ascending order, each once.
    pub fn region(&mut self, region: u64) -> Result<()> {
        if self.region.is_some_and(|last| region <= last) {
            return Err(BlocksError::OutOfOrder {
                offset: region.saturating_mul(REGION),
                at: self.region.unwrap_or_default().saturating_mul(REGION),
            });
        }
        self.region = Some(region);
        self.session.step(|session| session.begin_region(region))
    }

    /// Takes over the leaf of the region if it is known here with all its chunks.
    pub fn keep_leaf(&mut self, id: [u8; 32]) -> Result<bool> {
        let epoch = self.store.pins.epoch();
        if self.store.index.touch(&ChunkId(id), epoch).is_none() {
            return Ok(false);
        }
        let leaf = self.store.cached(&self.keys, Kind::Node, &ChunkId(id))?;
        let known = entries(&leaf);
        if !known.iter().all(|entry| self.store.index.touch(&entry.id, epoch).is_some()) {
            return Ok(false);
        }
        for entry in known {
            self.session.keep(*entry);
        }
        Ok(true)
    }

    /// Takes over a chunk of the region if it is known here.
    pub fn keep(&mut self, place: &Place) -> bool {
        let id = ChunkId(place.id);
        let known = self.store.index.touch(&id, self.store.pins.epoch()).is_some();
        if known {
            self.session.keep(Entry { start: place.start, blocks: place.blocks, id });
        }
        known
    }

    /// Takes a chunk of the region that is not known here; it must be what it is called.
    pub fn put(&mut self, place: &Place, bytes: &[u8]) -> Result<()> {
        let id = ChunkId(place.id);
        if bytes.len() != place.bytes() || self.keys.id(Kind::Data, bytes) != id {
            return Err(BlocksError::Foreign { chunk: id });
        }
        self.session.step(|session| session.chunk(place.start, bytes))
    }

    /// Completes the content and makes it durable.
    pub fn finish(self, size_bytes: u64) -> Result<Sealed> {
        self.session.finish(size_bytes)
    }
}
