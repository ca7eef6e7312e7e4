//! What contents need: how much of it is theirs alone, and what of it is lost.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    BlockStore, BlocksError, ChunkId, Domain, Result, Root,
    cache::Value,
    cut::{BLOCK, REGION},
    id::{Keys, Kind},
    index::{PlainMap, Prefix},
    node::{MAX_SIZE, Node, span},
    pack::{self, RECORD_HEADER, Record},
    seal::SEAL_BYTES,
    store::Inner,
};

/// How much contents take together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    /// Bytes of their chunks before compression, each as often as it occurs; without holes.
    pub logical_bytes: u64,
    /// Bytes they take as stored, nodes and headers included, each once.
    pub stored_bytes: u64,
    /// Of those, what nothing else needs: so much comes free when they go.
    pub unique_bytes: u64,
    pub chunks: u64,
}

/// A chunk that a content needs and the store does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    pub chunk: ChunkId,
    /// The bytes of the content that are in it, or in what it lists; may reach over the
    /// content's end.
    pub offset: u64,
    pub length: u64,
    /// It lists other chunks: only the whole content stored again brings it back.
    pub node: bool,
}

/// What a check of the whole store found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckReport {
    pub packs: u64,
    /// Packs whose footer can't be read, or does not fit the index.
    pub damaged_packs: Vec<u32>,
    /// Chunks of the index.
    pub chunks: u64,
    /// Of those, the ones that no footer lists.
    pub unlisted_chunks: u64,
    pub roots: u64,
    /// Chunks that some root needs, and their bytes as stored, headers included.
    pub live_chunks: u64,
    pub live_bytes: u64,
    /// The rest: the next collection frees them, if nobody is at work on them.
    pub orphan_chunks: u64,
    pub orphan_bytes: u64,
    /// Chunks that some root needs and that are not there.
    pub lost_chunks: u64,
}

impl BlockStore {
    /// What the contents `of` take, and how much of it only they need when `others` are kept too.
    /// Costs a look at each node of all of them.
    pub fn share(
        &self,
        of: &[(Domain, Root)],
        others: impl IntoIterator<Item = (Domain, Root)>,
    ) -> Result<Share> {
        let (mut share, mut seen) = (Share::default(), HashSet::new());
        let mut mine: PlainMap<Prefix, u64> = PlainMap::default();
        for (domain, root) in of {
            let mut take = |id: &ChunkId, found: &Found| {
                share.logical_bytes += if found.node { 0 } else { found.length };
                if let Some(loc) = self.0.index.get(id) {
                    mine.insert(Prefix::from(id), Record::size(loc.stored()));
                }
            };
            self.0.reach(*domain, *root, Nodes::Cached, &mut seen, &mut take)?;
        }
        share.chunks = mine.len() as u64;
        share.stored_bytes = mine.values().sum();
        let mut seen = HashSet::new();
        for (domain, root) in others {
            let mut leave = |id: &ChunkId, _: &Found| {
                mine.remove(&Prefix::from(id));
            };
            self.0.reach(domain, root, Nodes::Cached, &mut seen, &mut leave)?;
        }
        share.unique_bytes = mine.values().sum();
        Ok(share)
    }

    /// What a content needs and the store does not have, in the order of its bytes; reads its
    /// nodes, not its chunks.
    pub fn lost(&self, domain: Domain, root: Root) -> Result<Vec<Lost>> {
        let mut lost = Vec::new();
        let mut take = |id: &ChunkId, found: &Found| {
            if found.missing || self.0.index.get(id).is_none() {
                let Found { offset, length, node, .. } = *found;
                lost.push(Lost { chunk: *id, offset, length, node });
            }
        };
        self.0.reach(domain, root, Nodes::Cached, &mut HashSet::new(), &mut take)?;
        lost.sort_unstable_by_key(|lost| lost.offset);
        Ok(lost)
    }

    /// Whether anything that `roots` need is lost. Looks at what they share once.
    pub fn any_lost(&self, roots: impl IntoIterator<Item = (Domain, Root)>) -> Result<bool> {
        let (mut any, mut seen) = (false, HashSet::new());
        for (domain, root) in roots {
            let mut take = |id: &ChunkId, found: &Found| {
                any |= found.missing || self.0.index.get(id).is_none();
            };
            self.0.reach(domain, root, Nodes::Cached, &mut seen, &mut take)?;
        }
        Ok(any)
    }

    /// Brings a chunk back that [`BlockStore::lost`] listed. False if `bytes` are not its bytes
    /// (they are hashed, so only the right ones are taken), if it is back already, or if it is a
    /// node.
    pub fn repair(&self, domain: Domain, lost: &Lost, bytes: &[u8]) -> Result<bool> {
        let keys = Keys::new(domain);
        let id = keys.id(Kind::Data, bytes);
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let fits = bytes.len() <= pack::MAX_CHUNK && self.0.index.get(&id).is_none();
        if !fits || lost.chunk != id {
            return Ok(false);
        }
        let sealed = keys.sealer.is_some();
        let mut record = Record { id, raw: size, stored: size, zstd: false, sealed };
        let mut out = Vec::with_capacity(RECORD_HEADER + bytes.len());
        if let Some(sealer) = &keys.sealer {
            let mut payload = Vec::new();
            sealer.seal(&record, bytes, &mut payload).ok_or(BlocksError::Worker)?;
            record.stored += SEAL_BYTES;
            record.write(&payload, &mut out);
        } else {
            record.write(bytes, &mut out);
        }
        self.0.append(&out, &[(record, 0)])?;
        self.0.writer.sync()?;
        Ok(true)
    }

