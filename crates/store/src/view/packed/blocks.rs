//! sled as the place where blocks of rows lie.

use std::{
    fs::{self, TryLockError},
    io, panic,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::StoreError;

/// A sled database of numbered blobs: `space`, run and number name each.
///
/// Its `flush` does not survive a power cut, and damage makes it panic; both
/// are why it only ever holds a view, and why every block is checked when read.
#[derive(Debug)]
pub(super) struct Blocks {
    db: sled::Db,
}

const MANIFEST: &[u8] = b"m";
/// How long a database that this process has dropped may hold on to its directory.
const LET_GO: Duration = Duration::from_secs(10);

/// What a blob is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Space {
    Rows,
    Index,
}

impl Blocks {
    /// Opens or makes the database in `dir`.
    pub(super) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        wait_for_lock(dir).map_err(|e| StoreError::io("waiting for", dir, &e))?;
        drop_half_snapshots(dir).map_err(|e| StoreError::io("cleaning", dir, &e))?;
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None);
        Ok(Self { db: guarded(|| config.open())? })
    }

    pub(super) fn get(
        &self,
        space: Space,
        run: u64,
        number: u32,
    ) -> Result<Option<sled::IVec>, StoreError> {
        guarded(|| self.db.get(key(space, run, number)))
    }

    pub(super) fn put(
        &self,
        space: Space,
        run: u64,
        number: u32,
        blob: &[u8],
    ) -> Result<(), StoreError> {
        guarded(|| self.db.insert(key(space, run, number), blob)).map(|_| ())
    }

    /// Removes whatever there is of a run.
    pub(super) fn sweep(&self, run: u64) -> Result<(), StoreError> {
        for space in [Space::Rows, Space::Index] {
            guarded(|| {
                for name in self.db.range(key(space, run, 0)..=key(space, run, u32::MAX)).keys() {
                    self.db.remove(name?)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    pub(super) fn manifest(&self) -> Result<Option<sled::IVec>, StoreError> {
        guarded(|| self.db.get(MANIFEST))
    }

    /// Replaces the manifest, in one atomic step.
    pub(super) fn put_manifest(&self, bytes: &[u8]) -> Result<(), StoreError> {
        guarded(|| self.db.insert(MANIFEST, bytes)).map(|_| ())
    }

    /// The highest run of which there is a block.
    pub(super) fn last_run(&self) -> Result<Option<u64>, StoreError> {
        let all = key(Space::Rows, 0, 0)..=key(Space::Rows, u64::MAX, u32::MAX);
        let last = guarded(|| self.db.range(all).next_back().transpose())?;
        let run =
            last.and_then(|(name, _)| Some(u64::from_be_bytes(*name.get(1..)?.first_chunk()?)));
        Ok(run)
    }

    /// Whether there is nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        self.db.is_empty()
    }

    pub(super) fn flush(&self) -> Result<(), StoreError> {
        guarded(|| self.db.flush()).map(|_| ())
    }
}

/// Names sort by run and number within their space.
fn key(space: Space, run: u64, number: u32) -> [u8; 13] {
    let mut out = [0; 13];
    out[0] = match space {
        Space::Rows => b'b',
        Space::Index => b'i',
    };
    out[1..9].copy_from_slice(&run.to_be_bytes());
    out[9..].copy_from_slice(&number.to_be_bytes());
    out
}

/// sled panics on some damage; that comes back as an error too.
fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    let done = panic::catch_unwind(panic::AssertUnwindSafe(call))
        .map_err(|_| StoreError::View("sled panicked".into()))?;
    done.map_err(|error| match error {
        sled::Error::Io(error) => StoreError::io("using", Path::new("the view"), &error),
        error => StoreError::View(error.to_string()),
    })
}

/// Threads of sled's outlive a database that was dropped by a moment, and its lock with them.
/// Who opens it has the store's own lock, so nobody else holds this one for long.
fn wait_for_lock(dir: &Path) -> io::Result<()> {
    let file = match fs::OpenOptions::new().write(true).open(dir.join("db")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let until = Instant::now() + LET_GO;
    loop {
        match file.try_lock() {
            Ok(()) => return file.unlock(),
            // Then sled says whose it is.
            Err(TryLockError::WouldBlock) if Instant::now() >= until => return Ok(()),
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(2)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// sled takes a snapshot it had only begun to write when it was killed for a
/// whole one, and then cannot be opened.
fn drop_half_snapshots(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b"snap.")
            && name.as_encoded_bytes().ends_with(b".generating")
        {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
