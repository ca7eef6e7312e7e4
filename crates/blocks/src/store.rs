//! A block store: its directory, its parts, and how one chunk is put and fetched.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};

use crate::{
    BlocksError, ChunkId, Domain, Graft, Ingest, Result, Root, Tree,
    cache::{Cache, Value},
    id::{Keys, Kind},
    index::{Index, Loc, Prefix},
    memory,
    node::{MAX_SIZE, Node},
    pack::{RECORD_HEADER, Record},
    packs::{LocalPacks, ObjectOptions, ObjectPacks, PackStore, load_pack},
    pin::Pins,
    pool::Pool,
    quarantine::Quarantine,
    scrub::Scrubbing,
    trash::Trash,
    writer::Writer,
};

/// How a store behaves. The defaults fit one machine.
#[derive(Debug, Clone)]
pub struct Options {
    /// A pack is sealed when it reaches this size, bytes; 1 MiB to 1 GiB.
    pub pack_bytes: u64,
    /// Verified chunks kept in memory, bytes; taken as they are needed. A sixteenth of the
    /// machine's memory by default.
    pub cache_bytes: usize,
    /// Threads that hash and compress; started with the first ingest.
    pub threads: usize,
    /// How long a collected pack stays in the trash when `collect` is not told otherwise.
    pub trash_grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pack_bytes: 64 << 20,
            cache_bytes: memory::for_chunks(),
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            trash_grace: Duration::from_hours(24),
        }
    }
}

/// What a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Chunks and nodes that can be read.
    pub chunks: u64,
    /// Their bytes before compression, each rounded up to a KiB.
    pub raw_bytes: u64,
    /// Their bytes as stored.
    pub stored_bytes: u64,
    pub packs: u64,
    /// Bytes of all pack files, with what is dead; without the trash.
    pub pack_bytes: u64,
    pub trash_packs: u64,
    pub trash_bytes: u64,
    /// Reads that had to be served from the trash; more than none means a root was not listed
    /// to a collection.
    pub trash_reads: u64,
    /// Chunks in quarantine.
    pub damaged: u64,
    pub cache_bytes: u64,
    /// Chunks of data that were read into the cache since the start, and their bytes.
    pub loads: u64,
    pub loaded_bytes: u64,
    /// Parts of a MiB that were fetched from an object store, and bytes of them on this host.
    pub fetched_parts: u64,
    pub host_cache_bytes: u64,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) index: Index,
    /// The packs in use, without the trash.
    pub(crate) live: RwLock<BTreeSet<u32>>,
    pub(crate) packs: Arc<dyn PackStore>,
    pub(crate) writer: Writer,
    pub(crate) cache: Cache,
    pub(crate) pool: Pool,
    pub(crate) pins: Arc<Pins>,
    pub(crate) quarantine: Quarantine,
    pub(crate) trash: Trash,
    pub(crate) collecting: Mutex<()>,
    pub(crate) dir: PathBuf,
    pub(crate) scrubbed: Mutex<Scrubbing>,
    pub(crate) trash_reads: AtomicU64,
    /// Held while the store is open: one process has it.
    _lock: File,
}

/// A store of content-addressed chunks in one directory. Clones share it; it closes with the last
/// of them and of its trees and sessions.
#[derive(Debug, Clone)]
pub struct BlockStore(pub(crate) Arc<Inner>);

impl BlockStore {
    /// Opens the store in `dir`, or makes one. Reads the packs' footers and repairs the pack a
    /// crash left unsealed; needs no free space.
    pub fn open(dir: &Path, options: Options) -> Result<Self> {
        Self::assemble(dir, options, || Ok(Arc::new(LocalPacks::open(dir)?)))
    }

    /// Opens the store whose packs are objects of a bucket; `dir` holds what is not in it yet and
    /// what is read often. What `finish` returned is in the bucket.
    pub fn open_objects(dir: &Path, options: Options, objects: &ObjectOptions) -> Result<Self> {
        Self::assemble(dir, options, || Ok(Arc::new(ObjectPacks::open(dir, objects)?)))
    }

