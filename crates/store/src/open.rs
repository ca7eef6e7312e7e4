//! Opening: bringing the view to where the journal is.

use std::{
    fs::{self, File, OpenOptions},
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
};

use crate::{
    Options, StoreError, checkpoint,
    journal::{self, Begin, FileJournal, Layout, Record},
    keeper::Chore,
    layer::Writes,
    store::Disk,
    tx::clock,
    view::{self, Mark, SledView, View},
};

#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) disk: Disk,
    pub(crate) journal: Arc<FileJournal>,
    pub(crate) view: SledView,
    pub(crate) mark: Mark,
    pub(crate) at_ms: u64,
    pub(crate) chores: (Sender<Chore>, Receiver<Chore>),
}

/// What the view can be built on.
#[derive(Debug)]
enum Base {
    /// The view as it was found.
    Found(SledView, Mark),
    Checkpoint(PathBuf),
    Nothing,
}

pub(crate) fn open(dir: &Path, options: Options) -> Result<Opened, StoreError> {
    let disk = claim(dir, options)?;
    let segments = journal::list(&disk.journal())?;
    let checkpoints = checkpoint::list(&disk.checkpoints())?;
    let oldest = segments.first().map(|segment| segment.0);

    let found = existing(&disk);
    // Whatever says that it is so far was told so by a durable journal.
    let mut seen = checkpoints.last().map_or(0, |(seq, _)| *seq);
    let mut bases = Vec::new();
    match found {
        Ok(Some((view, mark, sound))) => {
            seen = seen.max(mark.seq);
            if sound {
                bases.push(Base::Found(view, mark));
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
        let attempt = build(&disk, base).and_then(|(view, mark)| replay(&segments, view, mark));
        match attempt {
            Ok((view, mark, begin, at_ms)) => {
                if mark.seq < seen {
                    let why = format!("it ends at {} but {seen} was once answered", mark.seq);
                    return Err(StoreError::rotten(&disk.journal(), 0, why));
                }
                return finish(disk, view, mark, begin, at_ms);
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

fn finish(
    disk: Disk,
    view: SledView,
    mark: Mark,
    begin: Option<Begin>,
    at_ms: u64,
) -> Result<Opened, StoreError> {
    let (chores, todo) = channel();
    let layout = Layout {
        dir: disk.journal(),
        first_segment_bytes: disk.options.first_segment_bytes.max(4096),
        segment_bytes: disk.options.segment_bytes,
    };
    let begin = begin.unwrap_or(Begin::Fresh { last: mark.seq });
    let journal = Arc::new(FileJournal::begin(layout, begin, chores.clone())?);
    Ok(Opened { disk, journal, view, mark, at_ms, chores: (chores, todo) })
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

/// The view that is there, its mark, and whether it holds what the mark says.
fn existing(disk: &Disk) -> Result<Option<(SledView, Mark, bool)>, StoreError> {
    if !disk.sled().exists() {
        return Ok(None);
    }
    let view = SledView::open(&disk.sled(), disk.options.cache_bytes)?;
    let mark = view.mark()?.unwrap_or_default();
    // sled panics on some damage.
    let digest = catch_unwind(AssertUnwindSafe(|| view::digest(&view)))
        .map_err(|_| StoreError::View("reading it panicked".into()))?;
    let sound = digest? == mark.digest;
    Ok(Some((view, mark, sound)))
}

fn build(disk: &Disk, base: Base) -> Result<(SledView, Mark), StoreError> {
    match base {
        Base::Found(view, mark) => Ok((view, mark)),
        Base::Nothing => Ok((anew(disk)?, Mark::default())),
        Base::Checkpoint(path) => {
            let view = anew(disk)?;
            let mut reader = checkpoint::Reader::open(&path)?;
            let mut step = Writes::new();
            while let Some((key, value)) = reader.next()? {
                step.insert(key, Some(value));
                if step.len() == 1000 {
                    // Not yet what `mark` says, so it says nothing.
                    view.apply(&std::mem::take(&mut step), Mark::default())?;
                }
            }
            let mark = Mark { seq: reader.seq, digest: reader.sum };
            view.apply(&step, mark)?;
            Ok((view, mark))
        }
    }
}

/// An empty view; what was there before is kept aside for a look at it.
fn anew(disk: &Disk) -> Result<SledView, StoreError> {
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
    SledView::open(&sled, disk.options.cache_bytes)
}

type Replayed = (SledView, Mark, Option<Begin>, u64);

/// Applies what the journal has behind `mark`, and finds its end.
fn replay(
    segments: &[(u64, PathBuf)],
    view: SledView,
    mut mark: Mark,
) -> Result<Replayed, StoreError> {
    let mut begin = None;
    let mut at_ms = clock().min(u64::MAX / 2);
    let start = mark.seq;
    if segments.first().is_some_and(|(first, _)| *first > start + 1) {
        return Err(StoreError::View("it is older than the journal".into()));
    }
    for (at, (_, path)) in segments.iter().enumerate() {
        let next = segments.get(at + 1).map(|next| next.0);
        if next.is_some_and(|next| next <= start + 1) {
            continue;
        }
        let (head, tail) = journal::scan(path, next.is_none(), |record| {
            if record.last > start {
                apply(&view, &mut mark, &record)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if let Some(next) = next
            && next != tail.last + 1
        {
            let why =
                format!("{} should follow, but the next segment begins with {next}", tail.last + 1);
            return Err(StoreError::rotten(path, tail.at, why));
        }
        if tail.torn {
            tracing::warn!(file = %path.display(), at = tail.at, "dropped a write that was cut short");
        }
        at_ms = at_ms.max(tail.at_ms);
        begin = Some((path.clone(), head, tail));
    }
    // An import leaves a checkpoint and no journal, or an old one.
    let begin = begin.map(|(path, head, tail)| Begin::At { path, head, tail });
    Ok((view, mark, begin, at_ms))
}

fn apply(view: &SledView, mark: &mut Mark, record: &Record) -> Result<(), StoreError> {
    if record.first != mark.seq + 1 {
        return Err(StoreError::View("it stands in the middle of a group".into()));
    }
    view::advance(view, &record.writes, record.last, mark)
}
