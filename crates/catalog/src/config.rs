//! How the service is told where to keep its data and where to listen.

use serde::{Deserialize, Serialize};
use vmint_daemon::{DaemonError, ServiceConfig};
use vmint_store::StoreError;

use crate::CatalogError;

/// The settings of a catalog process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub service: ServiceConfig,
}

impl Default for Config {
    /// Those of a system-wide installation.
    fn default() -> Self {
        Self { service: ServiceConfig::of("catalog") }
    }
}

/// Why the process ended other than as asked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the data directory does not serve")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error("the images cannot be read")]
    Catalog(#[from] CatalogError),
    #[error("opening the store was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}
