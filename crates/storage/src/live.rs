//! Volumes that are open, and the sockets they are served at.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use vmint_blocks::Tree;
use vmint_disk::{Base, Export, Volume as Disk};
use vmint_ids::VolumeId;

use crate::{
    Content, Result, StorageError, Volume,
    boot_set::{Recorder, Watched},
    data_keys::DataKeys,
};

/// The socket's name in the directory that is a volume's capability. The
/// directory's name can't be guessed, so the socket itself may be open to the
/// unprivileged process a machine is.
const SOCKET: &str = "nbd.sock";
const SOCKET_MODE: u32 = 0o666;

/// How long closing a volume waits for who is at work on it.
const LET_GO: Duration = Duration::from_secs(10);

/// Every open volume. Everything here blocks.
#[derive(Debug)]
pub(crate) struct Live {
    volumes_dir: PathBuf,
    exports_dir: PathBuf,
    keys: Arc<DataKeys>,
    open: Mutex<HashMap<VolumeId, Arc<Open>>>,
}

/// A volume that is open and served.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) disk: Arc<Disk>,
    export: Mutex<Option<Export>>,
    /// Snapshots of one volume go one at a time.
    pub(crate) freezing: Arc<tokio::sync::Mutex<()>>,
}

impl Live {
    pub(crate) fn new(volumes_dir: PathBuf, exports_dir: PathBuf, keys: Arc<DataKeys>) -> Self {
        Self { volumes_dir, exports_dir, keys, open: Mutex::default() }
    }

    pub(crate) fn get(&self, id: VolumeId) -> Option<Arc<Open>> {
        self.open.lock().get(&id).cloned()
    }

    fn dir(&self, id: VolumeId) -> PathBuf {
        self.volumes_dir.join(id.to_string())
    }

    /// Where a volume is served under this capability.
    pub(crate) fn socket(&self, capability: &str) -> PathBuf {
        self.exports_dir.join(capability).join(SOCKET)
    }

    /// Opens a volume, making it if it is new, grows it to its size, and serves
    /// it if it is attached. Does nothing if that is so already.
    pub(crate) fn ensure(
        &self,
        volume: &Volume,
        tree: impl Fn(&Content) -> Result<Tree>,
    ) -> Result<Arc<Open>> {
        self.ensure_watched(volume, tree, None)
    }

    /// As [`Self::ensure`]; if the volume is new, what is read of its base is
    /// written down.
    pub(crate) fn ensure_watched(
        &self,
        volume: &Volume,
        tree: impl Fn(&Content) -> Result<Tree>,
        watch: Option<Arc<Recorder>>,
    ) -> Result<Arc<Open>> {
        // Held throughout: two openings of one volume must not race.
        let mut all = self.open.lock();
        if let Some(open) = all.get(&volume.id) {
            open.grow(volume.size_bytes)?;
            let mut export = open.export.lock();
            if let (None, Some(at)) = (export.as_ref(), &volume.attachment) {
                *export = Some(self.serve(&open.disk, &at.capability)?);
            }
            return Ok(open.clone());
        }
        fs::create_dir_all(&self.volumes_dir)?;
        let dir = self.dir(volume.id);
        let find = |label: &str| {
            let content: Content = label.parse().map_err(io::Error::other)?;
            let tree = tree(&content).map_err(io::Error::other)?;
            Ok(Arc::new(tree) as Arc<dyn Base>)
        };
        let key = self.keys.of_volume(volume)?;
        let disk = match Disk::open_with(&dir, key.as_ref(), find) {
            Ok(disk) => disk,
            Err(vmint_disk::DiskError::Missing(_)) => {
                let label = volume.base.map(|content| content.to_string());
                let base = volume.base.as_ref().map(&tree).transpose()?;
                let base = base.map(|tree| match watch {
                    Some(recorder) => Arc::new(Watched { tree, recorder }) as Arc<dyn Base>,
                    None => Arc::new(tree),
                });
                let base = label.as_deref().zip(base);
                let disk = Disk::create_with(&dir, volume.size_bytes, base, key.as_ref())?;
                disk.flush()?;
                disk
            }
            Err(error) => return Err(error.into()),
        };
        let disk = Arc::new(disk);
        let open = Open { disk, export: Mutex::default(), freezing: Arc::default() };
        open.grow(volume.size_bytes)?;
        if let Some(at) = &volume.attachment {
            *open.export.lock() = Some(self.serve(&open.disk, &at.capability)?);
        }
        let open = Arc::new(open);
        all.insert(volume.id, open.clone());
        Ok(open)
    }

