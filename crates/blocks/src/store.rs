//! A block store: its directory, its parts, and how one chunk is put and fetched.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};

use crate::{
    BlocksError, ChunkId, Domain, Ingest, Result, Root, Tree,
    cache::{Cache, Value},
    id::{Keys, Kind},
    index::{Index, Loc, Prefix},
    node::{MAX_SIZE, Node},
    pack::{self, Handles, Pack, RECORD_HEADER, Record},
    pin::Pins,
    pool::Pool,
    quarantine::Quarantine,
    trash::Trash,
    writer::Writer,
};

/// How a store behaves. The defaults fit one machine.
#[derive(Debug, Clone)]
pub struct Options {
    /// A pack is sealed when it reaches this size, bytes; 1 MiB to 1 GiB.
    pub pack_bytes: u64,
    /// Verified chunks kept in memory, bytes; taken as they are needed.
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
            cache_bytes: 64 << 20,
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
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) index: Index,
    pub(crate) packs: RwLock<HashMap<u32, Arc<Pack>>>,
    pub(crate) handles: Handles,
    pub(crate) writer: Writer,
    pub(crate) cache: Cache,
    pub(crate) pool: Pool,
    pub(crate) pins: Arc<Pins>,
    pub(crate) quarantine: Quarantine,
    pub(crate) trash: Trash,
    pub(crate) collecting: Mutex<()>,
    pub(crate) scrubbed: Mutex<(u32, u64)>,
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
        let packs_dir = dir.join("packs");
        fs::create_dir_all(&packs_dir).map_err(BlocksError::io("making the store"))?;
        let lock = File::create(dir.join("lock")).map_err(BlocksError::io("locking the store"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => BlocksError::InUse { dir: dir.to_owned() },
            fs::TryLockError::Error(source) => BlocksError::io("locking the store")(source),
        })?;
        let quarantine = Quarantine::open(dir.join("quarantine"))?;
        let index = Index::new();
        let mut packs = HashMap::new();
        let mut lost = HashSet::new();
        for (number, path) in numbered(&packs_dir).map_err(BlocksError::io("listing packs"))? {
            let load = || load_pack(&path);
            for entry in load().map_err(BlocksError::io("reading a pack's footer"))? {
                let loc = Loc::new(number, entry.offset, entry.stored, entry.raw);
                if quarantine.has_place(number, entry.offset) {
                    lost.insert(Prefix::from(&entry.id));
                } else {
                    index.insert(Prefix::from(&entry.id), loc, 0);
                }
            }
            packs.insert(number, Pack::new(number, path));
        }
        quarantine.begin(lost.into_iter().filter(|prefix| !index.has(prefix)));
        let trash = Trash::open(dir.join("trash"))?;
        let next = packs.keys().copied().chain(trash.numbers()).max().map_or(1, |last| last + 1);
        let pack_bytes = options.pack_bytes.clamp(1 << 20, 1 << 30);
        Ok(Self(Arc::new(Inner {
            index,
            packs: RwLock::new(packs),
            handles: Handles::default(),
            writer: Writer::new(packs_dir, pack_bytes, next),
            cache: Cache::new(options.cache_bytes),
            pool: Pool::new(options.threads),
            options,
            pins: Arc::default(),
            quarantine,
            trash,
            collecting: Mutex::default(),
            scrubbed: Mutex::default(),
            trash_reads: AtomicU64::new(0),
            _lock: lock,
        })))
    }

    /// Begins to store a content of `size_bytes`.
    pub fn ingest(&self, domain: Domain, size_bytes: u64) -> Result<Ingest> {
        check_size(size_bytes)?;
        Ok(Ingest::new(&self.0, domain, size_bytes))
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
        let packs: Vec<_> = inner.packs.read().values().cloned().collect();
        let size = |pack: &Arc<Pack>| fs::metadata(&*pack.path.read()).map_or(0, |meta| meta.len());
        let (trash_packs, trash_bytes) = inner.trash.size();
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
        }
    }
}

pub(crate) fn check_size(size: u64) -> Result<()> {
    if size > MAX_SIZE { Err(BlocksError::TooLarge { size, max: MAX_SIZE }) } else { Ok(()) }
}

/// The packs of a directory by number, ascending.
pub(crate) fn numbered(dir: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let stem = name.strip_suffix(".pack").and_then(|stem| stem.get(..8));
        let number = stem.and_then(|stem| u32::from_str_radix(stem, 16).ok());
        found.extend(number.map(|number| (number, path.clone())));
    }
    found.sort_unstable();
    Ok(found)
}

/// What a pack lists; one without a sound footer is walked, and sealed if there is room for it.
pub(crate) fn load_pack(path: &Path) -> io::Result<Vec<pack::Listed>> {
    let file = File::open(path)?;
    if let Some((listed, _)) = pack::read_footer(&file, file.metadata()?.len())? {
        return Ok(listed);
    }
    let (listed, end) = pack::scan(path)?;
    if let Err(error) = pack::seal(path, &listed, end) {
        tracing::warn!(path = %path.display(), %error, "a recovered pack stays unsealed");
    }
    Ok(listed)
}

impl Inner {
    /// The raw bytes of a chunk, verified.
    pub(crate) fn fetch(&self, keys: &Keys, kind: Kind, id: &ChunkId) -> Result<Vec<u8>> {
        // A collection may move a chunk between the look-up and the read.
        for _ in 0..4 {
            let Some(loc) = self.index.get(id) else { break };
            let Some(pack) = self.packs.read().get(&loc.pack).cloned() else { continue };
            return match self.read_verified(&pack, loc, keys, kind, id) {
                // Collected and deleted in the meantime: it has been moved.
                Err(BlocksError::Io { .. }) if self.index.get(id) != Some(loc) => continue,
                // Once more, lest a passing fault of memory or bus condemn it.
                Err(BlocksError::Damaged { .. }) => {
                    self.read_verified(&pack, loc, keys, kind, id).inspect_err(|error| {
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
        if let Some((pack, loc)) = self.trash.find(id) {
            self.trash_reads.fetch_add(1, Ordering::Relaxed);
            tracing::error!(chunk = %id, "a chunk in use was collected; served from the trash");
            return self.read_verified(&pack, loc, keys, kind, id);
        }
        Err(BlocksError::Missing { chunk: *id })
    }

    fn read_verified(
        &self,
        pack: &Arc<Pack>,
        loc: Loc,
        keys: &Keys,
        kind: Kind,
        id: &ChunkId,
    ) -> Result<Vec<u8>> {
        thread_local! {
            static RECORD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let damaged = || BlocksError::Damaged { chunk: *id };
        RECORD.with_borrow_mut(|bytes| {
            bytes.resize(RECORD_HEADER + loc.stored() as usize, 0);
            self.read_record(pack, loc, bytes).map_err(|error| match error.kind() {
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

    pub(crate) fn read_record(
        &self,
        pack: &Arc<Pack>,
        loc: Loc,
        bytes: &mut [u8],
    ) -> io::Result<()> {
        self.handles.get(pack)?.read_exact_at(bytes, u64::from(loc.offset))
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
    pub(crate) fn packs_from(&self, number: u32) -> Vec<Arc<Pack>> {
        let mut packs: Vec<_> =
            self.packs.read().values().filter(|pack| pack.number >= number).cloned().collect();
        packs.sort_unstable_by_key(|pack| pack.number);
        packs
    }

    pub(crate) fn add_pack(&self, pack: Arc<Pack>) {
        self.packs.write().insert(pack.number, pack);
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
