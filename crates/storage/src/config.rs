//! What an operator may set.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use vmint_daemon::ServiceConfig;
use vmint_rpc::ServiceAddress;

use crate::Quota;

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
    /// Memory for chunks that were read, in bytes, shared by all volumes; taken
    /// as they are read. Up to half of it holds what is read ahead of boots. A
    /// sixteenth of the machine's by default, 128 MiB to 2 GiB.
    pub cache_bytes: usize,
    /// How often space that nothing needs is looked for, in seconds.
    pub collect_every_seconds: u64,
    /// How long dead blocks are kept after that, in seconds.
    pub trash_seconds: u64,
    /// How often everything that is stored is read and checked without being
    /// asked, in seconds from beginning to beginning; 0 for never.
    #[serde(default = "scrub_every")]
    pub scrub_every_seconds: u64,
    /// Where packs of blocks go; beside the records if unset.
    pub bucket: Option<BucketConfig>,
    /// How long an upload waits for its next piece, in seconds.
    pub upload_seconds: u64,
    /// How long the file of an export is kept, in seconds.
    pub export_seconds: u64,
    /// How long the first boot from an image is watched, so that what it reads is read ahead for
    /// the next one, in seconds; 0 for never.
    pub boot_trace_seconds: u64,
    /// How disks are fetched from elsewhere.
    pub fetch: Fetch,
    /// The most that one account may have.
    #[serde(default)]
    pub quota: Quota,
    /// Other deployments that images may be copied from, by the names that
    /// users here give them.
    pub regions: BTreeMap<String, Region>,
}

/// Another deployment of ours.
#[derive(Clone, Serialize, Deserialize)]
pub struct Region {
    /// Its gateway's.
    pub address: ServiceAddress,
    /// Of a session of its operator's. As secret as all images there.
    pub token: String,
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("address", &self.address).finish_non_exhaustive()
    }
}

/// An S3 bucket for packs. Its keys come from the environment: `AWS_ACCESS_KEY_ID`,
/// `AWS_SECRET_ACCESS_KEY` and what else its tools take.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BucketConfig {
    pub name: String,
    /// Put before each object's name.
    #[serde(default)]
    pub prefix: String,
    /// Where it is served, if not at Amazon.
    #[serde(default)]
    pub endpoint: Option<String>,
    pub region: String,
    /// Parts of packs held on this host, in bytes.
    pub cache_bytes: u64,
    /// How long an operation may take with its retries, in seconds.
    pub deadline_seconds: u64,
    /// Write to it although another data directory did, which is gone.
    #[serde(default)]
    pub take_over: bool,
}

impl BucketConfig {
    pub(crate) fn options(&self) -> vmint_blocks::ObjectOptions {
        vmint_blocks::ObjectOptions {
            bucket: self.name.clone(),
            prefix: self.prefix.clone(),
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            access_key: None,
            cache_bytes: self.cache_bytes,
            deadline: Duration::from_secs(self.deadline_seconds.max(1)),
            take_over: self.take_over,
        }
    }
}

/// How disks are fetched from elsewhere.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Fetch {
    /// Addresses with their ports that may be fetched from although they are
    /// not of the public internet or the port is not 443, such as a mirror's.
    pub allow: Vec<SocketAddr>,
    /// A PEM file of certificate authorities to trust besides the system's.
    pub authorities: Option<PathBuf>,
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
            cache_bytes: vmint_blocks::Options::default().cache_bytes,
            collect_every_seconds: 600,
            trash_seconds: 24 * 3600,
            scrub_every_seconds: scrub_every(),
            bucket: None,
            upload_seconds: 7 * 24 * 3600,
            export_seconds: 24 * 3600,
            boot_trace_seconds: 60,
            fetch: Fetch::default(),
            quota: Quota::default(),
            regions: BTreeMap::new(),
        }
    }
}

const fn scrub_every() -> u64 {
    30 * 24 * 3600
}

impl Default for Config {
    fn default() -> Self {
        Self::new(ServiceConfig::of("storage"))
    }
}
