//! Opening: bringing the view to where the journal is.

use std::{
    fs::{self, File, OpenOptions},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
};

use crate::{
    Options, StoreError, checkpoint,
    disk::Disk,
    journal::{self, Begin, FileJournal, Layout},
    keeper::Chore,
    layer::Writes,
    tx::clock,
    view::{PackedView, Packing, View},
};

/// About the size of a block of the view, in bytes: what one read of a row
/// checks, and what sled takes as one value.
const BLOCK: usize = 7 << 10;

#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) disk: Disk,
    pub(crate) journal: Arc<FileJournal>,
    pub(crate) view: PackedView,
    /// What the view does not hold yet, and the transaction it ends with.
    pub(crate) tail: (Writes, u64),
    pub(crate) at_ms: u64,
    pub(crate) chores: (Sender<Chore>, Receiver<Chore>),
}

/// What the view can be built on.
#[derive(Debug)]
enum Base {
    /// The view as it was found.
    Found(PackedView),
    Checkpoint(PathBuf),
    Nothing,
}

pub(crate) fn open(dir: &Path, options: Options) -> Result<Opened, StoreError> {
    let disk = claim(dir, options)?;
    let segments = journal::list(&disk.journal())?;
    let checkpoints = checkpoint::list(&disk.checkpoints())?;
    let oldest = segments.first().map(|segment| segment.0);

    let closed = disk.take_closed()?;
    let found = existing(&disk, closed.map(|closed| closed.viewed));
    // Whatever says that it is so far was told so by a durable journal.
    let mut seen = checkpoints.last().map_or(0, |(seq, _)| *seq);
    seen = seen.max(closed.map_or(0, |closed| closed.last));
    let mut bases = Vec::new();
    match found {
        Ok(Some((view, sound))) => {
            seen = seen.max(view.seq().unwrap_or(0));
            if sound {
                bases.push(Base::Found(view));
            } else {
                tracing::error!("the view is not what it should be; it is built anew");
            }
        }
        Ok(None) => {}
        // Nothing is wrong with it that room would not mend.
        Err(error @ StoreError::Full { .. }) => return Err(error),
        Err(error) => tracing::error!(%error, "the view cannot be opened; it is built anew"),
    }
    bases.extend(checkpoints.iter().rev().map(|(_, path)| Base::Checkpoint(path.clone())));
    if oldest.is_none_or(|oldest| oldest == 1) {
        bases.push(Base::Nothing);
    }

    let mut failure = StoreError::rotten(&disk.dir, 0, "neither view nor checkpoint can be used");
    for base in bases {
        let attempt = build(&disk, base).and_then(|view| {
            let replayed = replay(&segments, &view, disk.options.batch_bytes)?;
            Ok((view, replayed))
        });
        match attempt {
            Ok((view, replayed)) => {
                let last = replayed.tail.1;
                if last < seen {
                    let why = format!("it ends at {last} but {seen} was once answered");
                    return Err(StoreError::rotten(&disk.journal(), 0, why));
                }
                return finish(disk, view, replayed);
            }
            Err(error @ (StoreError::Rotten { .. } | StoreError::Full { .. })) => {
                return Err(error);
            }
            Err(error) => {
                tracing::error!(%error, "the state cannot be built on this base; trying the next");
                failure = error;
            }
        }
    }
    Err(failure)
}

fn finish(disk: Disk, view: PackedView, replayed: Replayed) -> Result<Opened, StoreError> {
    let Replayed { tail, begin, at_ms } = replayed;
    let (chores, todo) = channel();
    let layout = Layout {
        dir: disk.journal(),
        first_segment_bytes: disk.options.first_segment_bytes.max(4096),
        segment_bytes: disk.options.segment_bytes,
    };
    let begin = begin.unwrap_or(Begin::Fresh { last: tail.1 });
    let journal = Arc::new(FileJournal::begin(layout, begin, chores.clone())?);
    Ok(Opened { disk, journal, view, tail, at_ms, chores: (chores, todo) })
}

