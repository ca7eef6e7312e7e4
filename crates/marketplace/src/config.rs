//! How the service is told where to keep its data and where to listen.

use serde::{Deserialize, Serialize};
use vmint_daemon::{DaemonError, ServiceConfig};
use vmint_store::StoreError;

/// The settings of a marketplace process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub service: ServiceConfig,
    /// What the marketplace takes of agreements made from now on, in millionths
    /// of the price.
    pub fee_ppm: u32,
}

impl Default for Config {
    /// Those of a system-wide installation.
    fn default() -> Self {
        Self { service: ServiceConfig::of("marketplace"), fee_ppm: 0 }
    }
}

/// Why the process ended other than as asked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the data directory does not serve")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error("opening the store was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}
