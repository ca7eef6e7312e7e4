//! How the service is told where to keep its data and where to listen.

use std::io;

use serde::{Deserialize, Serialize};
use vmint_daemon::{DaemonError, ServiceConfig};
use vmint_store::StoreError;

/// The settings of a permissions process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub service: ServiceConfig,
    /// How many access keys one principal may have.
    #[serde(default = "two")]
    pub access_keys_per_principal: usize,
}

fn two() -> usize {
    2
}

impl Default for Config {
    /// Those of a system-wide installation.
    fn default() -> Self {
        Self { service: ServiceConfig::of("permissions"), access_keys_per_principal: two() }
    }
}

/// Why the process ended other than as asked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the data directory does not serve")]
    Store(#[from] StoreError),
    #[error("the key in `wrapping.key` of the data directory does not serve")]
    WrappingKey(#[source] io::Error),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error("opening the store was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}
