//! The volume: created, opened, read, flushed, grown.

mod frozen;
mod stack;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

pub use frozen::{Frozen, freeze_all};
pub use stack::Extent;
pub(crate) use stack::Stack;

use crate::crypt::Crypt;
use crate::layer::{self, Layer};
use crate::log::Boot;
use crate::manifest::{self, MAX_LABEL, Manifest};
use crate::{BLOCK, Base, DiskError, VolumeKey};

/// The largest volume: 64 TiB.
const MAX_SIZE: u64 = 64 << 40;

/// A disk that can be written: a directory of overlay layers over a base.
///
/// All methods may be called from several threads; they block. Offsets and lengths are bytes and
/// need no alignment. Only one process has a volume open at a time.
pub struct Volume {
    dir: PathBuf,
    boot: Boot,
    /// Held for as long as the volume is open.
    _lock: File,
    stack: RwLock<Arc<Stack>>,
    /// Writers share it; who needs a moment without writers takes it alone.
    gate: RwLock<()>,
    /// Changes of the top layer's map go one at a time.
    change: Mutex<()>,
    /// The write count that the last flush covered.
    flushed: Mutex<u64>,
    writes: AtomicU64,
    /// The manifest or a directory entry is newer than the disk knows.
    unsynced_names: AtomicBool,
    /// Freeze, rebase and grow go one at a time; holds the last layer number used.
    admin: Mutex<u64>,
    /// A sync failed: what is on disk is unknown, and nothing may be acknowledged any more.
    failed: AtomicBool,
}

impl Volume {
    /// Makes a volume in `dir` (which may exist if it holds no volume) of `size` bytes over
    /// `base`, whose label [`Volume::open`] will ask for. Reads nothing of the base. The volume
    /// is on disk after the first flush; before that a power cut may leave [`DiskError::Missing`].
    pub fn create(
        dir: &Path,
        size: u64,
        base: Option<(&str, Arc<dyn Base>)>,
    ) -> Result<Self, DiskError> {
        Self::create_with(dir, size, base, None)
    }

    /// The same, with what is written to it encrypted.
    pub fn create_with(
        dir: &Path,
        size: u64,
        base: Option<(&str, Arc<dyn Base>)>,
        key: Option<&VolumeKey>,
    ) -> Result<Self, DiskError> {
        let crypt = key.map(|key| Arc::new(Crypt::new(key)));
        let (label, base) = base.map_or((None, None), |(label, base)| (Some(label), Some(base)));
        check_label(label)?;
        if size == 0 || size > MAX_SIZE {
            return Err(DiskError::BadSize(size));
        }
        fs::create_dir_all(dir).map_err(DiskError::io("make the volume's directory"))?;
        let lock = lock(dir)?;
        match Manifest::read(dir) {
            Err(DiskError::Missing(_)) => {}
            _ => return Err(DiskError::Exists(dir.to_owned())),
        }
        let label = label.map(str::to_owned);
        let boot = Boot::current(dir).map_err(DiskError::io("look at the volume's directory"))?;
        layer::keep_only(dir, &[]).map_err(DiskError::io("clear the volume's directory"))?;
        let first =
            Layer::new(dir, 1, boot, crypt.clone()).map_err(DiskError::io("make a layer"))?;
        let stack = Stack { size, base, label, layers: vec![Arc::new(first)], crypt };
        stack.check_base()?;
        let made = manifest_of(&stack).prepare(dir, false).and_then(|()| manifest::publish(dir));
        made.map_err(DiskError::io("write the volume's manifest"))?;
        Ok(Self::assemble(dir, boot, lock, stack, true))
    }

    /// Opens the volume in `dir`; `find` turns the label of its base into the base.
    pub fn open(
        dir: &Path,
        find: impl FnOnce(&str) -> io::Result<Arc<dyn Base>>,
    ) -> Result<Self, DiskError> {
        Self::open_with(dir, None, find)
    }

