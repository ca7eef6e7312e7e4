//! What an operator may set.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use vmint_daemon::ServiceConfig;

/// How the storage service runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// What every service has: addresses, directories, logs.
    pub service: ServiceConfig,
    /// Where the sockets of attached volumes lie. The launcher sees it too.
    pub exports_dir: PathBuf,
    /// Where keys lie that data are encrypted under; not to be backed up with
    /// the data.
    pub keys_dir: PathBuf,
    /// The largest file an import may send, in bytes.
    pub max_import_bytes: u64,
    /// The largest disk an image may hold, in bytes.
    pub max_disk_bytes: u64,
    /// Memory for chunks that were read, in bytes, shared by all volumes.
    pub cache_bytes: usize,
    /// How often space that nothing needs is looked for, in seconds.
    pub collect_every_seconds: u64,
    /// How long dead blocks are kept after that, in seconds.
    pub trash_seconds: u64,
}

impl Config {
    pub(crate) fn collect_every(&self) -> Duration {
        Duration::from_secs(self.collect_every_seconds.max(1))
    }

    pub(crate) fn trash(&self) -> Duration {
        Duration::from_secs(self.trash_seconds)
    }
}

impl Config {
    /// The defaults, for a service placed like this.
    #[must_use]
    pub fn new(service: ServiceConfig) -> Self {
        Self {
            keys_dir: service.data.with_file_name("storage-keys"),
            service,
            exports_dir: PathBuf::from("/run/vmint/exports"),
            max_import_bytes: 1 << 40,
            max_disk_bytes: 16 << 40,
            cache_bytes: 64 << 20,
            collect_every_seconds: 600,
            trash_seconds: 24 * 3600,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new(ServiceConfig::of("storage"))
    }
}
