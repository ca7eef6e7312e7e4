//! One overlay layer: a map of blocks and the data of those that have any.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::crypt::Crypt;
use crate::log::{Boot, Log};
use crate::map::{BlockMap, State};
use crate::segments::Segments;
use crate::{BLOCK, DiskError};

/// Trimmed stretches shorter than this keep their space: punching many small holes is slow.
const PUNCH: u64 = 1 << 20;

pub(crate) struct Layer {
    pub(crate) seq: u64,
    dir: PathBuf,
    boot: Boot,
    map: RwLock<BlockMap>,
    /// Made with the first change, so that a layer nobody writes costs nothing.
    log: Mutex<Option<Log>>,
    /// Of the file that was there when the layer was opened.
    generation: u64,
    segments: Segments,
    crypt: Option<Arc<Crypt>>,
}

impl Layer {
    /// A layer that holds nothing yet; nothing is written for it.
    pub(crate) fn new(
        dir: &Path,
        seq: u64,
        boot: Boot,
        crypt: Option<Arc<Crypt>>,
    ) -> io::Result<Self> {
        Ok(Self {
            seq,
            dir: dir.to_owned(),
            boot,
            map: RwLock::default(),
            log: Mutex::default(),
            generation: 0,
            segments: Segments::open(dir, seq)?,
            crypt,
        })
    }

