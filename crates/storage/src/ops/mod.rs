//! What can be done with bytes, one file to a verb.

mod attach;
mod collect;
mod copy;
mod delete;
mod freeze;
mod import;
mod list;
mod release;
mod usage;
mod uses;

use std::sync::Arc;

use tokio_util::task::TaskTracker;
use vmint_blocks::{BlockStore, Domain, Tree};
use vmint_ids::{AccountId, LineageId};
use vmint_store::Store;

use crate::{Config, Content, Result, live::Live, store::Records};

pub(crate) use attach::NewVolume;

/// Storage itself, free of any transport. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Storage {
    pub(crate) records: Records,
    pub(crate) blocks: BlockStore,
    pub(crate) live: Arc<Live>,
    pub(crate) config: Arc<Config>,
    /// What deduplication domains are derived from.
    secret: Arc<[u8]>,
    /// How many imports are chunked at once; each uses every core.
    pub(crate) heavy: Arc<tokio::sync::Semaphore>,
    /// Work that goes on when its caller has gone.
    pub(crate) tasks: TaskTracker,
    /// Held alone while a collection lists what is needed: a copy made behind
    /// the list, of a snapshot deleted ahead of it, would be in no list.
    pub(crate) listing: Arc<tokio::sync::RwLock<()>>,
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
        let live = Live::new(config.service.data.join("volumes"), config.exports_dir.clone());
        Self {
            records: Records::new(store),
            blocks,
            live: Arc::new(live),
            config: Arc::new(config),
            secret: secret.into(),
            heavy: Arc::new(tokio::sync::Semaphore::new(4)),
            tasks: TaskTracker::new(),
            listing: Arc::default(),
        }
    }

    /// The deduplication domain of what an account brings in, encrypted with
    /// the data key of a lineage if there is one.
    pub(crate) fn domain(&self, account: AccountId, lineage: Option<LineageId>) -> Result<Domain> {
        match lineage {
            None => Ok(Domain::derive(&self.secret, &account.to_string())),
            Some(id) => Err(crate::StorageError::DataKeyGone { id }),
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
