//! What can be done with bytes, one file to a verb.

mod attach;
mod boot;
mod bundle;
mod check;
mod collect;
mod copy;
mod copy_from_region;
mod copy_snapshot;
mod cover;
mod cover_once;
mod create_snapshot;
mod create_volume;
mod damage;
mod delete;
mod delete_volume;
mod deliver;
mod download_export;
mod export;
pub(crate) mod fetch;
mod freeze;
mod import;
mod import_task;
mod instance_bundle;
mod keep_transfers;
mod keys;
mod lineage;
mod list;
mod measure;
mod modify_volume;
mod needed;
pub(crate) mod objects;
mod package;
mod plug_volume;
mod pull;
mod pull_disk;
mod put_block;
mod read_blocks;
mod release;
mod release_files;
mod release_keys;
mod repair;
mod repair_from_region;
mod run_import;
mod scrub;
mod share;
mod share_disk;
mod source;
mod start_snapshot;
mod tag;
mod upload;
mod usage;
mod uses;

use std::sync::Arc;

use tokio_util::task::TaskTracker;
use vmint_blocks::{BlockStore, Tree};
use vmint_store::Store;

use crate::{
    Config, Content, FileKeys, Result, block_token::BlockTokens, data_keys::DataKeys, live::Live,
    progress::AllProgress, quota::Coming, regions::Regions, sent::AllSent, store::Records,
    transfers::Transfers,
};

pub(crate) use attach::{NewVolume, now_ms};
pub use check::{Checked, CheckedOffline, check_offline};
pub(crate) use create_snapshot::{Labels, Selection};
pub(crate) use deliver::Outgoing;
pub(crate) use download_export::Piece;
pub(crate) use freeze::Shape;
pub(crate) use import::declared_format;
pub(crate) use import_task::{NewDisk, NewImage};
pub(crate) use instance_bundle::NewBundle;
pub(crate) use list::{Scope, SnapshotQuery, VolumeQuery};
pub(crate) use modify_volume::Change;
pub(crate) use objects::{Begun, Listed, Listing, NewObject, Original, Receiving};
pub(crate) use plug_volume::Place;
pub(crate) use pull::{Pull, PullDisk};
pub(crate) use put_block::{NewBlock, Sink};
pub(crate) use read_blocks::{BlockPage, MOST_BLOCKS};
pub(crate) use repair::Target;
pub(crate) use repair_from_region::Elsewhere;
pub(crate) use source::LEAVES;
pub(crate) use start_snapshot::Start;
pub(crate) use tag::Resource;
pub(crate) use upload::{Digests, Holds, Sending};

/// Storage itself, free of any transport. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Storage {
    pub(crate) records: Records,
    pub(crate) blocks: BlockStore,
    pub(crate) live: Arc<Live>,
    pub(crate) keys: Arc<DataKeys>,
    /// Blocks of snapshots that are being sent.
    pub(crate) sent: Arc<AllSent>,
    pub(crate) progress: AllProgress,
    /// Files that come in one go.
    coming: Coming,
    tokens: BlockTokens,
    pub(crate) config: Arc<Config>,
    /// What deduplication domains are derived from.
    secret: Arc<[u8]>,
    /// How many imports are chunked at once; each uses every core.
    pub(crate) heavy: Arc<tokio::sync::Semaphore>,
    /// How many disks are fetched from other regions at once.
    pub(crate) pulls: Arc<tokio::sync::Semaphore>,
    /// Work that goes on when its caller has gone.
    pub(crate) tasks: TaskTracker,
    /// Held alone while a collection lists what is needed: a copy made behind
    /// the list, of a snapshot deleted ahead of it, would be in no list.
    pub(crate) listing: Arc<tokio::sync::RwLock<()>>,
    /// Uploads and imports, as far as no record has them.
    pub(crate) transfers: Arc<Transfers>,
    /// How the internet is reached.
    pub(crate) net: Arc<dyn fetch::Net>,
    pub(crate) regions: Arc<Regions>,
    /// First boots that are being watched.
    boots: Arc<boot::Boots>,
    /// Contents that are being encrypted anew for a launch.
    covers: Arc<cover_once::Covers>,
}

/// Which step of which saga asks.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) epoch: u64,
}

impl Storage {
    /// Puts the parts together; [`Storage::restore`] brings attached volumes
    /// back.
    #[must_use]
    pub fn new(store: Store, blocks: BlockStore, secret: &[u8], config: Config) -> Self {
        let keys = Arc::new(DataKeys::new(Arc::new(FileKeys::new(config.keys_dir.clone()))));
        let volumes = config.service.data.join("volumes");
        let live = Live::new(volumes, config.exports_dir.clone(), keys.clone());
        let transfers = Arc::new(Transfers::new(&config.service.data));
        let net = Arc::new(fetch::Internet::new(&config.fetch));
        let sent = AllSent::new(config.service.data.join("sent"));
        Self {
            transfers,
            net,
            regions: Arc::new(Regions::new(&config.regions)),
            boots: Arc::default(),
            covers: Arc::default(),
            records: Records::new(store),
            blocks,
            live: Arc::new(live),
            keys,
            sent: Arc::new(sent),
            progress: AllProgress::default(),
            coming: Coming::default(),
            tokens: BlockTokens::new(secret),
            config: Arc::new(config),
            secret: secret.into(),
            heavy: Arc::new(tokio::sync::Semaphore::new(4)),
            pulls: Arc::new(tokio::sync::Semaphore::new(8)),
            tasks: TaskTracker::new(),
            listing: Arc::default(),
        }
    }

    /// Content as a tree to read.
    pub(crate) fn tree(&self, content: &Content) -> Result<Tree> {
        let domain = self.domain(content.domain, content.lineage)?;
        Ok(self.blocks.tree(domain, content.root, content.size_bytes))
    }

    /// Runs what blocks where blocking is allowed.
    pub(crate) async fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        tokio::task::spawn_blocking(work).await?
    }
}