    fn assemble(
        dir: &Path,
        options: Options,
        packs: impl FnOnce() -> io::Result<Arc<dyn PackStore>>,
    ) -> Result<Self> {
        fs::create_dir_all(dir).map_err(BlocksError::io("making the store"))?;
        let lock = File::create(dir.join("lock")).map_err(BlocksError::io("locking the store"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => BlocksError::InUse { dir: dir.to_owned() },
            fs::TryLockError::Error(source) => BlocksError::io("locking the store")(source),
        })?;
        let quarantine = Quarantine::open(dir.join("quarantine"))?;
        let index = Index::new();
        let packs = packs().map_err(BlocksError::io("opening the packs"))?;
        let mut kept = packs.list().map_err(BlocksError::io("listing packs"))?;
        kept.sort_unstable_by_key(|pack| pack.number);
        let mut live = BTreeSet::new();
        let mut lost = HashSet::new();
        for number in kept.iter().filter(|pack| pack.since.is_none()).map(|pack| pack.number) {
            let loaded = load_pack(&*packs, number);
            let (listed, rotten) = loaded.map_err(BlocksError::io("reading a pack's footer"))?;
            for entry in listed {
                let loc = Loc::new(number, entry.offset, entry.stored, entry.raw);
                if rotten.contains(&entry.offset) {
                    quarantine.note(loc);
                }
                if quarantine.has_place(number, entry.offset) {
                    lost.insert(Prefix::from(&entry.id));
                } else {
                    index.insert(Prefix::from(&entry.id), loc, 0);
                }
            }
            live.insert(number);
        }
        quarantine.begin(lost.into_iter().filter(|prefix| !index.has(prefix)));
        let trash = Trash::open(packs.clone(), &kept);
        let next = kept.last().map_or(1, |last| last.number + 1);
        let pack_bytes = options.pack_bytes.clamp(1 << 20, 1 << 30);
        Ok(Self(Arc::new(Inner {
            index,
            live: RwLock::new(live),
            writer: Writer::new(packs.clone(), pack_bytes, next),
            packs,
            cache: Cache::new(options.cache_bytes),
            pool: Pool::new(options.threads),
            options,
            pins: Arc::default(),
            quarantine,
            trash,
            collecting: Mutex::default(),
            dir: dir.to_owned(),
            scrubbed: Mutex::new(Scrubbing::read(dir)),
            trash_reads: AtomicU64::new(0),
            _lock: lock,
        })))
    }

    /// Begins to store a content of `size_bytes`.
    pub fn ingest(&self, domain: Domain, size_bytes: u64) -> Result<Ingest> {
        check_size(size_bytes)?;
        Ok(Ingest::new(&self.0, domain, size_bytes))
    }

    /// Begins to take a content over from another store.
    #[must_use]
    pub fn graft(&self, domain: Domain) -> Graft {
        Graft::new(&self.0, domain)
    }

    /// The content `root` of `size_bytes` for reading. Reads nothing yet; while the tree lives its
    /// chunks are not collected.
    #[must_use]
    pub fn tree(&self, domain: Domain, root: Root, size_bytes: u64) -> Tree {
        Tree::new(self.0.clone(), domain, root, size_bytes)
    }

    #[must_use]
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        let inner = &*self.0;
        let (stored_bytes, raw_bytes) = inner.index.bytes();
        let packs = inner.packs_from(0);
        let size = |pack: &u32| inner.packs.bytes(*pack).unwrap_or(0);
        let (fetched_parts, host_cache_bytes) = inner.packs.fetched().unwrap_or_default();
        let (trash_packs, trash_bytes) = inner.trash.size();
        let (loads, loaded_bytes) = inner.cache.loaded();
        Stats {
            chunks: inner.index.len() as u64,
            raw_bytes,
            stored_bytes,
            packs: packs.len() as u64,
            pack_bytes: packs.iter().map(size).sum(),
            trash_packs,
            trash_bytes,
            trash_reads: inner.trash_reads.load(Ordering::Relaxed),
            damaged: inner.quarantine.len() as u64,
            cache_bytes: inner.cache.bytes() as u64,
            loads,
            loaded_bytes,
            fetched_parts,
            host_cache_bytes,
        }
    }
}

pub(crate) fn check_size(size: u64) -> Result<()> {
    if size > MAX_SIZE { Err(BlocksError::TooLarge { size, max: MAX_SIZE }) } else { Ok(()) }
}

impl Inner {
    /// The raw bytes of a chunk, verified.
    pub(crate) fn fetch(&self, keys: &Keys, kind: Kind, id: &ChunkId) -> Result<Vec<u8>> {
        // A collection may move a chunk between the look-up and the read.
        for _ in 0..4 {
            let Some(loc) = self.index.get(id) else { break };
            if !self.live.read().contains(&loc.pack) {
                continue;
            }
            return match self.read_verified(loc, keys, kind, id) {
                // Collected and deleted in the meantime: it has been moved.
                Err(BlocksError::Io { .. }) if self.index.get(id) != Some(loc) => continue,
                // Once more, lest a passing fault of memory or bus condemn it.
                Err(BlocksError::Damaged { .. }) => {
                    self.packs.distrust(loc.pack);
                    self.read_verified(loc, keys, kind, id).inspect_err(|error| {
                        if matches!(error, BlocksError::Damaged { .. }) {
                            self.condemn(Prefix::from(id), loc);
                        }
                    })
                }
                other => other,
            };
        }
        if self.quarantine.has(&Prefix::from(id)) {
            return Err(BlocksError::Damaged { chunk: *id });
        }
        if let Some(loc) = self.trash.find(id) {
            self.trash_reads.fetch_add(1, Ordering::Relaxed);
            tracing::error!(chunk = %id, "a chunk in use was collected; served from the trash");
            return self.read_verified(loc, keys, kind, id);
        }
        Err(BlocksError::Missing { chunk: *id })
    }

