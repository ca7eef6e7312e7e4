//! Why a volume cannot be opened, changed or exported.

use std::io;
use std::path::PathBuf;

/// Why an operation on a volume as a whole failed. Reads and writes give an [`io::Error`].
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("there is no volume in {}: create it first", .0.display())]
    Missing(PathBuf),
    #[error("there is a volume in {} already: open it", .0.display())]
    Exists(PathBuf),
    #[error("the volume in {} is open elsewhere: close it there first", .0.display())]
    InUse(PathBuf),
    #[error("a volume has 1 byte to 64 TiB and is never smaller than what it holds; {0} is not")]
    BadSize(u64),
    #[error("the volume in {} is not encrypted with this key", .0.display())]
    WrongKey(PathBuf),
    #[error("a base label has at most 512 visible characters")]
    BadLabel,
    #[error("the frozen layer belongs to another volume, or the new base has another size")]
    Foreign,
    #[error("{} is damaged: {what}", .path.display())]
    Damaged { path: PathBuf, what: &'static str },
    #[error("{}: a unix socket's path has at most 107 bytes: use a shorter one", .0.display())]
    SocketPath(PathBuf),
    #[error("{what}: {source}")]
    Io { what: &'static str, source: io::Error },
}

impl DiskError {
    /// For `map_err`: says what was being done.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

impl From<DiskError> for io::Error {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Io { source, .. } => source,
            other => Self::other(other),
        }
    }
}
