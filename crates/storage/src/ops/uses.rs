//! Which images need which snapshots, and what sells with them.

use vmint_ids::{AccountId, ImageId, ProductCode, SnapshotId};
use vmint_store::TxError;

use super::{Step, lineage::let_go};
use crate::{
    Result, Snapshot, Storage, StorageError,
    snapshot::SnapshotState,
    store::{fence, snapshots},
};

impl Storage {
    /// Records that `image` needs complete snapshots of its owner's.
    pub(crate) async fn ensure_use(
        &self,
        step: Step,
        image: ImageId,
        ids: Vec<SnapshotId>,
        account: AccountId,
    ) -> Result<Vec<Snapshot>> {
        self.records
            .commit(move |tx| {
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
            })
            .await
    }

    /// Takes an image's need back; deletes what nothing needs then, if asked.
    pub(crate) async fn release_use(
        &self,
        step: Step,
        image: ImageId,
        delete: bool,
    ) -> Result<Vec<SnapshotId>> {
        let deleted = self
            .records
            .commit(move |tx| {
                fence(tx, step.epoch)?;
                let mut deleted = Vec::new();
                for mut snapshot in snapshots::of_image(tx, image).map_err(TxError::Refused)? {
                    snapshot.images.remove(&image);
                    if delete && snapshot.images.is_empty() {
                        snapshots::remove(tx, snapshot.id)?;
                        let_go(tx, snapshot.seal)?;
                        deleted.push(snapshot.id);
                    } else {
                        snapshots::put(tx, &snapshot)?;
                    }
                }
                Ok(deleted)
            })
            .await?;
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
            .await
    }

    /// Takes away snapshots that a saga made.
    pub(crate) async fn release_snapshots(&self, step: Step, ids: Vec<SnapshotId>) -> Result<()> {
        self.records
            .commit(move |tx| {
                fence(tx, step.epoch)?;
                for id in ids {
                    let found = snapshots::find(tx, id).map_err(TxError::Refused)?;
                    snapshots::remove(tx, id)?;
                    let_go(tx, found.and_then(|snapshot| snapshot.seal))?;
                }
                Ok(())
            })
            .await?;
        self.finish_let_go().await;
        Ok(())
    }
}
