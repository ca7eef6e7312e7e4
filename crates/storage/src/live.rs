//! Volumes that are open, and the sockets they are served at.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use vmint_blocks::{ExtentKind, Tree};
use vmint_disk::{Base, Export, Span, Volume as Disk};
use vmint_ids::VolumeId;

use crate::{Content, Result, Volume};

/// The socket's name in the directory that is a volume's capability. The
/// directory's name can't be guessed, so the socket itself may be open to the
/// unprivileged process a machine is.
const SOCKET: &str = "nbd.sock";
const SOCKET_MODE: u32 = 0o666;

/// Every open volume. Everything here blocks.
#[derive(Debug)]
pub(crate) struct Live {
    volumes_dir: PathBuf,
    exports_dir: PathBuf,
    open: Mutex<HashMap<VolumeId, Arc<Open>>>,
}

/// A volume that is open and served.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) disk: Arc<Disk>,
    export: Mutex<Option<Export>>,
    /// Snapshots of one volume go one at a time.
    pub(crate) freezing: Mutex<()>,
}

/// A content as what lies under a volume.
struct Under(Tree);

impl Base for Under {
    fn size(&self) -> u64 {
        self.0.size_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        Ok(self.0.read_at(offset, buf)?)
    }

    fn span(&self, offset: u64) -> io::Result<Span> {
        let size = self.0.size_bytes();
        match self.0.extents(offset..size).next() {
            Some(extent) => {
                let (range, kind) = extent?;
                Ok(Span { end: range.end, data: kind == ExtentKind::Data })
            }
            None => Ok(Span { end: size, data: false }),
        }
    }
}

/// A tree as what lies under a volume.
pub(crate) fn under(tree: Tree) -> Arc<dyn Base> {
    Arc::new(Under(tree))
}

impl Live {
    pub(crate) fn new(volumes_dir: PathBuf, exports_dir: PathBuf) -> Self {
        Self { volumes_dir, exports_dir, open: Mutex::default() }
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

    /// Opens a volume, making it if it is new, and serves it if it is
    /// attached. Does nothing if that is so already.
    pub(crate) fn ensure(
        &self,
        volume: &Volume,
        tree: impl Fn(&Content) -> Tree,
    ) -> Result<Arc<Open>> {
        // Held throughout: two openings of one volume must not race.
        let mut all = self.open.lock();
        if let Some(open) = all.get(&volume.id) {
            return Ok(open.clone());
        }
        fs::create_dir_all(&self.volumes_dir)?;
        let dir = self.dir(volume.id);
        let find = |label: &str| {
            let content: Content = label.parse().map_err(io::Error::other)?;
            Ok(under(tree(&content)))
        };
        let disk = match Disk::open(&dir, find) {
            Ok(disk) => disk,
            Err(vmint_disk::DiskError::Missing(_)) => {
                let label = volume.base.map(|content| content.to_string());
                let base = volume.base.as_ref().map(|content| under(tree(content)));
                let base = label.as_deref().zip(base);
                let disk = Disk::create(&dir, volume.size_bytes, base)?;
                disk.flush()?;
                disk
            }
            Err(error) => return Err(error.into()),
        };
        let disk = Arc::new(disk);
        let export = match &volume.attachment {
            Some(at) => Some(self.serve(&disk, &at.capability)?),
            None => None,
        };
        let open = Arc::new(Open { disk, export: Mutex::new(export), freezing: Mutex::default() });
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
        if let Some(export) = open.as_ref().and_then(|open| open.export.lock().take()) {
            export.stop();
        }
        if let Some(capability) = capability {
            // Not there if the export never was.
            let _ = fs::remove_dir_all(self.exports_dir.join(capability));
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
    /// Bytes the volume has written itself.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.disk.allocated_bytes()
    }
}

fn make_dir(dir: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(dir)
}
