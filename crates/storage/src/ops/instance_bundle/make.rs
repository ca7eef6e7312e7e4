//! A bundle task's work, from wherever it was left.

use std::{sync::Arc, time::Duration};

use vmint_ids::{SnapshotId, VolumeId};
use vmint_rpc::Describe as _;
use vmint_store::{Asked, TxError};

use super::task::held;
use crate::{
    Result, Storage, StorageError,
    instance_bundle::{BundleState, BundleTask, Held, Origin},
    ops::{Labels, lineage::let_go},
    snapshot::SnapshotState,
    store::{instance_bundles, snapshots},
    transfer_fault::told,
    transfers::Job,
};

/// Between looks at a snapshot that is being made.
const LOOK: Duration = Duration::from_millis(100);

impl Storage {
    /// Works on a task that has not ended, unless that is being done.
    pub(super) fn go_on_bundling(&self, task: &BundleTask) {
        if task.state.is_over() {
            return;
        }
        let name = task.id.to_string();
        let Some(job) = self.transfers.begin(&name) else { return };
        let (storage, task) = (self.clone(), task.clone());
        self.tasks.spawn(async move {
            if let Err(error) = storage.bundle_or_tidy(&task, &job).await {
                // Left as it is, it is tried again at the next start.
                tracing::error!(task = %task.id, error = %vmint_rpc::chain(&error));
            }
            storage.transfers.end(&name);
        });
    }

    /// Goes on with all tasks after a restart.
    pub(in crate::ops) async fn restore_instance_bundles(&self) -> Result<()> {
        let storage = self.clone();
        let all = Self::blocking(move || storage.records.all_instance_bundles()).await?;
        for task in &all {
            self.go_on_bundling(task);
        }
        Ok(())
    }

    /// Makes the bundle, or takes away what is there of it and says why.
    async fn bundle_or_tidy(&self, task: &BundleTask, job: &Arc<Job>) -> Result<()> {
        if matches!(task.state, BundleState::Storing | BundleState::Cancelling) {
            // Encrypted with a data key that nobody has any more.
            self.clear_parts(task).await?;
        }
        let made = match task.state {
            BundleState::Cancelling => Err(StorageError::Cancelled),
            _ => self.bundle(task, job).await,
        };
        let Err(error) = made else { return Ok(()) };
        if self.transfers.stop.is_cancelled() {
            return Ok(());
        }
        tracing::info!(task = %task.id, error = %vmint_rpc::chain(&error), "no bundle was made");
        self.clear_parts(task).await?;
        let (id, why, reason) = (task.id, told(&error), error.fault().reason);
        let ended = self.records.commit(move |tx| {
            let found = instance_bundles::find(tx, id).map_err(TxError::Refused)?;
            let Some(mut task) = found.filter(|task| !task.state.is_over()) else { return Ok(()) };
            if let Some(snapshot) = task.between.take() {
                remove_snapshot(tx, snapshot)?;
            }
            if task.state != BundleState::Cancelling {
                task.message = why;
                reason.clone_into(&mut task.reason);
            }
            task.state = BundleState::Failed;
            task.ended_ms = tx.now_ms();
            instance_bundles::put(tx, &task)?;
            let_go_of(tx, task.held.as_ref())
        });
        ended.await?;
        self.finish_let_go().await;
        self.transfers.tell();
        Ok(())
    }

    async fn bundle(&self, task: &BundleTask, job: &Arc<Job>) -> Result<()> {
        let held = match (&task.held, task.origin) {
            (Some(held), _) => held.clone(),
            (None, Origin::Volume(volume)) => self.hold_volume(task, volume, job).await?,
            (None, Origin::Snapshot(_)) => return Err(StorageError::Damaged),
        };
        let _turn = tokio::select! {
            () = job.stop.cancelled() => return Err(StorageError::Cancelled),
            turn = self.heavy.acquire() => turn.map_err(|_| StorageError::Damaged)?,
        };
        self.step_bundle(task, BundleState::Bundling).await?;
        let task = BundleTask { held: Some(held), ..task.clone() };
        let mut packed = self.pack_parts(&task, job).await?;
        let stored = match self.step_bundle(&task, BundleState::Storing).await {
            Ok(()) => self.store_bundle(&task, &mut packed, job).await,
            Err(error) => Err(error),
        };
        if stored.is_err() {
            // Those that are objects by now go with their records.
            self.drop_parts(&packed).await;
        }
        stored?;
        self.finish_let_go().await;
        tracing::info!(task = %task.id, location = %task.location, "bundled");
        self.transfers.tell();
        Ok(())
    }

    async fn step_bundle(&self, task: &BundleTask, state: BundleState) -> Result<()> {
        let id = task.id;
        let stepped = self.records.commit(move |tx| {
            let mut task = instance_bundles::going(tx, id)?;
            task.state = state;
            instance_bundles::put(tx, &task)
        });
        stepped.await?;
        self.transfers.tell();
        Ok(())
    }

    /// Makes a snapshot of a volume and keeps its content for the task; the
    /// snapshot itself goes at once.
    async fn hold_volume(
        &self,
        task: &BundleTask,
        volume: VolumeId,
        job: &Arc<Job>,
    ) -> Result<Held> {
        let (id, account) = (task.id, task.account);
        let asked = Asked {
            account: account.to_string(),
            method: "CreateInstanceBundle.Snapshot".to_owned(),
            request_id: id.to_string(),
            digest: [0; 32],
        };
        let description = format!("read by {id}");
        let labels = Labels { description, ..Labels::default() };
        let made = self.create_snapshot(account, volume, labels, asked).await?;
        let snapshot = made.id;
        let noted = self.records.commit(move |tx| {
            let mut task = match instance_bundles::going(tx, id) {
                Ok(task) => task,
                Err(error) => return Ok(Err(error.flatten())),
            };
            task.between = Some(snapshot);
            instance_bundles::put(tx, &task)?;
            Ok(Ok(()))
        });
        if let Err(ended) = noted.await? {
            self.records.commit(move |tx| remove_snapshot(tx, snapshot)).await?;
            self.finish_let_go().await;
            return Err(ended);
        }
        loop {
            let found = snapshots::owned(self.records.store(), snapshot, account)?;
            match found.state {
                SnapshotState::Completed(_) => break,
                SnapshotState::Pending => {}
                SnapshotState::Error(_) => return Err(StorageError::NotCompleted { id: snapshot }),
            }
            tokio::select! {
                () = job.stop.cancelled() => return Err(StorageError::Cancelled),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        let _listed = self.listing.read().await;
        let kept = self.records.commit(move |tx| {
            let mut task = instance_bundles::going(tx, id)?;
            let held = held(tx, snapshot, account).map_err(TxError::Refused)?;
            (task.held, task.between) = (Some(held.clone()), None);
            instance_bundles::put(tx, &task)?;
            remove_snapshot(tx, snapshot)?;
            Ok(held)
        });
        kept.await
    }
}

fn remove_snapshot(
    tx: &mut vmint_store::Tx<'_>,
    id: SnapshotId,
) -> Result<(), TxError<StorageError>> {
    let found = snapshots::find(tx, id).map_err(TxError::Refused)?;
    snapshots::remove(tx, id)?;
    let_go(tx, found.and_then(|snapshot| snapshot.seal).map(|seal| seal.lineage))
}

/// Has the data key of what was read go, if the task was the last to need it.
pub(super) fn let_go_of(
    tx: &mut vmint_store::Tx<'_>,
    held: Option<&Held>,
) -> Result<(), TxError<StorageError>> {
    let_go(tx, held.and_then(|held| held.content.lineage))
}
