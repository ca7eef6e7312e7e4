//! Snapshots of volumes, running or not.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use tokio::sync::OwnedMutexGuard;
use vmint_blocks::Root;
use vmint_disk::Frozen;
use vmint_ids::{AccountId, ImageId, SnapshotId, VolumeId};
use vmint_store::TxError;

use super::Step;
use crate::{
    Content, Result, Snapshot, Storage, StorageError, Volume,
    snapshot::{Consistency, SnapshotState},
    store::{boot_sets, fence, held, snapshots, volumes},
    tag::Tags,
};

/// A volume as it was at the moment, and what becomes of it.
pub(super) struct Taken {
    pub(super) volume: Volume,
    pub(super) snapshot: Snapshot,
    pub(super) frozen: Frozen,
    pub(super) pause_micros: u64,
}

/// What all snapshots of an image get.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) description: String,
    pub(crate) tags: Tags,
    /// Nothing runs on the volumes, attached or not.
    pub(crate) machine_off: bool,
}

impl Storage {
    /// Freezes volumes and keeps what they hold as snapshots; those made
    /// before are found. Costs what was written, not what the disks hold.
    ///
    /// Goes on when the caller stops waiting; asked again, it waits for what
    /// is under way.
    pub(crate) async fn ensure_volume_snapshots(
        &self,
        step: Step,
        account: AccountId,
        image: ImageId,
        pairs: Vec<(VolumeId, SnapshotId)>,
        shape: Shape,
    ) -> Result<Vec<Snapshot>> {
        let pending = self.begin(step.clone(), account, image, pairs, shape).await?;
        let storage = self.clone();
        self.tasks.spawn(async move { storage.make(step, pending).await }).await?
    }

    /// Freezes and keeps what is still pending.
    async fn make(self, step: Step, pending: Vec<(Volume, Snapshot)>) -> Result<Vec<Snapshot>> {
        let _turns = self.turns(&pending).await?;
        let storage = self.clone();
        // All are frozen before any is read: they are of one moment but for
        // the time that freezing takes.
        let taken = Self::blocking(move || {
            let wanted = pending.into_iter().map(|(volume, snapshot)| {
                // Another call may have made it while this one waited.
                let id = snapshot.id;
                let snapshot = snapshots::find(storage.records.store(), id)?
                    .ok_or(StorageError::NoSuchSnapshot { id })?;
                let frozen = match snapshot.state {
                    SnapshotState::Completed(_) => None,
                    _ => Some(storage.take(volume.id, snapshot.clone())?),
                };
                Ok((snapshot, frozen))
            });
            wanted.collect::<Result<Vec<_>>>()
        })
        .await?;
        let mut made = Vec::new();
        for (snapshot, taken) in taken {
            made.push(match taken {
                Some(taken) => self.seal(Some(step.clone()), taken).await?,
                None => snapshot,
            });
        }
        Ok(made)
    }

    /// Waits for each volume's turn, in the order of their ids so that two
    /// sets never wait for one another.
    async fn turns(&self, of: &[(Volume, Snapshot)]) -> Result<Vec<OwnedMutexGuard<()>>> {
        let storage = self.clone();
        let volumes: BTreeMap<_, _> = of.iter().map(|(v, _)| (v.id, v.clone())).collect();
        // Only the locks are kept: who waits for a turn keeps no volume open.
        let locks = Self::blocking(move || {
            let lock = |volume| {
                let open = storage.live.ensure(volume, |content| storage.tree(content))?;
                Ok(open.freezing.clone())
            };
            volumes.values().map(lock).collect::<Result<Vec<_>>>()
        });
        let mut turns = Vec::new();
        for lock in locks.await? {
            turns.push(lock.lock_owned().await);
        }
        Ok(turns)
    }

