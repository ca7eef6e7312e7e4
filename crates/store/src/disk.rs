//! The directory of a store and what lies in it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{Options, StoreError};

/// The directory of a store, held against other processes.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    _lock: Arc<File>,
}

impl Disk {
    /// `lock` is the file that this process has locked.
    pub(crate) fn new(dir: &Path, options: Options, lock: File) -> Self {
        Self { dir: dir.to_owned(), options, _lock: Arc::new(lock) }
    }

    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.dir.join("checkpoint")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.dir.join("journal")
    }

    pub(crate) fn sled(&self) -> PathBuf {
        self.dir.join("sled")
    }

    fn closed(&self) -> PathBuf {
        self.dir.join("closed")
    }

    /// Notes that nobody writes here any more. Says nothing if the view cannot
    /// be made durable.
    pub(crate) fn note_closed(&self, closed: Closed) {
        let note = || {
            for entry in fs::read_dir(self.sled())? {
                let path = entry?.path();
                if path.is_file() {
                    File::open(path)?.sync_all()?;
                }
            }
            fs::write(self.closed(), closed.to_bytes())
        };
        if let Err(error) = note() {
            tracing::warn!(%error, "the view will be read through at the next start");
        }
    }

    /// What was noted when the store was last closed; it holds only once.
    pub(crate) fn take_closed(&self) -> Result<Option<Closed>, StoreError> {
        let path = self.closed();
        let Ok(note) = fs::read(&path) else { return Ok(None) };
        let removed = fs::remove_file(&path).and_then(|()| File::open(&self.dir)?.sync_all());
        removed.map_err(|e| StoreError::io("removing", &path, &e))?;
        Ok(Closed::from_bytes(&note))
    }

    /// Bytes left on its disk.
    pub(crate) fn free(&self) -> Result<u64, StoreError> {
        let stat = rustix::fs::statvfs(&self.dir)
            .map_err(|e| StoreError::io("measuring", &self.dir, &e.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// How a store was left that was closed in peace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed {
    /// The last transaction that was durable.
    pub(crate) last: u64,
    /// The last one in the view, all of which is on disk.
    pub(crate) viewed: u64,
}

impl Closed {
    fn to_bytes(self) -> [u8; 20] {
        let mut out = [0; 20];
        out[..8].copy_from_slice(&self.last.to_le_bytes());
        out[8..16].copy_from_slice(&self.viewed.to_le_bytes());
        let sum = crc32c::crc32c(&out[..16]);
        out[16..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, sum) = bytes.split_first_chunk::<16>()?;
        let (last, viewed) = numbers.split_first_chunk::<8>()?;
        let closed = Self {
            last: u64::from_le_bytes(*last),
            viewed: u64::from_le_bytes(viewed.try_into().ok()?),
        };
        (crc32c::crc32c(numbers).to_le_bytes() == sum).then_some(closed)
    }
}

/// Lays the ballast down if there is room for it.
pub(crate) fn ballast(disk: &Disk) {
    let bytes = disk.options.ballast_bytes;
    let path = disk.dir.join("ballast");
    let room = disk.free().is_ok_and(|free| free > bytes * 2 + disk.options.keep_free_bytes);
    if bytes == 0 || !room || fs::metadata(&path).is_ok_and(|meta| meta.len() == bytes) {
        return;
    }
    let laid = File::create(&path).and_then(|file| {
        let flags = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(&file, flags, 0, bytes).map_err(Into::into)
    });
    if let Err(error) = laid {
        let _ = fs::remove_file(&path);
        tracing::warn!(%error, "no ballast could be laid");
    }
}