    /// The same for a volume that was made with `key`.
    pub fn open_with(
        dir: &Path,
        key: Option<&VolumeKey>,
        find: impl FnOnce(&str) -> io::Result<Arc<dyn Base>>,
    ) -> Result<Self, DiskError> {
        let boot = Boot::current(dir).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => DiskError::Missing(dir.to_owned()),
            _ => DiskError::io("look at the volume's directory")(error),
        })?;
        Self::open_in(dir, find, boot, key)
    }

    fn open_in(
        dir: &Path,
        find: impl FnOnce(&str) -> io::Result<Arc<dyn Base>>,
        boot: Boot,
        key: Option<&VolumeKey>,
    ) -> Result<Self, DiskError> {
        let lock = lock(dir)?;
        let manifest = Manifest::read(dir)?;
        let crypt = key.map(|key| Arc::new(Crypt::new(key)));
        if manifest.key.as_deref() != crypt.as_ref().map(|crypt| crypt.check()) {
            return Err(DiskError::WrongKey(dir.to_owned()));
        }
        layer::keep_only(dir, &manifest.layers)
            .map_err(DiskError::io("clear the volume's directory"))?;
        let base = manifest.base.as_deref().map(find).transpose();
        let base = base.map_err(DiskError::io("find the volume's base"))?;
        let open = |seq: &u64| Layer::open(dir, *seq, boot, crypt.clone()).map(Arc::new);
        let layers = manifest.layers.iter().map(open);
        let layers = layers.collect::<Result<_, _>>()?;
        let stack = Stack { size: manifest.size, base, label: manifest.base, layers, crypt };
        stack.check_base()?;
        Ok(Self::assemble(dir, boot, lock, stack, true))
    }

    fn assemble(dir: &Path, boot: Boot, lock: File, stack: Stack, unsynced_names: bool) -> Self {
        let last = stack.layers.last().map_or(0, |layer| layer.seq);
        Self {
            dir: dir.to_owned(),
            boot,
            _lock: lock,
            stack: RwLock::new(Arc::new(stack)),
            gate: RwLock::new(()),
            change: Mutex::new(()),
            flushed: Mutex::new(0),
            // What a layer found at its opening counts as written.
            writes: AtomicU64::new(1),
            unsynced_names: AtomicBool::new(unsynced_names),
            admin: Mutex::new(last),
            failed: AtomicBool::new(false),
        }
    }

    /// Removes the volume in `dir` and all it holds. A directory that is not there is fine.
    pub fn delete(dir: &Path) -> Result<(), DiskError> {
        if !dir.exists() {
            return Ok(());
        }
        let _lock = lock(dir)?;
        fs::remove_dir_all(dir).map_err(DiskError::io("remove the volume"))
    }

    /// The size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.stack().size
    }

    /// The label of the present base.
    #[must_use]
    pub fn base_label(&self) -> Option<String> {
        self.stack().label.clone()
    }

    /// Where the volume is kept.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes on disk that the volume's own layers take.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        self.stack().layers.iter().map(|layer| layer.allocated()).sum()
    }

    /// How many layers there are; more than one while a frozen one waits for its rebase.
    #[must_use]
    pub fn layer_count(&self) -> usize {
        self.stack().layers.len()
    }

    /// Fills `buf` from `offset`.
    ///
    /// Errors: `InvalidInput` outside the volume; what the base or the disk says.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let stack = self.stack();
        stack.check(offset, buf.len() as u64)?;
        stack.read_at(offset, buf)
    }

    /// What the volume is made of from `offset` on: one stretch, at least one byte and at most
    /// `len` bytes long. `len` is not zero.
    pub fn extent(&self, offset: u64, len: u64) -> io::Result<(Extent, u64)> {
        let stack = self.stack();
        stack.check(offset, len.max(1))?;
        let (extent, end) = stack.extent(offset, offset + len.max(1))?;
        Ok((extent, end - offset))
    }

    /// Whether reading this range needs the volume's own files only, and so is quick.
    pub(crate) fn is_near(&self, offset: u64, len: u64) -> bool {
        let stack = self.stack();
        if len == 0 || stack.check(offset, len).is_err() {
            return true;
        }
        let (from, end) = stack.source(offset, offset + len);
        end == offset + len && !matches!(from, stack::From::Base(_))
    }

    /// Whether writing this range needs nothing of the base.
    pub(crate) fn takes_quickly(&self, offset: u64, len: u32) -> bool {
        let stack = self.stack();
        let (len, end) = (u64::from(len), offset.saturating_add(u64::from(len)));
        let near = |at: u64| {
            at.is_multiple_of(BLOCK) || !matches!(stack.source(at, at + 1).0, stack::From::Base(_))
        };
        stack.check(offset, len).is_err()
            || len == 0
            || near(offset) && (end == stack.size || near(end))
    }

    /// Puts every write that has completed on disk.
    ///
    /// An error is final: the volume refuses every further write and flush, since nobody knows
    /// any more what is on disk. Only a lack of space leaves it usable.
    pub fn flush(&self) -> io::Result<()> {
        self.check_failed()?;
        let wanted = self.writes.load(Ordering::Acquire);
        let mut flushed = self.flushed.lock();
        if *flushed >= wanted {
            return Ok(());
        }
        let covers = self.writes.load(Ordering::Acquire);
        let stack = self.stack();
        let result = self.sync_names().and_then(|()| {
            stack.layers.iter().filter(|layer| layer.is_dirty()).try_for_each(|layer| layer.sync())
        });
        self.fail_on(result)?;
        *flushed = covers;
        if stack.top()?.log_is_long() {
            let _alone = self.gate.write();
            // The top may have changed since; any layer is fine to compact without writers.
            match self.fail_on(stack.top()?.compact()) {
                // Full: the long log serves on.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Makes the volume larger; the new part reads zero. Exports show it to clients that connect
    /// from now on.
    pub fn grow(&self, size: u64) -> Result<(), DiskError> {
        let _admin = self.admin.lock();
        let now = self.stack();
        if size < now.size || size > MAX_SIZE {
            return Err(DiskError::BadSize(size));
        }
        self.replace(Stack { size, ..(*now).clone() })
    }

    /// Makes `stack` the present one, on disk before it is in memory. The caller holds `admin`.
    fn replace(&self, stack: Stack) -> Result<(), DiskError> {
        let write = || {
            manifest_of(&stack).prepare(&self.dir, true)?;
            manifest::publish(&self.dir)?;
            manifest::sync(&self.dir)
        };
        write().map_err(DiskError::io("write the volume's manifest"))?;
        *self.stack.write() = Arc::new(stack);
        Ok(())
    }

    fn stack(&self) -> Arc<Stack> {
        self.stack.read().clone()
    }

    fn sync_names(&self) -> io::Result<()> {
        if self.unsynced_names.swap(false, Ordering::AcqRel) {
            // Without its names the volume may be gone, full disk or not.
            manifest::sync(&self.dir).map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn check_failed(&self) -> io::Result<()> {
        if self.failed.load(Ordering::Acquire) {
            return Err(io::Error::other("the volume failed to reach its disk earlier"));
        }
        Ok(())
    }

    /// After a failed sync the kernel may have dropped the data: trying again would lie.
    fn fail_on(&self, result: io::Result<()>) -> io::Result<()> {
        if let Err(error) = &result
            && error.kind() != io::ErrorKind::StorageFull
        {
            tracing::error!(%error, dir = %self.dir.display(), "the volume failed to reach its disk");
            self.failed.store(true, Ordering::Release);
        }
        result
    }
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volume")
            .field("dir", &self.dir)
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

fn manifest_of(stack: &Stack) -> Manifest {
    let layers = stack.layers.iter().map(|layer| layer.seq).collect();
    let key = stack.crypt.as_ref().map(|crypt| crypt.check().to_owned());
    Manifest { size: stack.size, base: stack.label.clone(), layers, key }
}

fn check_label(label: Option<&str>) -> Result<(), DiskError> {
    let fine =
        |label: &str| label.len() <= MAX_LABEL && label.bytes().all(|byte| byte.is_ascii_graphic());
    if label.is_none_or(fine) { Ok(()) } else { Err(DiskError::BadLabel) }
}

fn lock(dir: &Path) -> Result<File, DiskError> {
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(false).open(dir.join("lock"));
    let file = file.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => DiskError::Missing(dir.to_owned()),
        _ => DiskError::io("lock the volume")(error),
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DiskError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(DiskError::io("lock the volume")(error)),
    }
}
