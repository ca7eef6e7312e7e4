//! A layer's data: sparse files of at most 1 TiB, each byte at its place in the disk.
//!
//! Some file systems cap a file at 16 TiB and a volume may have 64.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, fallocate};

const SEGMENT: u64 = 1 << 40;
/// 64 TiB.
const MAX_SEGMENTS: usize = 64;

struct Segment {
    file: File,
    /// Written since the last sync. Set after the write, before it is acknowledged.
    dirty: AtomicBool,
}

pub(crate) struct Segments {
    dir: PathBuf,
    seq: u64,
    files: Vec<OnceLock<Segment>>,
    creating: Mutex<()>,
    /// A file was created and its directory entry is not synced yet.
    created: AtomicBool,
}

impl Segments {
    /// Opens what is there; files are created on first write.
    pub(crate) fn open(dir: &Path, seq: u64) -> io::Result<Self> {
        let segments = Self {
            dir: dir.to_owned(),
            seq,
            files: (0..MAX_SEGMENTS).map(|_| OnceLock::new()).collect(),
            creating: Mutex::new(()),
            created: AtomicBool::new(false),
        };
        for (index, slot) in segments.files.iter().enumerate() {
            match File::options().read(true).write(true).open(segments.path(index)) {
                // It may hold what a dead process wrote and never synced.
                Ok(file) => drop(slot.set(Segment { file, dirty: AtomicBool::new(true) })),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(segments)
    }

    pub(crate) fn any(&self) -> bool {
        self.files.iter().any(|slot| slot.get().is_some())
    }

    /// A block that the map says is here must be here: a short file is an error, not zeros.
    pub(crate) fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let (index, within) = locate(offset);
        let (now, later) = split(within, buf.len());
        let (first, rest) = buf.split_at_mut(now);
        let segment = self.files.get(index).and_then(OnceLock::get);
        segment.ok_or(io::ErrorKind::UnexpectedEof)?.file.read_exact_at(first, within)?;
        if later { self.read_at(offset + now as u64, rest) } else { Ok(()) }
    }

    pub(crate) fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        let (index, within) = locate(offset);
        let (now, later) = split(within, buf.len());
        let (first, rest) = buf.split_at(now);
        let segment = self.segment(index)?;
        segment.file.write_all_at(first, within)?;
        segment.dirty.store(true, Ordering::Release);
        if later { self.write_at(offset + now as u64, rest) } else { Ok(()) }
    }

    /// Gives space back to the file system; a file system that cannot keeps it.
    pub(crate) fn punch(&self, offset: u64, len: u64) {
        let (index, within) = locate(offset);
        let now = len.min(SEGMENT - within);
        if let Some(segment) = self.files.get(index).and_then(OnceLock::get) {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            if let Err(error) = fallocate(&segment.file, flags, within, now) {
                tracing::debug!(%error, "no space given back");
            }
            segment.dirty.store(true, Ordering::Release);
        }
        if now < len {
            self.punch(offset + now, len - now);
        }
    }

    /// Puts all that was written on disk, and the names of new files.
    pub(crate) fn sync(&self) -> io::Result<()> {
        if self.created.swap(false, Ordering::AcqRel) {
            File::open(&self.dir)?.sync_all()?;
        }
        for segment in self.files.iter().filter_map(OnceLock::get) {
            if segment.dirty.swap(false, Ordering::AcqRel) {
                segment.file.sync_data()?;
            }
        }
        Ok(())
    }

    pub(crate) fn is_dirty(&self) -> bool {
        let mut files = self.files.iter().filter_map(OnceLock::get);
        files.any(|segment| segment.dirty.load(Ordering::Acquire))
    }

    /// Bytes that the files take on disk.
    pub(crate) fn allocated(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let files = self.files.iter().filter_map(OnceLock::get);
        files
            .filter_map(|segment| segment.file.metadata().ok())
            .map(|meta| meta.blocks() * 512)
            .sum()
    }

    fn segment(&self, index: usize) -> io::Result<&Segment> {
        let slot = self.files.get(index).ok_or(io::ErrorKind::InvalidInput)?;
        if let Some(segment) = slot.get() {
            return Ok(segment);
        }
        let _one = self.creating.lock();
        if slot.get().is_none() {
            let mut options = File::options();
            let options = options.read(true).write(true).create(true).truncate(false);
            let file = options.open(self.path(index))?;
            self.created.store(true, Ordering::Release);
            drop(slot.set(Segment { file, dirty: AtomicBool::new(true) }));
        }
        slot.get().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn path(&self, index: usize) -> PathBuf {
        self.dir.join(format!("{}.data.{index}", self.seq))
    }
}

fn locate(offset: u64) -> (usize, u64) {
    (usize::try_from(offset / SEGMENT).unwrap_or(usize::MAX), offset % SEGMENT)
}

/// How much of `len` bytes fits behind `within`, and whether some is left.
fn split(within: u64, len: usize) -> (usize, bool) {
    let now = usize::try_from(SEGMENT - within).unwrap_or(usize::MAX).min(len);
    (now, now < len)
}
