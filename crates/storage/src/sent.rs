//! Blocks of snapshots that are being sent, on disk until all have come.
//!
//! One file a snapshot, of slots of one length: a header that says which block
//! follows and what it hashes to, then the block. A slot is written once; a
//! block that replaces another takes a slot of its own, so that what was
//! acknowledged stays until what replaces it is. Blocks of an encrypted snapshot
//! are sealed, with a key of the snapshot's own; what they hash to is not kept
//! then, as their seals say whether they are whole.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use ring::aead::LessSafeKey;
use sha2::{Digest as _, Sha256};
use vmint_ids::SnapshotId;

use crate::{
    BlockError, Result, StorageError,
    slot::{Place, SLOT, read_header, read_slot, sealing_key, write_slot},
};

pub(crate) use crate::slot::{BLOCK, Sum, sum};

/// What is being sent, by snapshot.
#[derive(Debug)]
pub(crate) struct AllSent {
    dir: PathBuf,
    open: Mutex<HashMap<SnapshotId, Arc<Sent>>>,
}

/// The blocks of one snapshot.
#[derive(Debug)]
pub(crate) struct Sent {
    id: SnapshotId,
    file: File,
    /// Of an encrypted snapshot.
    key: Option<LessSafeKey>,
    /// How many slots may be written at most.
    most: u64,
    state: Mutex<State>,
    /// How many slots have been written, and how many of them are on disk.
    written: AtomicU64,
    synced: Mutex<u64>,
    /// A sync failed: what is on disk is unknown.
    failed: AtomicBool,
    /// Held by those who write; alone by who says that all have come.
    pub(crate) gate: RwLock<()>,
    /// All have come: no further one is taken.
    pub(crate) closed: AtomicBool,
    /// When a block last came.
    pub(crate) touched_ms: AtomicU64,
    pub(crate) percent: AtomicU8,
}

#[derive(Debug, Default)]
struct State {
    slots: u64,
    blocks: BTreeMap<u32, Place>,
    /// On their way to disk.
    coming: HashMap<u32, Sum>,
}

