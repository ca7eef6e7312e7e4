//! Housekeeping beside the writer: spare segments, checkpoints, trimming.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Weak, mpsc::Receiver},
};

use crate::{
    StoreError, checkpoint,
    disk::{self, Disk},
    journal::FileJournal,
    store::Inner,
};

/// A delta is held in memory while a checkpoint is written.
const LONGEST_DELTA: u64 = 128 << 20;

#[derive(Debug)]
pub(crate) enum Chore {
    /// The journal began a new segment; the one before ends with `last`.
    Sealed {
        last: u64,
        bytes: u64,
    },
    Stop,
}

/// Does chores until told to stop. A failure is only logged: the journal keeps
/// everything until it can be done.
pub(crate) fn work(
    inner: &Weak<Inner>,
    disk: &Disk,
    journal: &FileJournal,
    queue: &Receiver<Chore>,
) {
    crate::store::yielding();
    disk::ballast(disk);
    prepare(journal);
    let mut sealed = 0;
    while let Ok(Chore::Sealed { last, bytes }) = queue.recv() {
        sealed += bytes;
        prepare(journal);
        let Some(shared) = inner.upgrade() else { return };
        if let Err(error) = shared.view().flush() {
            tracing::error!(%error, "flushing the view failed");
        }
        drop(shared);
        let closing = || inner.upgrade().is_none_or(|shared| shared.recent.closing());
        match write(disk, journal, last, sealed, &closing) {
            Ok(true) => sealed = 0,
            Ok(false) => {}
            // Nobody is to wait for it; it is made up for later.
            Err(_) if closing() => return,
            Err(error) => tracing::error!(%error, "no checkpoint could be written"),
        }
    }
}

fn prepare(journal: &FileJournal) {
    if let Err(error) = journal.prepare() {
        tracing::warn!(%error, "no spare journal segment could be prepared");
    }
}

/// Writes a checkpoint if one is due, and drops what it makes superfluous.
fn write(
    disk: &Disk,
    journal: &FileJournal,
    last: u64,
    sealed: u64,
    closing: &dyn Fn() -> bool,
) -> Result<bool, StoreError> {
    let dir = disk.checkpoints();
    let known = checkpoint::list(&dir)?;
    let base = known.last();
    let size = base.and_then(|(_, path)| fs::metadata(path).ok()).map_or(0, |meta| meta.len());
    let due = disk.options.checkpoint_every_bytes.max((size / 2).min(LONGEST_DELTA));
    if sealed < due || base.is_some_and(|(seq, _)| *seq >= last) {
        return Ok(false);
    }
    install(&dir, last, |file| {
        let to = &mut Steady { file, since: 0, closing };
        checkpoint::write(base.map(|b| b.1.as_path()), journal, last, to)
    })?;
    for (_, path) in known.iter().rev().skip(1) {
        fs::remove_file(path).map_err(|e| StoreError::io("removing", path, &e))?;
    }
    // Whatever the older of the two lacks must stay in the journal.
    if let Some((seq, _)) = base {
        journal.trim(*seq)?;
    }
    Ok(true)
}

/// Puts a checkpoint in its place once it is whole and durable.
pub(crate) fn install(
    dir: &Path,
    seq: u64,
    write: impl FnOnce(&mut File) -> Result<(), StoreError>,
) -> Result<PathBuf, StoreError> {
    let tmp = dir.join("writing.tmp");
    let path = checkpoint::path(dir, seq);
    let failed = |e: std::io::Error| StoreError::io("writing", &path, &e);
    let mut file = File::create(&tmp).map_err(failed)?;
    let written = write(&mut file).and_then(|()| {
        file.sync_all().and_then(|()| fs::rename(&tmp, &path)).map_err(failed)?;
        File::open(dir).and_then(|d| d.sync_all()).map_err(failed)
    });
    if let Err(error) = written {
        let _ = fs::remove_file(&tmp);
        return Err(error);
    }
    Ok(path)
}

/// A file that is synced as it grows: one large sync at its end would hold up
/// those of the journal.
struct Steady<'a> {
    file: &'a mut File,
    since: usize,
    closing: &'a dyn Fn() -> bool,
}

/// Bytes between two syncs.
const STEADY: usize = 8 << 20;

impl Write for Steady<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if (self.closing)() {
            return Err(std::io::Error::other("the store closes"));
        }
        let wrote = self.file.write(bytes)?;
        self.since += wrote;
        if self.since > STEADY {
            self.since = 0;
            self.file.sync_data()?;
        }
        Ok(wrote)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Starts the thread.
pub(crate) fn start(
    inner: &Arc<Inner>,
    disk: Disk,
    journal: Arc<FileJournal>,
    queue: Receiver<Chore>,
) -> Result<std::thread::JoinHandle<()>, StoreError> {
    let weak = Arc::downgrade(inner);
    crate::store::spawn("store-keeper", move || work(&weak, &disk, &journal, &queue))
}
