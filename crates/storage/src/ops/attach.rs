//! Volumes for a launch: made, opened, served.

use std::{collections::HashSet, path::PathBuf, time::Duration};

use tokio::time::timeout;
use vmint_ids::{AccountId, InstanceId, ProductCode, SnapshotId, VolumeId};
use vmint_store::TxError;

use super::Step;
use crate::{
    Content, Result, Seal, Storage, StorageError, Volume,
    key::Wish,
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
    /// Of a volume without a snapshot.
    pub(crate) wish: Wish,
    pub(crate) tags: Tags,
}

impl Storage {
    /// Makes volumes, or finds those made before, and serves each. Nothing is
    /// copied: a volume is its snapshot's tree and an empty layer of writes.
    pub(crate) async fn ensure_volumes(
        &self,
        step: Step,
        account: AccountId,
        wanted: Vec<NewVolume>,
    ) -> Result<Vec<(Volume, PathBuf)>> {
        let quota = self.config.quota;
        let capabilities = wanted.iter().map(|_| capability()).collect::<Result<Vec<_>>>()?;
        let mut seals = Vec::new();
        for one in &wanted {
            seals.push(self.seal_of(account, one).await?);
        }
        let made = self
            .records
            .commit(move |tx| {
                fence(tx, step.epoch)?;
                let mut made = Vec::new();
                for ((wanted, capability), seal) in wanted.into_iter().zip(capabilities).zip(seals)
                {
                    if let Some(there) = volumes::find(tx, wanted.id).map_err(TxError::Refused)? {
                        made.push(there);
                        continue;
                    }
                    let volume = new_volume(tx, account, wanted, capability, seal)
                        .map_err(TxError::Refused)?;
                    volumes::put(tx, &volume)?;
                    made.push(volume);
                }
                held::within(tx, account, &quota)?;
                Ok(made)
            })
            .await?;
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

    /// What to encrypt a new empty volume with, if it is to be.
    async fn seal_of(&self, account: AccountId, wanted: &NewVolume) -> Result<Option<Seal>> {
        let wish = wanted.wish;
        let sealed = wish.encrypted == Some(true) || wish.key.is_some();
        let there = self.volume(wanted.id)?.is_some();
        if there || wanted.snapshot.is_some() || !sealed {
            return Ok(None);
        }
        let key = self.key_for(account, wish.key).await?;
        self.begin_lineage(account, key).await.map(Some)
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
    seal: Option<Seal>,
) -> Result<Volume> {
    let source = wanted
        .snapshot
        .map(|id| snapshots::find(read, id)?.ok_or(StorageError::NoSuchSnapshot { id }));
    let begin = Begin {
        snapshot: wanted.snapshot,
        size_gib: wanted.size_gib,
        product_codes: wanted.product_codes.into_iter().collect(),
        performance: wanted.performance,
        tags: wanted.tags,
        seal,
        ..Begin::default()
    };
    let mut volume = Volume::begun(wanted.id, account, begin, source.transpose()?.as_ref())?;
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