impl AllSent {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, open: Mutex::default() }
    }

    fn path(&self, id: SnapshotId) -> PathBuf {
        self.dir.join(format!("{id}.blocks"))
    }

    /// What is being sent for `id`, if anything is.
    pub(crate) fn get(&self, id: SnapshotId) -> Option<Arc<Sent>> {
        self.open.lock().get(&id).cloned()
    }

    /// Everything that is being sent.
    pub(crate) fn all(&self) -> Vec<(SnapshotId, Arc<Sent>)> {
        self.open.lock().iter().map(|(id, sent)| (*id, sent.clone())).collect()
    }

    /// Makes the file for a new one, or reads that of one begun earlier.
    /// Blocks are sealed with `key`, if there is one.
    pub(crate) fn open(
        &self,
        id: SnapshotId,
        size_bytes: u64,
        key: Option<[u8; 32]>,
        now_ms: u64,
    ) -> Result<()> {
        fs::create_dir_all(&self.dir)?;
        let path = self.path(id);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path)?;
        // Its name must be there when its first block is acknowledged.
        File::open(&self.dir)?.sync_all()?;
        let sent = Sent::read(id, file, size_bytes, key.map(sealing_key).transpose()?, now_ms)?;
        self.open.lock().insert(id, Arc::new(sent));
        Ok(())
    }

    /// Ends one and removes its file. One that is not there is no error.
    pub(crate) fn remove(&self, id: SnapshotId) -> io::Result<()> {
        self.open.lock().remove(&id);
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes the files of those that are not under way.
    pub(crate) fn keep_open(&self) -> io::Result<()> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            let id = path.file_stem().and_then(|stem| stem.to_str()).map(str::parse);
            let Some(Ok(id)) = id else { continue };
            if is_ours(&path) && self.get(id).is_none() {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

fn is_ours(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "blocks")
}

impl Sent {
    /// Finds the blocks whose every byte is as it was acknowledged. What was
    /// torn before it was is passed over.
    fn read(
        id: SnapshotId,
        file: File,
        size_bytes: u64,
        key: Option<LessSafeKey>,
        now_ms: u64,
    ) -> Result<Self> {
        let mut state = State { slots: file.metadata()?.len().div_ceil(SLOT), ..State::default() };
        for slot in 0..state.slots {
            let Some((index, mut place)) = read_header(&file, slot)? else { continue };
            let Some(content) = read_slot(&file, &place, key.as_ref())? else { continue };
            let seen = sum(&content);
            if key.is_none() && seen != place.sum {
                continue;
            }
            place.sum = seen;
            state.blocks.insert(index, place);
        }
        let touched_ms = match file.metadata()?.modified() {
            Ok(time) => time
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(now_ms, |since| u64::try_from(since.as_millis()).unwrap_or(now_ms)),
            Err(_) => now_ms,
        };
        let slots = state.slots;
        Ok(Self {
            id,
            file,
            key,
            most: size_bytes.div_ceil(BLOCK) * 2 + 1024,
            state: Mutex::new(state),
            written: AtomicU64::new(slots),
            synced: Mutex::new(slots),
            failed: AtomicBool::default(),
            gate: RwLock::default(),
            closed: AtomicBool::default(),
            touched_ms: AtomicU64::new(touched_ms),
            percent: AtomicU8::default(),
        })
    }

    /// Writes a block; it counts once [`Sent::settle`] has put it on disk.
    /// None if it is there already.
    pub(crate) fn write(&self, index: u32, content: &[u8], sum: Sum) -> Result<Option<Written>> {
        self.check()?;
        let slot = {
            let mut state = self.state.lock();
            if state.blocks.get(&index).is_some_and(|place| place.sum == sum)
                && !state.coming.contains_key(&index)
            {
                return Ok(None);
            }
            if state.coming.get(&index).is_some_and(|other| *other != sum) {
                return Err(BlockError::Conflict { id: self.id, index }.into());
            }
            if state.slots >= self.most {
                return Err(BlockError::Rewritten { id: self.id }.into());
            }
            state.coming.insert(index, sum);
            state.slots += 1;
            state.slots - 1
        };
        let zero = content.iter().all(|byte| *byte == 0);
        let written = Place::new(slot, zero, sum).and_then(|place| {
            let bytes = write_slot(index, &place, content, self.key.as_ref())?;
            self.file.write_all_at(&bytes, slot * SLOT)?;
            Ok(place)
        });
        match written {
            Ok(place) => {
                let ticket = self.written.fetch_add(1, Ordering::AcqRel) + 1;
                Ok(Some(Written { index, place, ticket }))
            }
            Err(error) => {
                self.state.lock().coming.remove(&index);
                Err(error)
            }
        }
    }

    /// Puts blocks on disk, one sync for all that wait, and counts them.
    pub(crate) fn settle(&self, written: &[Written]) -> Result<()> {
        let Some(wanted) = written.iter().map(|one| one.ticket).max() else { return Ok(()) };
        let synced = self.sync(wanted);
        let mut state = self.state.lock();
        for one in written {
            state.coming.remove(&one.index);
            if synced.is_ok() {
                state.blocks.insert(one.index, one.place);
            }
        }
        synced
    }

    fn sync(&self, wanted: u64) -> Result<()> {
        let mut synced = self.synced.lock();
        if *synced >= wanted {
            return Ok(());
        }
        self.check()?;
        let covers = self.written.load(Ordering::Acquire);
        if let Err(error) = self.file.sync_data() {
            // The kernel may have dropped the data: trying again would lie.
            self.failed.store(true, Ordering::Release);
            return Err(error.into());
        }
        *synced = covers;
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if self.failed.load(Ordering::Acquire) {
            let why = "the blocks sent so far failed to reach their disk: start another snapshot";
            return Err(StorageError::Io(io::Error::other(why)));
        }
        Ok(())
    }

    /// How many blocks have come, and the checksum over all of theirs in order.
    pub(crate) fn count(&self) -> (u64, Sum) {
        let state = self.state.lock();
        let mut all = Sha256::new();
        for place in state.blocks.values() {
            all.update(place.sum);
        }
        (state.blocks.len() as u64, all.finalize().into())
    }

    /// Byte ranges of the blocks that have come, neighbours joined.
    pub(crate) fn ranges(&self) -> Vec<std::ops::Range<u64>> {
        let mut ranges: Vec<std::ops::Range<u64>> = Vec::new();
        for index in self.state.lock().blocks.keys() {
            let start = u64::from(*index) * BLOCK;
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end += BLOCK,
                _ => ranges.push(start..start + BLOCK),
            }
        }
        ranges
    }

    /// Fills `out` from `offset`, all of it within blocks that have come.
    /// `cache` holds the block read last, checked against its sum.
    pub(crate) fn read_at(
        &self,
        offset: u64,
        out: &mut [u8],
        cache: &mut Option<(u32, Vec<u8>)>,
    ) -> io::Result<()> {
        let (mut at, mut out) = (offset, out);
        while !out.is_empty() {
            let index = u32::try_from(at / BLOCK).map_err(io::Error::other)?;
            if cache.as_ref().is_none_or(|(there, _)| *there != index) {
                *cache = Some((index, self.block(index)?));
            }
            let Some((_, block)) = cache.as_ref() else { return Err(io::ErrorKind::Other.into()) };
            let from = usize::try_from(at % BLOCK).map_err(io::Error::other)?;
            let len = out.len().min(block.len() - from);
            let (part, rest) = out.split_at_mut(len);
            part.copy_from_slice(&block[from..from + len]);
            at += len as u64;
            out = rest;
        }
        Ok(())
    }

    fn block(&self, index: u32) -> io::Result<Vec<u8>> {
        let place = self.state.lock().blocks.get(&index).copied();
        let place = place.ok_or_else(|| io::Error::other("a block was not sent"))?;
        let content = read_slot(&self.file, &place, self.key.as_ref())?;
        let content = content.filter(|content| sum(content) == place.sum);
        content.ok_or_else(|| io::Error::other(format!("block {index} changed on disk")))
    }
}

/// A block that is written and not yet on disk for sure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    index: u32,
    place: Place,
    ticket: u64,
}
