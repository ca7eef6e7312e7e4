//! Volumes for a launch: made, opened, served.

use std::{collections::HashSet, path::PathBuf, sync::Arc, time::Duration};

use tokio::time::timeout;
use vmint_ids::{AccountId, InstanceId, ProductCode, SnapshotId, VolumeId};
use vmint_store::TxError;

use super::{Step, cover::Covered};
use crate::{
    Content, Result, Seal, Storage, StorageError, Volume,
    key::Wish,
    snapshot::Copied,
    store::{fence, held, snapshots, volumes},
    tag::Tags,
    volume::{Asked, Attachment, Begin, Plug},
};

/// How long snapshots under way may take to end at shutdown.
const LAST_WORK: Duration = Duration::from_secs(5);

/// A volume to make and attach.
#[derive(Debug, Clone)]
pub(crate) struct NewVolume {
    pub(crate) id: VolumeId,
    pub(crate) snapshot: Option<SnapshotId>,
    /// 0: the snapshot's exact size.
    pub(crate) size_gib: i32,
    pub(crate) instance: InstanceId,
    pub(crate) device: String,
    pub(crate) delete_on_termination: bool,
    pub(crate) product_codes: Vec<ProductCode>,
    pub(crate) boot: bool,
    pub(crate) performance: Asked,
    pub(crate) wish: Wish,
    pub(crate) tags: Tags,
}

/// What a new volume begins with.
enum Start {
    /// Nothing, encrypted so if at all, or its snapshot as it is.
    As(Option<Seal>),
    /// Its snapshot's content under another key.
    Over(Arc<Covered>),
}

impl Start {
    fn covered(&self) -> Option<Arc<Covered>> {
        match self {
            Self::As(_) => None,
            Self::Over(covered) => Some(covered.clone()),
        }
    }
}

impl Storage {
    /// Makes volumes, or finds those made before, and serves each. Nothing is
    /// copied: a volume is its snapshot's tree and an empty layer of writes. Only
    /// what is to be encrypted otherwise than its snapshot is chunked anew, which
    /// costs as much as an import.
    pub(crate) async fn ensure_volumes(
        &self,
        step: Step,
        account: AccountId,
        wanted: Vec<NewVolume>,
    ) -> Result<Vec<(Volume, PathBuf)>> {
        let quota = self.config.quota;
        let capabilities = wanted.iter().map(|_| capability()).collect::<Result<Vec<_>>>()?;
        let mut starts = Vec::new();
        for one in &wanted {
            starts.push(self.start_of(account, one).await?);
        }
        // New contents must stay until they are recorded, and be in the list of a
        // collection or later.
        let covered = starts.iter().filter_map(Start::covered).collect::<Vec<_>>();
        let _listed = if covered.is_empty() { None } else { Some(self.listing.read().await) };
        let sources = wanted.iter().filter_map(|one| one.snapshot).collect::<Vec<_>>();
        let made = self
            .records
            .commit(move |tx| {
                fence(tx, step.epoch)?;
                let mut made = Vec::new();
                for ((wanted, capability), start) in
                    wanted.into_iter().zip(capabilities).zip(starts)
                {
                    if let Some(there) = volumes::find(tx, wanted.id).map_err(TxError::Refused)? {
                        made.push(there);
                        continue;
                    }
                    let volume = new_volume(tx, account, wanted, capability, &start)
                        .map_err(TxError::Refused)?;
                    volumes::put(tx, &volume)?;
                    made.push(volume);
                }
                held::within(tx, account, &quota)?;
                Ok(made)
            })
            .await?;
        drop(covered);
        self.covered(account, &sources);
        let storage = self.clone();
        Self::blocking(move || {
            let mut served = Vec::new();
            for volume in made {
                let watch = storage.boots(&volume)?;
                storage.live.ensure_watched(&volume, |content| storage.tree(content), watch)?;
                let capability = volume.attachment.as_ref().map(|at| at.capability.clone());
                let socket = storage.live.socket(&capability.unwrap_or_default());
                served.push((volume, socket));
            }
            Ok(served)
        })
        .await
    }