    /// Reads a layer's files, and puts on disk what a dead process left in the kernel.
    pub(crate) fn open(
        dir: &Path,
        seq: u64,
        boot: Boot,
        crypt: Option<Arc<Crypt>>,
    ) -> Result<Self, DiskError> {
        let mut layer = Self::new(dir, seq, boot, crypt).map_err(DiskError::io("open a layer"))?;
        let Some(opened) = Log::open(dir, &name(seq), boot)? else {
            if layer.segments.any() {
                let (path, what) = (dir.join(name(seq)), "it is gone, but its data is not");
                return Err(DiskError::Damaged { path, what });
            }
            return Ok(layer);
        };
        let mut log = Some(opened.log);
        layer.generation = log.as_ref().map_or(0, Log::generation);
        if opened.stale {
            let failed = |error| DiskError::io("bring a layer up to date")(error);
            layer.segments.sync().map_err(failed)?;
            match Log::write(dir, &name(seq), &opened.map, layer.generation + 1, boot) {
                Ok(fresh) => log = Some(fresh),
                // A volume opens on a full disk too. The log of this boot serves on; that of
                // another holds nothing that counts, and the first change replaces it.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    log = log.filter(|_| opened.same_boot);
                }
                Err(error) => return Err(failed(error)),
            }
        }
        layer.map = RwLock::new(opened.map);
        layer.log = Mutex::new(log);
        Ok(layer)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.map.read().is_empty()
    }

    /// The state of `block` and the end of its run, no later than `end`.
    pub(crate) fn run(&self, block: u64, end: u64) -> (State, u64) {
        self.map.read().run(block, end)
    }

    pub(crate) fn is_all_data(&self, blocks: &Range<u64>) -> bool {
        self.run(blocks.start, blocks.end) == (State::Data, blocks.end)
    }

    /// Reads bytes of blocks whose state is `Data`.
    pub(crate) fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        match &self.crypt {
            None => self.segments.read_at(offset, buf),
            Some(crypt) => crypt.read_at(&self.segments, self.seq, offset, buf),
        }
    }

    /// Writes bytes; they count once their blocks are marked.
    pub(crate) fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        match &self.crypt {
            None => self.segments.write_at(offset, buf),
            Some(crypt) => crypt.write_at(&self.segments, self.seq, offset, buf),
        }
    }

    /// Must come before the first [`Layer::write_at`], so that data without a map means damage.
    pub(crate) fn ready(&self) -> io::Result<()> {
        self.with_log(|_| Ok(()))
    }

    /// Changes the state of blocks. The caller lets no two changes run at once.
    pub(crate) fn mark(&self, blocks: Range<u64>, state: State) -> io::Result<()> {
        self.with_log(|log| log.record(blocks.start, blocks.end - blocks.start, state))?;
        let freed = if state == State::Zero { self.long_data(&blocks) } else { Vec::new() };
        self.map.write().set(blocks, state);
        // Outside the map's lock: this may take long, and readers get zeros either way.
        for run in freed {
            self.segments.punch(run.start * BLOCK, (run.end - run.start) * BLOCK);
        }
        Ok(())
    }

    /// The runs of data in `blocks` that are worth punching out.
    fn long_data(&self, blocks: &Range<u64>) -> Vec<Range<u64>> {
        let map = self.map.read();
        let mut runs = Vec::new();
        let mut at = blocks.start;
        while at < blocks.end {
            let (state, end) = map.run(at, blocks.end);
            if state == State::Data && (end - at) * BLOCK >= PUNCH {
                runs.push(at..end);
            }
            at = end;
        }
        runs
    }

    /// Puts all completed writes and changes on disk. One caller at a time. A `StorageFull`
    /// error leaves the layer as it was; any other means that data may be lost.
    pub(crate) fn sync(&self) -> io::Result<()> {
        // Changes recorded by now have their data written; the sync below covers it.
        let covered = self.log.lock().as_ref().and_then(Log::uncommitted);
        self.segments.sync().map_err(lost)?;
        let Some(covered) = covered else { return Ok(()) };
        let Some((file, end)) = self.with_log_if_any(|log| log.commit(covered)).transpose()? else {
            return Ok(());
        };
        file.sync_data().map_err(lost)?;
        self.with_log_if_any(|log| log.committed(covered, end));
        Ok(())
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.segments.is_dirty()
            || self.log.lock().as_ref().is_some_and(|log| log.uncommitted().is_some())
    }

    pub(crate) fn log_is_long(&self) -> bool {
        self.log.lock().as_ref().is_some_and(Log::is_long)
    }

    /// Writes the map anew and drops the log. Nobody may be writing meanwhile.
    pub(crate) fn compact(&self) -> io::Result<()> {
        self.sync()?;
        let mut log = self.log.lock();
        let Some(old) = log.as_ref() else { return Ok(()) };
        let generation = old.generation() + 1;
        *log =
            Some(Log::write(&self.dir, &name(self.seq), &self.map.read(), generation, self.boot)?);
        Ok(())
    }

    /// Bytes that the data takes on disk.
    pub(crate) fn allocated(&self) -> u64 {
        self.segments.allocated()
    }

    fn with_log<T>(&self, act: impl FnOnce(&mut Log) -> io::Result<T>) -> io::Result<T> {
        let mut log = self.log.lock();
        if let Some(log) = log.as_mut() {
            return act(log);
        }
        let (name, generation) = (name(self.seq), self.generation + 1);
        let new = Log::write(&self.dir, &name, &self.map.read(), generation, self.boot)?;
        act(log.insert(new))
    }

    fn with_log_if_any<T>(&self, act: impl FnOnce(&mut Log) -> T) -> Option<T> {
        self.log.lock().as_mut().map(act)
    }
}

fn name(seq: u64) -> String {
    format!("{seq}.map")
}

/// A sync that failed for want of space has lost data all the same.
fn lost(error: io::Error) -> io::Error {
    io::Error::other(error)
}

/// Clears a directory nobody uses of every layer that is not in `keep`, and of half-made files.
pub(crate) fn keep_only(dir: &Path, keep: &[u64]) -> io::Result<()> {
    remove(dir, |seq, rest| rest.ends_with("next") || seq.is_some_and(|seq| !keep.contains(&seq)))
}

/// Removes the files of the layers in `seqs`.
pub(crate) fn drop_layers(dir: &Path, seqs: &[u64]) -> io::Result<()> {
    remove(dir, |seq, _| seq.is_some_and(|seq| seqs.contains(&seq)))
}

fn remove(dir: &Path, which: impl Fn(Option<u64>, &str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let (seq, rest) = file.split_once('.').unwrap_or((file, ""));
        if which(seq.parse().ok(), rest) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
