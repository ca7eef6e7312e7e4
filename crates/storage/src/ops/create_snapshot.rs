//! Snapshots that somebody asks for: frozen before the answer, made after it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::timeout;
use vmint_disk::{Frozen, freeze_all};
use vmint_ids::{AccountId, InstanceId, SnapshotId, VolumeId};
use vmint_store::{Asked, TxError};

use super::freeze::Taken;
use crate::{
    Result, Snapshot, Storage, StorageError, Volume,
    live::Open,
    snapshot::{Consistency, Making, SnapshotState},
    store::{LEDGER, held, snapshots, volumes},
    tag::{Tags, check_tags},
};

/// Volumes of one set: their records must fit into one transaction.
const SET: usize = 25;
/// How long giving a volume back waits for snapshots of it.
const PATIENCE: Duration = Duration::from_secs(40);

/// What to say of each snapshot of a set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Labels {
    pub(crate) description: String,
    pub(crate) tags: Tags,
    /// Give each its volume's tags too.
    pub(crate) copy_tags: bool,
}

/// Which volumes of an instance.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) instance: InstanceId,
    pub(crate) exclude_boot: bool,
    pub(crate) exclude: Vec<VolumeId>,
}

/// What the ledger keeps.
#[derive(Clone, PartialEq, prost::Message)]
struct Made {
    #[prost(string, repeated, tag = "1")]
    snapshots: Vec<String>,
}

impl Storage {
    /// A snapshot of one volume as it is now.
    pub(crate) async fn create_snapshot(
        &self,
        account: AccountId,
        volume: VolumeId,
        labels: Labels,
        asked: Asked,
    ) -> Result<Snapshot> {
        let volume = volumes::owned(self.records.store(), volume, account)?;
        let mut made = self.create_set(account, vec![volume], labels, asked).await?;
        made.pop().ok_or(StorageError::Damaged)
    }

    /// Snapshots of an instance's volumes, all of one moment.
    pub(crate) async fn create_snapshots(
        &self,
        account: AccountId,
        selection: Selection,
        labels: Labels,
        asked: Asked,
    ) -> Result<Vec<Snapshot>> {
        let instance = selection.instance;
        let mut set = volumes::of_instance(self.records.store(), instance)?;
        set.retain(|volume| volume.account == account);
        if let Some(id) = selection.exclude.iter().find(|id| !set.iter().any(|v| v.id == **id)) {
            return Err(StorageError::NoSuchVolume { id: *id });
        }
        let boots = |volume: &Volume| volume.attachment.as_ref().is_some_and(|at| at.boot);
        set.retain(|volume| {
            !(selection.exclude.contains(&volume.id) || selection.exclude_boot && boots(volume))
        });
        if set.is_empty() {
            return Err(StorageError::NoVolumes { instance });
        }
        if set.len() > SET {
            return Err(StorageError::Invalid {
                field: "exclude_data_volume_ids",
                what: "set",
                value: format!("{} volumes", set.len()),
                rule: format!("at most {SET} are frozen at once: leave some out"),
            });
        }
        self.create_set(account, set, labels, asked).await
    }