    fn serve(&self, disk: &Arc<Disk>, capability: &str) -> Result<Export> {
        make_dir(&self.exports_dir, 0o711)?;
        make_dir(&self.exports_dir.join(capability), 0o711)?;
        Ok(Export::start(&self.socket(capability), SOCKET_MODE, disk.clone())?)
    }

    /// Ends a volume's export and closes it. An unknown one is no error.
    pub(crate) fn close(&self, id: VolumeId, capability: Option<&str>) {
        let open = self.open.lock().remove(&id);
        if let Some(open) = open {
            if let Some(export) = open.export.lock().take() {
                export.stop();
            }
            // A freeze that found it open lets go of it soon; a volume that
            // is still open can't be deleted.
            let until = Instant::now() + LET_GO;
            while Arc::strong_count(&open) > 1 && Instant::now() < until {
                thread::sleep(Duration::from_millis(2));
            }
        }
        if let Some(capability) = capability {
            // Not there if the export never was.
            let _ = fs::remove_dir_all(self.exports_dir.join(capability));
        }
    }

    /// Removes sockets' directories that belong to none of `capabilities`: a
    /// crash left them.
    pub(crate) fn keep_sockets(&self, capabilities: &HashSet<String>) -> io::Result<()> {
        let entries = match fs::read_dir(&self.exports_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name();
            let ours =
                |name: &&str| name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit());
            let Some(name) = name.to_str().filter(ours) else { continue };
            if !capabilities.contains(name) {
                fs::remove_dir_all(self.exports_dir.join(name))?;
            }
        }
        Ok(())
    }

    /// What lies under a volume as its directory says, open or not; none for
    /// one that is not there or lies over nothing.
    pub(crate) fn base(
        &self,
        volume: &Volume,
        tree: impl Fn(&Content) -> Result<Tree>,
    ) -> Result<Option<Content>> {
        let parsed = |label: Option<String>| {
            label.map(|label| label.parse().map_err(|_| StorageError::Damaged)).transpose()
        };
        if let Some(open) = self.get(volume.id) {
            return parsed(open.disk.base_label());
        }
        let find = |label: &str| {
            let content: Content = label.parse().map_err(io::Error::other)?;
            let tree = tree(&content).map_err(io::Error::other)?;
            Ok(Arc::new(tree) as Arc<dyn Base>)
        };
        let key = self.keys.of_volume(volume)?;
        match Disk::open_with(&self.dir(volume.id), key.as_ref(), find) {
            Ok(disk) => parsed(disk.base_label()),
            Err(vmint_disk::DiskError::Missing(_)) => Ok(volume.base),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a closed volume's data.
    pub(crate) fn delete(&self, id: VolumeId) -> Result<()> {
        Ok(Disk::delete(&self.dir(id))?)
    }

    /// Ids of the volumes that have a directory.
    pub(crate) fn on_disk(&self) -> io::Result<Vec<VolumeId>> {
        let entries = match fs::read_dir(&self.volumes_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            ids.extend(name.to_str().and_then(|name| name.parse::<VolumeId>().ok()));
        }
        Ok(ids)
    }

    /// Ends every export; sockets go, so that machines wait and connect
    /// again once the service is back.
    pub(crate) fn close_all(&self) {
        let all: Vec<_> = self.open.lock().drain().collect();
        for (_, open) in all {
            let export = open.export.lock().take();
            if let Some(export) = export {
                export.stop();
            }
            if let Err(error) = open.disk.flush() {
                tracing::error!(%error, "a volume could not be flushed");
            }
        }
    }
}

impl Open {
    /// Makes the disk as large as its record says, if it is not.
    fn grow(&self, size_bytes: u64) -> Result<()> {
        if self.disk.size() < size_bytes {
            self.disk.grow(size_bytes)?;
        }
        Ok(())
    }

    /// Bytes the volume has written itself.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.disk.allocated_bytes()
    }
}

fn make_dir(dir: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(dir)
}
