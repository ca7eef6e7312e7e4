//! The destination's side of an image's copy from another region, disk by disk.

use std::sync::Arc;

use vmint_api::gateway::v1 as peer;
use vmint_ids::{AccountId, ImageId, ProductCode, SnapshotId};
use vmint_store::TxError;

use super::{Step, pull_disk::Remotely};
use crate::{
    Result, Seal, Snapshot, Storage, StorageError,
    key::{Cover, Wish},
    snapshot::{Consistency, Remote},
    store::{fence, held, snapshots},
    tag::Tags,
    transfers::Job,
};

/// Disks to copy, and for whom.
#[derive(Debug, Clone)]
pub(crate) struct Pull {
    pub(crate) region: String,
    pub(crate) account: AccountId,
    pub(crate) source_image: ImageId,
    pub(crate) image: ImageId,
    pub(crate) description: String,
    pub(crate) tags: Tags,
    pub(crate) disks: Vec<PullDisk>,
    pub(crate) product_codes: Vec<ProductCode>,
    pub(crate) wish: Wish,
}

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct PullDisk {
    pub(crate) source: SnapshotId,
    pub(crate) id: SnapshotId,
    /// Exact.
    pub(crate) size_bytes: u64,
    /// There.
    pub(crate) encrypted: bool,
}

/// How far a copy is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pulled {
    pub(crate) done: bool,
    pub(crate) percent: u32,
    pub(crate) seconds_left: u64,
}

impl Storage {
    /// An image as another region has it, and its disks.
    pub(crate) async fn remote_image(
        &self,
        region: &str,
        account: AccountId,
        image: ImageId,
    ) -> Result<peer::GetSourceImageResponse> {
        let request = peer::GetSourceImageRequest {
            account_id: account.to_string(),
            image_id: image.to_string(),
        };
        let answer = self.regions.client(region)?.get_source_image(request).await;
        Ok(answer.map_err(|status| self.regions.refused(region, &status))?.into_inner())
    }

    /// Copies disks from another region, or says how far that is. What came is
    /// kept through cuts: asked again, only the rest is fetched.
    pub(crate) async fn ensure_pull(&self, step: Step, pull: Pull) -> Result<Pulled> {
        let name = format!("pull {}", pull.image);
        let missing = self.begin_pull(step, &pull).await?;
        if missing.is_empty() {
            return Ok(Pulled { done: true, percent: 100, seconds_left: 0 });
        }
        if let Some(why) = self.transfers.failure(&name) {
            return Err(why);
        }
        if let Some(job) = self.transfers.begin(&name) {
            let (storage, name) = (self.clone(), name.clone());
            self.tasks.spawn(async move {
                let pulled = storage.pull(&pull, missing, &job).await;
                if let Err(error) = pulled
                    && !storage.transfers.stop.is_cancelled()
                {
                    let error_text = vmint_rpc::chain(&error);
                    tracing::info!(image = %pull.image, error = error_text, "a copy was cut");
                    storage.transfers.failed(&name, error);
                }
                storage.transfers.end(&name);
            });
        }
        let job = self.transfers.get(&name);
        let (percent, seconds_left) = job.map_or((0, 0), |job| (job.percent(), job.seconds_left()));
        Ok(Pulled { done: false, percent, seconds_left })
    }

    /// Makes the pending records; those that are not complete.
    async fn begin_pull(&self, step: Step, pull: &Pull) -> Result<Vec<Snapshot>> {
        let mut disks = Vec::new();
        for disk in &pull.disks {
            let there = snapshots::find(self.records.store(), disk.id)?;
            let seal = match there {
                Some(_) => None,
                None => self.seal_for(pull.account, disk.encrypted, pull.wish, disk.source).await?,
            };
            disks.push((disk.clone(), seal));
        }
        let (pull, quota) = (pull.clone(), self.config.quota);
        let begun = self.records.commit(move |tx| {
            fence(tx, step.epoch)?;
            let mut missing = Vec::new();
            for (disk, seal) in disks {
                if let Some(there) = snapshots::find(tx, disk.id).map_err(TxError::Refused)? {
                    missing.extend(there.content().is_none().then_some(there));
                    continue;
                }
                let (size, how) = (disk.size_bytes, Consistency::Imported);
                let mut new = Snapshot::pending(disk.id, pull.account, size, how);
                new.description.clone_from(&pull.description);
                new.tags.clone_from(&pull.tags);
                new.images.insert(pull.image);
                new.product_codes.extend(pull.product_codes.iter().cloned());
                new.created_ms = tx.now_ms();
                new.seal = seal;
                snapshots::put(tx, &new)?;
                missing.push(new);
            }
            held::within(tx, pull.account, &quota)?;
            Ok(missing)
        });
        begun.await
    }

    /// With what a copy from another region is to be encrypted, if at all: that
    /// has no key in common with this one.
    pub(super) async fn seal_for(
        &self,
        account: AccountId,
        encrypted: bool,
        wish: Wish,
        source: SnapshotId,
    ) -> Result<Option<Seal>> {
        match self.wished(account, wish)?.cover_of_foreign(encrypted) {
            Ok(Cover::Same) => Ok(None),
            Ok(Cover::Under(key)) => {
                let key = self.key_for(account, key).await?;
                Ok(Some(self.begin_lineage(account, key).await?))
            }
            Err(_) => Err(StorageError::DecryptionRefused { id: source }),
        }
    }

    async fn pull(&self, pull: &Pull, missing: Vec<Snapshot>, job: &Arc<Job>) -> Result<()> {
        let all = missing.iter().map(|disk| disk.size_bytes).sum::<u64>().max(1);
        let mut before = 0;
        for snapshot in missing {
            let source = pull.disks.iter().find(|disk| disk.id == snapshot.id);
            let remote = Remote {
                region: pull.region.clone(),
                image: Some(pull.source_image),
                snapshot: source.map(|disk| disk.source).ok_or(StorageError::Damaged)?,
            };
            let size = snapshot.size_bytes;
            let tell = |bytes: u64| job.at((before + bytes).saturating_mul(100) / all);
            self.pull_disk(Remotely { remote: &remote, snapshot: &snapshot, job, tell: &tell })
                .await?;
            before += size;
        }
        Ok(())
    }
}