    async fn create_set(
        &self,
        account: AccountId,
        set: Vec<Volume>,
        labels: Labels,
        asked: Asked,
    ) -> Result<Vec<Snapshot>> {
        let storage = self.clone();
        let taken = Self::blocking(move || storage.freeze_set(set, &labels)).await?;
        let drawn: Vec<_> = taken.iter().map(|(taken, _)| taken.snapshot.clone()).collect();
        let records = drawn.clone();
        let quota = self.config.quota;
        let made = self
            .records
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    let mut made = Made::default();
                    for mut snapshot in records {
                        // Given back while it was frozen: there is nothing to go on with.
                        if let Some(volume) = snapshot.volume {
                            volumes::owned(tx, volume, account).map_err(TxError::Refused)?;
                        }
                        snapshot.created_ms = tx.now_ms();
                        made.snapshots.push(snapshot.id.to_string());
                        snapshots::put(tx, &snapshot)?;
                    }
                    held::within(tx, account, &quota)?;
                    Ok(made)
                })
            })
            .await;
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                let ids = taken.iter().map(|(taken, _)| taken.volume.id).collect();
                drop(taken);
                self.forget_deleted(ids).await?;
                return Err(error);
            }
        };
        let ours = made.snapshots.first() == drawn.first().map(|one| one.id.to_string()).as_ref();
        if ours {
            for (taken, open) in taken {
                self.tasks.spawn(self.clone().make_of(taken, open));
            }
        }
        let shown = |id: &String| {
            let id: SnapshotId = id.parse().map_err(|_| StorageError::Damaged)?;
            self.snapshot(id, account)
        };
        made.snapshots.iter().map(shown).collect()
    }

    /// Closes volumes that were deleted while they were frozen, which opened
    /// them again.
    async fn forget_deleted(&self, ids: Vec<VolumeId>) -> Result<()> {
        let storage = self.clone();
        Self::blocking(move || {
            for id in ids {
                if storage.volume(id)?.is_none() {
                    storage.live.close(id, None);
                    storage.live.delete(id)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Freezes volumes at one moment.
    fn freeze_set(&self, set: Vec<Volume>, labels: &Labels) -> Result<Vec<(Taken, Arc<Open>)>> {
        let open = |volume: &Volume| self.live.ensure(volume, |content| self.tree(content));
        let opened = set.iter().map(open).collect::<Result<Vec<_>>>()?;
        let disks: Vec<_> = opened.iter().map(|open| &*open.disk).collect();
        let started = Instant::now();
        let frozen = freeze_all(&disks)?;
        let pause_micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut taken = Vec::new();
        for ((volume, open), frozen) in set.into_iter().zip(opened).zip(frozen) {
            let snapshot = pending(&volume, &frozen, labels)?;
            taken.push((Taken { volume, snapshot, frozen, pause_micros }, open));
        }
        Ok(taken)
    }

    /// Makes a snapshot of what was frozen; what hinders it shows in its state.
    async fn make_of(self, taken: Taken, open: Arc<Open>) {
        let id = taken.snapshot.id;
        // One at a time, in the order they were frozen.
        let turn = open.freezing.clone().lock_owned().await;
        let sealed = self.seal(None, taken).await;
        drop((turn, open));
        let Err(error) = sealed else { return };
        if matches!(error, StorageError::NoSuchSnapshot { .. }) {
            tracing::info!(snapshot = %id, "was deleted before it was made");
            return;
        }
        let why = vmint_rpc::chain(&error);
        tracing::error!(snapshot = %id, error = why, "could not be made");
        if let Err(error) = self.fail_snapshot(id, why).await {
            let error = vmint_rpc::chain(&error);
            tracing::error!(snapshot = %id, error, "stays pending until the next start");
        }
    }

    /// Says that a pending snapshot never will be complete.
    pub(super) async fn fail_snapshot(&self, id: SnapshotId, why: String) -> Result<()> {
        self.records
            .commit(move |tx| {
                let found = snapshots::find(tx, id).map_err(TxError::Refused)?;
                let Some(mut snapshot) = found else { return Ok(()) };
                if snapshot.state == SnapshotState::Pending {
                    snapshot.state = SnapshotState::Error(why);
                    snapshot.making = None;
                    snapshots::put(tx, &snapshot)?;
                }
                Ok(())
            })
            .await
    }

    /// Goes on with the snapshots that were pending when the process ended.
    pub(super) async fn resume(&self) -> Result<()> {
        let mut pending = Vec::new();
        let mut after = None;
        loop {
            let page = self.records.all_snapshots(after, 500)?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            pending.extend(page.into_iter().filter(|one| one.state == SnapshotState::Pending));
        }
        // A volume's snapshots in the order they were frozen.
        pending.sort_by_key(|snapshot| match snapshot.making {
            Some(Making::Freeze { layer }) => layer,
            _ => 0,
        });
        for snapshot in pending {
            let id = snapshot.id;
            match snapshot.making.clone() {
                Some(Making::Freeze { layer }) => {
                    let storage = self.clone();
                    let found = Self::blocking(move || storage.frozen_again(snapshot, layer));
                    match found.await {
                        Ok((taken, open)) => {
                            self.tasks.spawn(self.clone().make_of(taken, open));
                        }
                        Err(error) => {
                            let why = "the service ended before what was frozen could be kept";
                            tracing::error!(snapshot = %id, error = vmint_rpc::chain(&error), why);
                            self.fail_snapshot(id, why.to_owned()).await?;
                        }
                    }
                }
                Some(Making::Blocks(blocks)) => self.resume_blocks(snapshot, &blocks).await?,
                Some(Making::Remote(_)) => {
                    self.tasks.spawn(self.clone().make_of_remote(snapshot));
                }
                Some(Making::Cover(_)) => {
                    self.tasks.spawn(self.clone().cover_alone(id));
                }
                // A saga asks for it again.
                None => {}
            }
        }
        let storage = self.clone();
        Self::blocking(move || Ok(storage.sent.keep_open()?)).await
    }

    fn frozen_again(&self, snapshot: Snapshot, layer: u64) -> Result<(Taken, Arc<Open>)> {
        let id = snapshot.volume.ok_or(StorageError::Damaged)?;
        let volume = self.volume(id)?.ok_or(StorageError::NoSuchVolume { id })?;
        let open = self.live.ensure(&volume, |content| self.tree(content))?;
        let frozen = open.disk.frozen(layer, snapshot.size_bytes).ok_or(StorageError::Damaged)?;
        let pause_micros = snapshot.pause_micros;
        Ok((Taken { volume, snapshot, frozen, pause_micros }, open))
    }

    /// Waits until no snapshot of a volume is being made.
    pub(super) async fn wait_for_snapshots(&self, id: VolumeId) -> Result<()> {
        let Some(open) = self.live.get(id) else { return Ok(()) };
        let freezing = open.freezing.clone();
        drop(open);
        match timeout(PATIENCE, freezing.lock_owned()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(StorageError::Busy { id }),
        }
    }
}

fn pending(volume: &Volume, frozen: &Frozen, labels: &Labels) -> Result<Snapshot> {
    let how = match volume.attachment {
        Some(_) => Consistency::Crash,
        None => Consistency::Stopped,
    };
    let id = SnapshotId::random();
    let mut snapshot = Snapshot::pending(id, volume.account, frozen.size(), how);
    snapshot.volume = Some(volume.id);
    snapshot.seal = volume.seal;
    snapshot.product_codes.clone_from(&volume.product_codes);
    snapshot.description.clone_from(&labels.description);
    if labels.copy_tags {
        snapshot.tags.clone_from(&volume.tags);
    }
    snapshot.tags.extend(labels.tags.clone());
    check_tags(&snapshot.tags)?;
    snapshot.making = Some(Making::Freeze { layer: frozen.layer() });
    Ok(snapshot)
}
