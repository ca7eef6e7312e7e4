//! Where each chunk lies: in memory, rebuilt from the packs' footers.
//!
//! Keyed by half of the id: 128 bits of a keyed hash do not collide, and what is read is checked
//! against the whole id. About 50 bytes a chunk, or 0.8 GiB for a TiB of unique data.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use parking_lot::RwLock;

use crate::{ChunkId, pack::Record};

const SHARDS: usize = 64;

/// Half an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Prefix([u8; 16]);

impl From<&ChunkId> for Prefix {
    fn from(id: &ChunkId) -> Self {
        Self(*id.0.first_chunk().expect("16 of 32 bytes"))
    }
}

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loc {
    pub(crate) pack: u32,
    pub(crate) offset: u32,
    /// 20 bits of stored bytes, 12 bits of KiB before compression.
    sizes: u32,
}

impl Loc {
    pub(crate) fn new(pack: u32, offset: u32, stored: u32, raw: u32) -> Self {
        Self { pack, offset, sizes: (stored & 0xf_ffff) | (raw.div_ceil(1024) << 20) }
    }

    /// Bytes of the payload in the pack.
    pub(crate) fn stored(self) -> u32 {
        self.sizes & 0xf_ffff
    }

    fn raw(self) -> u64 {
        u64::from(self.sizes >> 20) << 10
    }
}

#[derive(Debug)]
struct Slot {
    loc: Loc,
    /// The last epoch in which a session wrote or found the chunk, or a mark reached it.
    stamp: AtomicU32,
}

/// Ids are hashes already.
#[derive(Debug, Default)]
pub(crate) struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks_exact(8) {
            let part = u64::from_le_bytes(*part.first_chunk().expect("eight bytes"));
            self.0 = self.0.rotate_left(5) ^ part;
        }
    }

    fn write_usize(&mut self, _length: usize) {}
}

pub(crate) type PlainMap<K, V> = HashMap<K, V, BuildHasherDefault<Plain>>;

#[derive(Debug)]
pub(crate) struct Index {
    shards: Vec<RwLock<PlainMap<Prefix, Slot>>>,
    /// Bytes of the indexed chunks, as stored with their headers and before compression.
    stored: AtomicU64,
    raw: AtomicU64,
}

impl Index {
    pub(crate) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Self { shards, stored: AtomicU64::new(0), raw: AtomicU64::new(0) }
    }

    fn count(&self, loc: Loc) {
        self.stored.fetch_add(Record::size(loc.stored()), Ordering::Relaxed);
        self.raw.fetch_add(loc.raw(), Ordering::Relaxed);
    }

    fn discount(&self, loc: Loc) {
        self.stored.fetch_sub(Record::size(loc.stored()), Ordering::Relaxed);
        self.raw.fetch_sub(loc.raw(), Ordering::Relaxed);
    }

    /// Bytes as stored, and before compression to the KiB.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.stored.load(Ordering::Relaxed), self.raw.load(Ordering::Relaxed))
    }

    fn shard(&self, prefix: &Prefix) -> &RwLock<PlainMap<Prefix, Slot>> {
        // The last byte: the map itself uses the first ones.
        &self.shards[usize::from(prefix.0[15]) % SHARDS]
    }

    pub(crate) fn get(&self, id: &ChunkId) -> Option<Loc> {
        let prefix = Prefix::from(id);
        self.shard(&prefix).read().get(&prefix).map(|slot| slot.loc)
    }

    /// Finds a chunk and keeps it from being swept in this epoch.
    pub(crate) fn touch(&self, id: &ChunkId, epoch: u32) -> Option<Loc> {
        let prefix = Prefix::from(id);
        let shard = self.shard(&prefix).read();
        let slot = shard.get(&prefix)?;
        slot.stamp.fetch_max(epoch, Ordering::Relaxed);
        Some(slot.loc)
    }

    pub(crate) fn insert(&self, prefix: Prefix, loc: Loc, epoch: u32) {
        self.count(loc);
        let slot = Slot { loc, stamp: AtomicU32::new(epoch) };
        if let Some(old) = self.shard(&prefix).write().insert(prefix, slot) {
            self.discount(old.loc);
        }
    }

    /// Points a chunk elsewhere if it still is where it was.
    pub(crate) fn relocate(&self, prefix: Prefix, from: Loc, to: Loc) -> bool {
        let mut shard = self.shard(&prefix).write();
        let slot = shard.get_mut(&prefix).filter(|slot| slot.loc == from);
        slot.map(|slot| slot.loc = to).is_some()
    }

    /// Forgets a chunk if it still is where it was and nobody touched it since `before`.
    pub(crate) fn remove(&self, prefix: Prefix, loc: Loc, before: u32) -> bool {
        let mut shard = self.shard(&prefix).write();
        let dead = shard
            .get(&prefix)
            .is_some_and(|slot| slot.loc == loc && slot.stamp.load(Ordering::Relaxed) < before);
        if dead {
            shard.remove(&prefix);
            self.discount(loc);
        }
        dead
    }

    pub(crate) fn has(&self, prefix: &Prefix) -> bool {
        self.shard(prefix).read().contains_key(prefix)
    }

    pub(crate) fn for_each(&self, mut visit: impl FnMut(Prefix, Loc, u32)) {
        for shard in &self.shards {
            for (prefix, slot) in &*shard.read() {
                visit(*prefix, slot.loc, slot.stamp.load(Ordering::Relaxed));
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }
}