    /// Makes the pending records.
    async fn begin(
        &self,
        step: Step,
        account: AccountId,
        image: ImageId,
        pairs: Vec<(VolumeId, SnapshotId)>,
        shape: Shape,
    ) -> Result<Vec<(Volume, Snapshot)>> {
        let quota = self.config.quota;
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
                        Some(_) if !shape.machine_off => Consistency::Crash,
                        _ => Consistency::Stopped,
                    };
                    let mut snapshot = Snapshot::pending(id, account, volume.size_bytes, how);
                    snapshot.description.clone_from(&shape.description);
                    snapshot.tags.clone_from(&shape.tags);
                    snapshot.volume = Some(volume.id);
                    snapshot.product_codes.clone_from(&volume.product_codes);
                    snapshot.seal = volume.seal;
                    snapshot.images.insert(image);
                    snapshot.created_ms = tx.now_ms();
                    snapshots::put(tx, &snapshot)?;
                    pending.push((volume, snapshot));
                }
                held::within(tx, account, &quota)?;
                Ok(pending)
            })
            .await
    }

    fn take(&self, volume: VolumeId, snapshot: Snapshot) -> Result<Taken> {
        // As it is now: it may have been given back while this one waited.
        let volume = self.volume(volume)?.ok_or(StorageError::NoSuchVolume { id: volume })?;
        let open = self.live.ensure(&volume, |content| self.tree(content))?;
        let started = Instant::now();
        let frozen = open.disk.freeze()?;
        let pause = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(Taken { volume, snapshot, frozen, pause_micros: pause })
    }

    /// Chunks what changed, records it, and puts the volume on top of it.
    pub(super) async fn seal(&self, step: Option<Step>, taken: Taken) -> Result<Snapshot> {
        let storage = self.clone();
        let progress = self.progress.of(taken.snapshot.id);
        let (sealed, content, boot, taken) = Self::blocking(move || {
            let base = Self::base_of(&taken)?;
            let tree = storage.tree(&base)?;
            let dirty = taken.frozen.dirty();
            progress.whole(dirty.iter().map(|range| range.end - range.start).sum());
            let sealed =
                storage.blocks.edit(&tree, taken.frozen.size(), &dirty, &mut |range, buffer| {
                    progress.reached(range.end - range.start);
                    taken.frozen.read_at(range.start, buffer)
                })?;
            let content = Content { root: sealed.root, size_bytes: taken.frozen.size(), ..base };
            let boot = storage.inherited(&base, &content);
            Ok((sealed, content, boot, taken))
        })
        .await?;
        let Taken { volume, snapshot, frozen, pause_micros } = taken;
        let (id, volume_id) = (snapshot.id, volume.id);
        let (new_bytes, stored_bytes) = (sealed.new_bytes, sealed.stored_bytes);
        let snapshot = self
            .records
            .commit(move |tx| {
                if let Some(step) = step {
                    fence(tx, step.epoch)?;
                }
                // Undone meanwhile: then it stays away.
                let found = snapshots::find(tx, id).map_err(TxError::Refused)?;
                let mut snapshot =
                    found.ok_or(TxError::Refused(StorageError::NoSuchSnapshot { id }))?;
                snapshot.state = SnapshotState::Completed(content);
                snapshot.making = None;
                snapshot.new_bytes = new_bytes;
                snapshot.stored_bytes = stored_bytes;
                snapshot.pause_micros = pause_micros;
                snapshots::put(tx, &snapshot)?;
                boot_sets::inherit(tx, &content, boot.as_ref())?;
                Ok(snapshot)
            })
            .await?;
        // From here the snapshot's record holds the content.
        drop(sealed);
        self.put_on(volume_id, content, frozen).await?;
        tracing::info!(snapshot = %id, volume = %volume_id, new_bytes, pause_micros, "frozen");
        Ok(snapshot)
    }

    /// Puts a volume on top of what its snapshot holds, while it is this
    /// snapshot's turn. A volume that was given back meanwhile stays away.
    async fn put_on(&self, id: VolumeId, content: Content, frozen: Frozen) -> Result<()> {
        let Some(open) = self.live.get(id) else { return Ok(()) };
        let storage = self.clone();
        let base = Self::blocking(move || {
            // Does nothing if a later freeze was faster: what lies under the
            // volume then is that one's content.
            let tree = Arc::new(storage.tree(&content)?);
            open.disk.rebase(&content.to_string(), tree, &frozen)?;
            let label = open.disk.base_label();
            label.map(|label| label.parse().map_err(|_| StorageError::Damaged)).transpose()
        })
        .await?;
        self.record_base(id, base).await
    }

    /// Records what lies under a volume. Until then, and if the process dies
    /// before, the open tree and [`Storage::restore`] keep it.
    pub(crate) async fn record_base(&self, id: VolumeId, base: Option<Content>) -> Result<()> {
        self.records
            .commit(move |tx| {
                if let Some(mut volume) = volumes::find(tx, id).map_err(TxError::Refused)? {
                    volume.base = base;
                    volumes::put(tx, &volume)?;
                }
                Ok(())
            })
            .await
    }

    /// What lies under a frozen volume; nothing at all for an empty one.
    fn base_of(taken: &Taken) -> Result<Content> {
        match taken.frozen.base_label() {
            Some(label) => label.parse().map_err(|_| StorageError::Damaged),
            None => Ok(Content {
                domain: taken.volume.account,
                lineage: taken.volume.seal.map(|seal| seal.lineage),
                root: Root::EMPTY,
                size_bytes: taken.frozen.size(),
            }),
        }
    }
}