    /// What a new volume begins with: the rule is that of copies, and what the
    /// account always wants is asked for.
    async fn start_of(&self, account: AccountId, wanted: &NewVolume) -> Result<Start> {
        if self.volume(wanted.id)?.is_some() {
            return Ok(Start::As(None));
        }
        let wish = self.wished(account, wanted.wish)?;
        let Some(id) = wanted.snapshot else {
            return self.seal_of_new(account, wish).await.map(Start::As);
        };
        let source = snapshots::find(self.records.store(), id)?;
        let source = source.ok_or(StorageError::NoSuchSnapshot { id })?;
        let covered = self.cover_once(&source, account, wish).await?;
        let same = covered.seal == source.seal;
        Ok(if same { Start::As(None) } else { Start::Over(covered) })
    }

    /// Opens and serves every attached volume again after a restart, and
    /// levels what a crash left in between: directories without a record, a
    /// record behind its directory, sockets of nobody.
    pub async fn restore(&self) -> Result<()> {
        self.finish_doomed().await?;
        self.records.count_all().await?;
        let storage = self.clone();
        let moved = Self::blocking(move || {
            let (mut after, mut moved) = (None, Vec::new());
            let mut capabilities = HashSet::new();
            loop {
                let page = storage.records.all_volumes(after, 500)?;
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                for volume in &page {
                    capabilities.extend(volume.attachment.iter().map(|at| at.capability.clone()));
                    // One damaged volume must not keep the others from their machines.
                    match storage.bring_back(volume) {
                        Ok(base) if base == volume.base => {}
                        Ok(base) => moved.push((volume.id, base)),
                        Err(error) => {
                            let error = vmint_rpc::chain(&error);
                            tracing::error!(volume = %volume.id, error, "cannot be served");
                        }
                    }
                }
            }
            for id in storage.live.on_disk()? {
                if storage.volume(id)?.is_none() {
                    tracing::info!(volume = %id, "has no record; removed");
                    storage.live.delete(id)?;
                }
            }
            storage.live.keep_sockets(&capabilities)?;
            Ok(moved)
        })
        .await?;
        for (id, base) in moved {
            self.record_base(id, base).await?;
        }
        self.restore_objects().await?;
        self.restore_transfers().await?;
        self.resume().await
    }

    /// Serves a volume if it is attached; answers what lies under it, which a
    /// crash may have kept from its record.
    fn bring_back(&self, volume: &Volume) -> Result<Option<Content>> {
        if volume.attachment.is_some() {
            self.live.ensure(volume, |content| self.tree(content))?;
        }
        self.live.base(volume, |content| self.tree(content))
    }

    /// Ends what goes on, for a while, and then every export.
    pub async fn close(&self) {
        self.stop_transfers();
        self.tasks.close();
        if timeout(LAST_WORK, self.tasks.wait()).await.is_err() {
            tracing::warn!("snapshots under way are left to be asked for again");
        }
        let storage = self.clone();
        let closed = Self::blocking(move || {
            storage.live.close_all();
            Ok(())
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "volumes were not closed");
        }
        self.records.store().close().await;
    }
}

/// A volume over its snapshot, at its instance.
fn new_volume(
    read: &impl vmint_store::Read,
    account: AccountId,
    wanted: NewVolume,
    capability: String,
    start: &Start,
) -> Result<Volume> {
    let source = wanted
        .snapshot
        .map(|id| snapshots::find(read, id)?.ok_or(StorageError::NoSuchSnapshot { id }));
    let mut source = source.transpose()?;
    let seal = match start {
        Start::As(seal) => *seal,
        Start::Over(covered) => {
            let holds = || Copied::Same { content: covered.content, seal: covered.seal };
            source = source.map(|it| it.copied(it.id, account, holds()));
            None
        }
    };
    let begin = Begin {
        snapshot: wanted.snapshot,
        size_gib: wanted.size_gib,
        product_codes: wanted.product_codes.into_iter().collect(),
        performance: wanted.performance,
        tags: wanted.tags,
        seal,
        ..Begin::default()
    };
    let mut volume = Volume::begun(wanted.id, account, begin, source.as_ref())?;
    Storage::may_use(read, volume.base)?;
    volume.created_ms = now_ms();
    volume.attachment = Some(Attachment {
        instance: wanted.instance,
        device: wanted.device,
        delete_on_termination: wanted.delete_on_termination,
        capability,
        plug: Plug::Attached,
        attached_ms: volume.created_ms,
        boot: wanted.boot,
        saga: String::new(),
    });
    Ok(volume)
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)).unwrap_or_default()
}

/// 128 random bits as text.
pub(super) fn capability() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(hex::encode(bytes))
}
