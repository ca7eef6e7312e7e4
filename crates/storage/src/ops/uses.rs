//! Which images need which snapshots, and what sells with them.

use vmint_ids::{AccountId, ImageId, ProductCode, SnapshotId};
use vmint_store::TxError;

use super::{Step, lineage::let_go};
use crate::{
    Result, Snapshot, Storage, StorageError,
    snapshot::SnapshotState,
    store::{fence, snapshots},
};

/// Snapshots changed in one commit, whatever their records hold.
const STEP: usize = 15;

impl Storage {
    /// Records that `image` needs complete snapshots of its owner's. Of more than a few, some may
    /// be recorded when one is refused; whoever asked takes the image's need back.
    pub(crate) async fn ensure_use(
        &self,
        step: Step,
        image: ImageId,
        ids: Vec<SnapshotId>,
        account: AccountId,
    ) -> Result<Vec<Snapshot>> {
        let mut used = Vec::new();
        for ids in steps(ids) {
            let some = self.records.commit(move |tx| {
                fence(tx, step.epoch)?;
                let mut used = Vec::new();
                for id in ids {
                    let mut snapshot =
                        snapshots::owned(tx, id, account).map_err(TxError::Refused)?;
                    if !matches!(snapshot.state, SnapshotState::Completed(_)) {
                        return Err(TxError::Refused(StorageError::NotCompleted { id }));
                    }
                    if snapshot.images.insert(image) {
                        snapshots::put(tx, &snapshot)?;
                    }
                    used.push(snapshot);
                }
                Ok(used)
            });
            used.extend(some.await?);
        }
        Ok(used)
    }

    /// Takes an image's need back; deletes what nothing needs then, if asked.
    pub(crate) async fn release_use(
        &self,
        step: Step,
        image: ImageId,
        delete: bool,
    ) -> Result<Vec<SnapshotId>> {
        let mut deleted = Vec::new();
        loop {
            let some = self.records.commit(move |tx| {
                fence(tx, step.epoch)?;
                let mut deleted = Vec::new();
                let found = snapshots::of_image(tx, image, STEP).map_err(TxError::Refused)?;
                let more = found.len() == STEP;
                for mut snapshot in found {
                    snapshot.images.remove(&image);
                    if delete && snapshot.images.is_empty() {
                        snapshots::remove(tx, snapshot.id)?;
                        let_go(tx, snapshot.lineages())?;
                        deleted.push(snapshot.id);
                    } else {
                        snapshots::put(tx, &snapshot)?;
                    }
                }
                Ok((deleted, more))
            });
            let (some, more) = some.await?;
            deleted.extend(some);
            if !more {
                break;
            }
        }
        self.finish_let_go().await;
        Ok(deleted)
    }

    /// Marks snapshots as sold under products. Marks are never taken off.
    pub(crate) async fn ensure_product_codes(
        &self,
        step: Step,
        ids: Vec<SnapshotId>,
        codes: Vec<ProductCode>,
    ) -> Result<()> {
        for ids in steps(ids) {
            let codes = codes.clone();
            self.records
                .commit(move |tx| {
                    fence(tx, step.epoch)?;
                    for id in ids {
                        let found = snapshots::find(tx, id).map_err(TxError::Refused)?;
                        let Some(mut snapshot) = found else { continue };
                        snapshot.product_codes.extend(codes.iter().cloned());
                        snapshots::put(tx, &snapshot)?;
                    }
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }

    /// Takes away snapshots that a saga made, a few in each commit: asked again after a crash,
    /// it goes on with those that are left.
    pub(crate) async fn release_snapshots(&self, step: Step, ids: Vec<SnapshotId>) -> Result<()> {
        for ids in steps(ids) {
            self.records
                .commit(move |tx| {
                    fence(tx, step.epoch)?;
                    for id in ids {
                        let found = snapshots::find(tx, id).map_err(TxError::Refused)?;
                        let Some(snapshot) = found else { continue };
                        snapshots::remove(tx, id)?;
                        let_go(tx, snapshot.lineages())?;
                    }
                    Ok(())
                })
                .await?;
        }
        self.finish_let_go().await;
        Ok(())
    }
}

/// As many at a time as fit into one commit; one without any asks for the fence.
fn steps(ids: Vec<SnapshotId>) -> Vec<Vec<SnapshotId>> {
    if ids.is_empty() {
        return vec![ids];
    }
    ids.chunks(STEP).map(<[SnapshotId]>::to_vec).collect()
}