    fn read_verified(&self, loc: Loc, keys: &Keys, kind: Kind, id: &ChunkId) -> Result<Vec<u8>> {
        thread_local! {
            static RECORD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let damaged = || BlocksError::Damaged { chunk: *id };
        RECORD.with_borrow_mut(|bytes| {
            bytes.resize(RECORD_HEADER + loc.stored() as usize, 0);
            self.read_record(loc, bytes).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => damaged(),
                // EIO: the disk could not read what it was given.
                _ if error.raw_os_error() == Some(5) => damaged(),
                _ => BlocksError::io("reading a pack")(error),
            })?;
            let record = Record::parse(bytes).ok_or_else(damaged)?;
            if record.id != *id || record.stored != loc.stored() {
                return Err(damaged());
            }
            let payload = &bytes[RECORD_HEADER..];
            // An intact record under a wrong key is the caller's mistake, not the disk's.
            let wrong = |what: BlocksError| if Record::intact(bytes) { what } else { damaged() };
            let raw = match (&keys.sealer, kind, record.sealed) {
                (Some(sealer), Kind::Data, true) => {
                    let payload = sealer.open(&record, payload);
                    payload.and_then(|payload| unpack(&record, &payload))
                }
                (Some(_), Kind::Data, false) => None,
                (_, _, true) => return Err(wrong(BlocksError::Locked { chunk: *id })),
                (_, _, false) => Some(unpack(&record, payload).ok_or_else(damaged)?),
            };
            match raw {
                None => Err(wrong(BlocksError::Forged { chunk: *id })),
                Some(raw) if keys.id(kind, &raw) == *id => Ok(raw),
                Some(_) => Err(wrong(BlocksError::Foreign { chunk: *id })),
            }
        })
    }

    pub(crate) fn read_record(&self, loc: Loc, bytes: &mut [u8]) -> io::Result<()> {
        self.packs.read_at(loc.pack, bytes, u64::from(loc.offset))
    }

    /// Puts a damaged chunk in quarantine: no longer known, so that a new copy heals it. False if
    /// it is no longer there.
    pub(crate) fn condemn(&self, prefix: Prefix, loc: Loc) -> bool {
        let there = self.index.remove(prefix, loc, u32::MAX);
        if there {
            let Loc { pack, offset, .. } = loc;
            tracing::error!(pack, offset, "a damaged chunk goes to quarantine");
            self.quarantine.add(prefix, loc);
        }
        there
    }

    /// A chunk or node through the cache.
    pub(crate) fn cached(&self, keys: &Keys, kind: Kind, id: &ChunkId) -> Result<Arc<Value>> {
        self.cache.get((keys.tag, *id), || {
            let bytes = self.fetch(keys, kind, id)?;
            match kind {
                Kind::Data => Ok(Value::Data(bytes)),
                Kind::Node => {
                    Node::decode(&bytes).map(Value::Node).ok_or(BlocksError::Damaged { chunk: *id })
                }
            }
        })
    }

    /// Appends records whose ids are not known yet; returns the bytes written.
    pub(crate) fn append(&self, bytes: &[u8], records: &[(Record, usize)]) -> Result<u64> {
        let epoch = self.pins.epoch();
        self.writer.append(
            bytes,
            records,
            |record| self.index.touch(&record.id, epoch).is_none(),
            |pack| self.add_pack(pack),
            |record, loc| {
                let prefix = Prefix::from(&record.id);
                self.index.insert(prefix, loc, epoch);
                self.quarantine.heal(&prefix);
            },
        )
    }

    /// Packs in ascending order from `number` on.
    pub(crate) fn packs_from(&self, number: u32) -> Vec<u32> {
        self.live.read().range(number..).copied().collect()
    }

    pub(crate) fn add_pack(&self, number: u32) {
        self.live.write().insert(number);
    }

    /// Stores a node and returns its name.
    pub(crate) fn put_node(&self, keys: &Keys, node: &Node) -> Result<(ChunkId, u64)> {
        let raw = node.encode();
        let id = keys.id(Kind::Node, &raw);
        if self.index.touch(&id, self.pins.epoch()).is_some() {
            return Ok((id, 0));
        }
        // Ids do not compress.
        let size = u32::try_from(raw.len()).expect("a node is at most 40 KiB");
        let record = Record { id, raw: size, stored: size, zstd: false, sealed: false };
        let mut bytes = Vec::with_capacity(RECORD_HEADER + raw.len());
        record.write(&raw, &mut bytes);
        Ok((id, self.append(&bytes, &[(record, 0)])?))
    }
}

fn unpack(record: &Record, payload: &[u8]) -> Option<Vec<u8>> {
    thread_local! {
        static UNZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
            const { RefCell::new(None) };
    }
    if !record.zstd {
        return Some(payload.to_vec());
    }
    UNZSTD.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = zstd::bulk::Decompressor::new().ok();
        }
        let raw = slot.as_mut()?.decompress(payload, record.raw as usize).ok()?;
        (raw.len() == record.raw as usize).then_some(raw)
    })
}