/// Takes the directory for this process and tidies it.
fn claim(dir: &Path, options: Options) -> Result<Disk, StoreError> {
    let failed = |e: std::io::Error| StoreError::io("opening", dir, &e);
    fs::create_dir_all(dir).map_err(failed)?;
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(dir.join("LOCK"));
    let lock = lock.map_err(failed)?;
    lock.try_lock().map_err(|_| StoreError::Locked { dir: dir.display().to_string() })?;
    let disk = Disk::new(dir, options, lock);
    if disk.free()? < disk.options.keep_free_bytes {
        // This is what it is for.
        let _ = fs::remove_file(dir.join("ballast"));
    }
    for part in [disk.journal(), disk.checkpoints()] {
        if !part.exists() {
            fs::create_dir(&part).map_err(failed)?;
            File::open(dir).and_then(|d| d.sync_all()).map_err(failed)?;
        }
    }
    for half in ["journal/spare", "journal/spare.tmp", "checkpoint/writing.tmp"] {
        match fs::remove_file(dir.join(half)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => {}
        }
    }
    Ok(disk)
}

/// The view that is there, and whether it can be trusted to be whole.
///
/// What was closed in peace, at transaction `closed`, is looked at when it is
/// read; after anything else every block of it is, now.
fn existing(disk: &Disk, closed: Option<u64>) -> Result<Option<(PackedView, bool)>, StoreError> {
    if !disk.sled().exists() {
        return Ok(None);
    }
    let view = PackedView::open(&disk.sled(), packing(disk))?;
    let sound = closed == Some(view.seq().unwrap_or(0))
        || match view.verify() {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "the view does not read back");
                false
            }
        };
    Ok(Some((view, sound)))
}

fn packing(disk: &Disk) -> Packing {
    let Options { cache_bytes: cache, batch_bytes, .. } = disk.options;
    Packing { cache, block: BLOCK, batch: batch_bytes as u64 }
}

fn build(disk: &Disk, base: Base) -> Result<PackedView, StoreError> {
    match base {
        Base::Found(view) => Ok(view),
        Base::Nothing => anew(disk),
        Base::Checkpoint(path) => {
            let view = anew(disk)?;
            let mut reader = checkpoint::Reader::open(&path)?;
            view.load(reader.seq, |fill| {
                while let Some((key, value)) = reader.next()? {
                    fill(key, value)?;
                }
                Ok(())
            })?;
            Ok(view)
        }
    }
}

/// An empty view; what was there before is kept aside for a look at it.
fn anew(disk: &Disk) -> Result<PackedView, StoreError> {
    let (sled, aside) = (disk.sled(), disk.dir.join("sled.bad"));
    if sled.exists() {
        let moved = || {
            if aside.exists() {
                fs::remove_dir_all(&aside)?;
            }
            fs::rename(&sled, &aside)
        };
        moved().map_err(|e| StoreError::io("moving aside", &sled, &e))?;
    }
    PackedView::open(&sled, packing(disk))
}

/// What the journal had to say.
struct Replayed {
    tail: (Writes, u64),
    begin: Option<Begin>,
    at_ms: u64,
}

/// Reads what the journal has behind the view, and finds its end. Whole batches
/// go to the view, the rest stays in memory.
fn replay(
    segments: &[(u64, PathBuf)],
    view: &PackedView,
    batch_bytes: usize,
) -> Result<Replayed, StoreError> {
    let mut begin = None;
    let mut at_ms = clock().min(u64::MAX / 2);
    let start = view.seq().unwrap_or(0);
    if segments.first().is_some_and(|(first, _)| *first > start + 1) {
        return Err(StoreError::View("it is older than the journal".into()));
    }
    let (mut tail, mut last, mut bytes) = (Writes::new(), start, 0);
    for (at, (_, path)) in segments.iter().enumerate() {
        let next = segments.get(at + 1).map(|next| next.0);
        if next.is_some_and(|next| next <= start + 1) {
            continue;
        }
        let (head, end) = journal::scan(path, next.is_none(), |record| {
            if record.last > start {
                if record.first != last + 1 {
                    return Err(StoreError::View("it stands in the middle of a group".into()));
                }
                last = record.last;
                bytes += record.bytes();
                tail.extend(record.writes);
                if bytes >= batch_bytes {
                    view.apply(&std::mem::take(&mut tail), last)?;
                    bytes = 0;
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if let Some(next) = next
            && next != end.last + 1
        {
            let why =
                format!("{} should follow, but the next segment begins with {next}", end.last + 1);
            return Err(StoreError::rotten(path, end.at, why));
        }
        if end.torn {
            tracing::warn!(file = %path.display(), at = end.at, "dropped a write that was cut short");
        }
        at_ms = at_ms.max(end.at_ms);
        begin = Some((path.clone(), head, end));
    }
    // An import leaves a checkpoint and no journal, or an old one.
    let begin = begin.map(|(path, head, tail)| Begin::At { path, head, tail });
    Ok(Replayed { tail: (tail, last), begin, at_ms })
}
