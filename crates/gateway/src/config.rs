//! How the gateway is told where to listen, keep its log and find the services.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use vmint_daemon::ServiceConfig;
use vmint_ids::AccountId;
use vmint_rpc::ServiceAddress;

/// What the gateway is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// `listen` is the public door.
    pub service: ServiceConfig,
    /// The region that this deployment is.
    #[serde(default = "local")]
    pub region: String,
    /// `HOST:PORT` of the gateways of the other regions, by their names:
    /// requests signed for one of them are passed on to it.
    #[serde(default)]
    pub regions: BTreeMap<String, String>,
    pub limits: Limits,
    /// Well-known owners: accounts by the aliases `amazon`, `aws-marketplace` and
    /// `aws-backup-vault`, which EC2's clients ask for images by.
    #[serde(default)]
    pub owner_aliases: BTreeMap<String, Vec<AccountId>>,
    /// Whole accounts may be emptied by the operator. Only for deployments that
    /// tests run against.
    #[serde(default)]
    pub test_mode: bool,
}

fn local() -> String {
    "local-1".to_owned()
}

/// What one account may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Calls of one account in a second, over time.
    pub calls_per_second: f64,
    /// Calls of one account at a moment.
    pub burst: f64,
    /// Sagas under way; further ones are refused until some have ended.
    pub open_sagas: usize,
    /// What a unary call may take, whatever its deadline.
    pub longest_call_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_per_second: 1000.0,
            burst: 2000.0,
            open_sagas: 1000,
            longest_call_seconds: 120,
        }
    }
}

impl Config {
    /// The defaults, with the services' sockets, data and trust under these
    /// directories; the door is at 127.0.0.1:8773.
    #[must_use]
    pub fn under(run: &Path, data: &Path, trust: &Path) -> Self {
        Self::with(ServiceConfig::under("gateway", run, data, trust))
    }

    fn with(service: ServiceConfig) -> Self {
        let listen = ServiceAddress::Tcp("127.0.0.1:8773".to_owned());
        Self {
            service: ServiceConfig { listen, ..service },
            region: local(),
            regions: BTreeMap::new(),
            limits: Limits::default(),
            owner_aliases: BTreeMap::new(),
            test_mode: false,
        }
    }
}

impl Default for Config {
    /// For a system-wide installation.
    fn default() -> Self {
        Self::with(ServiceConfig::of("gateway"))
    }
}
