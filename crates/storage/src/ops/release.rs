//! Volumes whose instance is gone.

use vmint_ids::{InstanceId, VolumeId};
use vmint_store::{Tx, TxError};

use super::{Step, lineage::let_go};
use crate::{
    Result, Storage, StorageError,
    store::{fence, volumes},
};

/// Volumes let go in one commit, whatever their records hold.
const STEP: usize = 15;

impl Storage {
    /// Ends the exports of instances' volumes and deletes those that go with
    /// their instance (`undo`: all of them), a few in each commit. Instances
    /// without volumes are no error.
    pub(crate) async fn release_volumes(
        &self,
        step: Step,
        instances: Vec<InstanceId>,
        undo: bool,
    ) -> Result<Vec<VolumeId>> {
        let storage = self.clone();
        let of = instances.clone();
        // Asked first: an older gateway must not unplug anything.
        self.records.commit(move |tx| fence(tx, step.epoch)).await?;
        // Snapshots that were begun are of data that is about to go.
        for instance in &instances {
            for volume in volumes::of_instance(self.records.store(), *instance)? {
                let goes = volume.attachment.as_ref().is_some_and(|at| at.delete_on_termination);
                if goes && !undo {
                    self.wait_for_snapshots(volume.id).await?;
                }
            }
        }
        // Closed before the records go: a volume without a record but with a
        // socket would be nobody's.
        Self::blocking(move || {
            for instance in of {
                for volume in volumes::of_instance(storage.records.store(), instance)? {
                    let capability = volume.attachment.as_ref().map(|at| at.capability.as_str());
                    storage.live.close(volume.id, capability);
                }
            }
            Ok(())
        })
        .await?;
        let mut deleted = Vec::new();
        loop {
            let (epoch, of) = (step.epoch, instances.clone());
            let released = self.records.commit(move |tx| {
                fence(tx, epoch)?;
                release_some(tx, &of, undo)
            });
            let released = released.await?;
            let last = released.len() < STEP;
            let storage = self.clone();
            deleted.extend(
                Self::blocking(move || {
                    let mut deleted = Vec::new();
                    for (id, capability, goes) in released {
                        // A freeze may have opened it again until its record went.
                        storage.live.close(id, Some(&capability));
                        if goes {
                            storage.live.delete(id)?;
                            deleted.push(id);
                        }
                    }
                    Ok(deleted)
                })
                .await?,
            );
            if last {
                break;
            }
        }
        self.finish_let_go().await;
        Ok(deleted)
    }
}

/// Lets go of the first volumes of instances, up to [`STEP`]: each one's id, the capability it
/// was served under, and whether it is deleted.
fn release_some(
    tx: &mut Tx<'_>,
    instances: &[InstanceId],
    undo: bool,
) -> Result<Vec<(VolumeId, String, bool)>, TxError<StorageError>> {
    let mut released = Vec::new();
    for instance in instances {
        for mut volume in volumes::of_instance(tx, *instance).map_err(TxError::Refused)? {
            if released.len() == STEP {
                return Ok(released);
            }
            let Some(at) = volume.attachment.take() else { continue };
            let goes = undo || at.delete_on_termination;
            if goes {
                volumes::remove(tx, volume.id)?;
                let_go(tx, volume.seal.map(|seal| seal.lineage))?;
            } else {
                volumes::put(tx, &volume)?;
            }
            released.push((volume.id, at.capability, goes));
        }
    }
    Ok(released)
}