    /// Whether packs, index and roots fit one another. Reads footers and nodes, from where they
    /// are kept; what is in the chunks is for [`BlockStore::scrub`].
    pub fn check(&self, roots: impl IntoIterator<Item = (Domain, Root)>) -> Result<CheckReport> {
        let store = &*self.0;
        // A collection would move chunks from under the comparison.
        let _turn = store.collecting.lock();
        let mut report = CheckReport::default();
        let current = store.writer.current();
        let mut placed: HashMap<u32, HashMap<u32, u32>> = HashMap::new();
        store.index.for_each(|_, loc, _| {
            report.chunks += 1;
            placed.entry(loc.pack).or_default().insert(loc.offset, loc.stored());
        });
        for number in store.packs_from(0) {
            report.packs += 1;
            let mut here = placed.remove(&number).unwrap_or_default();
            if current == Some(number) {
                // It has its footer when it is sealed.
                continue;
            }
            let Some((listed, _)) = store.packs.footer(number).ok().flatten() else {
                report.damaged_packs.push(number);
                continue;
            };
            here.retain(|offset, stored| {
                !listed.iter().any(|entry| entry.offset == *offset && entry.stored == *stored)
            });
            if !here.is_empty() {
                report.damaged_packs.push(number);
                report.unlisted_chunks += here.len() as u64;
            }
        }
        // Appended to packs that were begun meanwhile, or pointing nowhere.
        let live = store.live.read();
        let nowhere = placed.iter().filter(|(number, _)| !live.contains(number));
        report.unlisted_chunks += nowhere.map(|(_, places)| places.len() as u64).sum::<u64>();
        drop(live);
        let (mut seen, mut needed) = (HashSet::new(), PlainMap::<Prefix, bool>::default());
        for (domain, root) in roots {
            report.roots += 1;
            let mut take = |id: &ChunkId, found: &Found| {
                let lost = found.missing || store.index.get(id).is_none();
                needed.insert(Prefix::from(id), lost);
            };
            store.reach(domain, root, Nodes::Stored, &mut seen, &mut take)?;
        }
        report.lost_chunks = needed.values().filter(|lost| **lost).count() as u64;
        store.index.for_each(|prefix, loc, _| {
            let (chunks, bytes) = if needed.contains_key(&prefix) {
                (&mut report.live_chunks, &mut report.live_bytes)
            } else {
                (&mut report.orphan_chunks, &mut report.orphan_bytes)
            };
            *chunks += 1;
            *bytes += Record::size(loc.stored());
        });
        Ok(report)
    }
}

/// Where nodes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nodes {
    Cached,
    /// From where they are kept, and verified.
    Stored,
}

/// A chunk or node under a root.
struct Found {
    offset: u64,
    length: u64,
    node: bool,
    /// A node that can't be read.
    missing: bool,
}

impl Inner {
    /// Shows each chunk and node under a root to `visit`; subtrees of nodes in `seen` are left out.
    fn reach(
        &self,
        domain: Domain,
        root: Root,
        nodes: Nodes,
        seen: &mut HashSet<ChunkId>,
        visit: &mut impl FnMut(&ChunkId, &Found),
    ) -> Result<()> {
        let keys = Keys::new(domain);
        // A node and the first region it covers; the root's own level says how many.
        let mut stack: Vec<(ChunkId, u64, Option<u8>)> =
            root.node().map(|id| (id, 0, None)).into_iter().collect();
        while let Some((id, region, level)) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            let covers = |level: u8| (region * REGION, span(level) * REGION);
            let value = match nodes {
                Nodes::Cached => self.cached(&keys, Kind::Node, &id),
                Nodes::Stored => self.fetch(&keys, Kind::Node, &id).and_then(|bytes| {
                    let node = Node::decode(&bytes).ok_or(BlocksError::Damaged { chunk: id })?;
                    Ok(Arc::new(Value::Node(node)))
                }),
            };
            let value = match value {
                Ok(value) => value,
                Err(BlocksError::Damaged { .. } | BlocksError::Missing { .. }) => {
                    // A lost root does not say how much there is under it.
                    let (offset, length) = level.map_or((0, MAX_SIZE), covers);
                    visit(&id, &Found { offset, length, node: true, missing: true });
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Value::Node(node) = &*value else {
                return Err(BlocksError::Damaged { chunk: id });
            };
            let (offset, length) = covers(node.level());
            visit(&id, &Found { offset, length, node: true, missing: false });
            match node {
                Node::Inner { level, children } => {
                    for (slot, child) in children.iter().rev() {
                        let first = region + u64::from(*slot) * span(level - 1);
                        stack.push((*child, first, Some(level - 1)));
                    }
                }
                Node::Leaf(entries) => {
                    for entry in entries {
                        let offset = region * REGION + u64::from(entry.start) * BLOCK as u64;
                        let length = u64::from(entry.blocks) * BLOCK as u64;
                        visit(&entry.id, &Found { offset, length, node: false, missing: false });
                    }
                }
            }
        }
        Ok(())
    }
}
