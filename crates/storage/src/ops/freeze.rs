//! Snapshots of volumes, running or not.

use std::time::Instant;

use vmint_blocks::Root;
use vmint_disk::Frozen;
use vmint_ids::{AccountId, ImageId, SnapshotId, VolumeId};
use vmint_store::TxError;

use super::Step;
use crate::{
    Content, Result, Snapshot, Storage, StorageError, Volume,
    live::{Open, under},
    snapshot::{Consistency, SnapshotState},
    store::{fence, snapshots, volumes},
};

/// A volume as it was at the moment, and what becomes of it.
struct Taken {
    volume: Volume,
    snapshot: Snapshot,
    frozen: Frozen,
    pause_micros: u64,
}

impl Storage {
    /// Freezes volumes and keeps what they hold as snapshots; those made
    /// before are found. Costs what was written, not what the disks hold.
    pub(crate) async fn ensure_volume_snapshots(
        &self,
        step: Step,
        account: AccountId,
        image: ImageId,
        pairs: Vec<(VolumeId, SnapshotId)>,
        description: String,
    ) -> Result<Vec<Snapshot>> {
        let pending = self.begin(step.clone(), account, image, pairs, description).await?;
        let _turn = self.heavy.acquire().await.map_err(|_| StorageError::Damaged)?;
        let storage = self.clone();
        // All are frozen before any is read: they are of one moment but for
        // the time that freezing takes.
        let taken = Self::blocking(move || {
            let wanted = pending.into_iter().map(|(volume, snapshot)| {
                let frozen = match snapshot.state {
                    SnapshotState::Completed(_) => None,
                    _ => Some(storage.take(volume, snapshot.clone())?),
                };
                Ok((snapshot, frozen))
            });
            wanted.collect::<Result<Vec<_>>>()
        })
        .await?;
        let mut made = Vec::new();
        for (snapshot, taken) in taken {
            made.push(match taken {
                Some(taken) => self.seal(step.clone(), taken).await?,
                None => snapshot,
            });
        }
        Ok(made)
    }

    /// Makes the pending records.
    async fn begin(
        &self,
        step: Step,
        account: AccountId,
        image: ImageId,
        pairs: Vec<(VolumeId, SnapshotId)>,
        description: String,
    ) -> Result<Vec<(Volume, Snapshot)>> {
        self.records
            .commit(move |tx| {
                fence(tx, step.epoch)?;
                let mut pending = Vec::new();
                for (volume, id) in pairs {
                    let volume = volumes::find(tx, volume)
                        .map_err(TxError::Refused)?
                        .filter(|found| found.account == account)
                        .ok_or(TxError::Refused(StorageError::NoSuchVolume { id: volume }))?;
                    if let Some(there) = snapshots::find(tx, id).map_err(TxError::Refused)? {
                        pending.push((volume, there));
                        continue;
                    }
                    let how = match volume.attachment {
                        Some(_) => Consistency::Crash,
                        None => Consistency::Stopped,
                    };
                    let mut snapshot = Snapshot::pending(id, account, volume.size_bytes, how);
                    snapshot.description.clone_from(&description);
                    snapshot.volume = Some(volume.id);
                    snapshot.product_codes.clone_from(&volume.product_codes);
                    snapshot.images.insert(image);
                    snapshot.created_ms = tx.now_ms();
                    snapshots::put(tx, &snapshot)?;
                    pending.push((volume, snapshot));
                }
                Ok(pending)
            })
            .await
    }

    fn open(&self, volume: &Volume) -> Result<std::sync::Arc<Open>> {
        self.live.ensure(volume, |content| self.tree(content))
    }

    fn take(&self, volume: Volume, snapshot: Snapshot) -> Result<Taken> {
        let open = self.open(&volume)?;
        let _one = open.freezing.lock();
        let started = Instant::now();
        let frozen = open.disk.freeze()?;
        let pause = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(Taken { volume, snapshot, frozen, pause_micros: pause })
    }

    /// Chunks what changed, records it, and puts the volume on top of it.
    async fn seal(&self, step: Step, taken: Taken) -> Result<Snapshot> {
        let storage = self.clone();
        let (sealed, content, taken) = Self::blocking(move || {
            let base = storage.base_of(&taken)?;
            let tree = storage.tree(&base);
            let sealed = storage.blocks.edit(
                &tree,
                taken.frozen.size(),
                &taken.frozen.dirty(),
                &mut |range, buffer| taken.frozen.read_at(range.start, buffer),
            )?;
            let content =
                Content { domain: base.domain, root: sealed.root, size_bytes: taken.frozen.size() };
            Ok((sealed, content, taken))
        })
        .await?;
        let Taken { volume, snapshot, frozen, pause_micros } = taken;
        let (id, volume_id) = (snapshot.id, volume.id);
        let (new_bytes, stored_bytes) = (sealed.new_bytes, sealed.stored_bytes);
        let snapshot = self
            .records
            .commit(move |tx| {
                fence(tx, step.epoch)?;
                // Undone meanwhile: then it stays away.
                let found = snapshots::find(tx, id).map_err(TxError::Refused)?;
                let mut snapshot =
                    found.ok_or(TxError::Refused(StorageError::NoSuchSnapshot { id }))?;
                snapshot.state = SnapshotState::Completed(content);
                snapshot.new_bytes = new_bytes;
                snapshot.stored_bytes = stored_bytes;
                snapshot.pause_micros = pause_micros;
                snapshots::put(tx, &snapshot)?;
                Ok(snapshot)
            })
            .await?;
        // From here the snapshot's record holds the content.
        drop(sealed);
        let storage = self.clone();
        Self::blocking(move || {
            let open = storage.open(&volume)?;
            let tree = under(storage.tree(&content));
            open.disk.rebase(&content.to_string(), tree, &frozen)?;
            Ok(())
        })
        .await?;
        self.records
            .commit(move |tx| {
                if let Some(mut volume) = volumes::find(tx, volume_id).map_err(TxError::Refused)? {
                    volume.base = Some(content);
                    volumes::put(tx, &volume)?;
                }
                Ok(())
            })
            .await?;
        tracing::info!(snapshot = %id, volume = %volume_id, new_bytes, pause_micros, "frozen");
        Ok(snapshot)
    }

    /// What lies under a frozen volume; nothing at all for an empty one.
    fn base_of(&self, taken: &Taken) -> Result<Content> {
        match taken.frozen.base_label() {
            Some(label) => label.parse().map_err(|_| StorageError::Damaged),
            None => Ok(Content {
                domain: taken.volume.account,
                root: Root::EMPTY,
                size_bytes: taken.frozen.size(),
            }),
        }
    }
}
