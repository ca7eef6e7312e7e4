//! Snapshots that nobody needs.

use vmint_ids::{AccountId, SnapshotId};
use vmint_store::{Asked, TxError};

use super::lineage::let_go;
use crate::{
    Result, Storage, StorageError,
    store::{LEDGER, snapshots},
};

/// What the ledger keeps: that it was done.
#[derive(Clone, PartialEq, prost::Message)]
struct Done {}

impl Storage {
    /// Deletes a snapshot that no image needs. Its blocks go when nothing else
    /// has them.
    pub(crate) async fn delete_snapshot(
        &self,
        id: SnapshotId,
        account: AccountId,
        asked: Asked,
    ) -> Result<()> {
        self.records
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    let snapshot = snapshots::owned(tx, id, account).map_err(TxError::Refused)?;
                    if let Some(image) = snapshot.images.first() {
                        let image = *image;
                        return Err(TxError::Refused(StorageError::InUse { id, image }));
                    }
                    snapshots::remove(tx, id)?;
                    let_go(tx, snapshot.lineages())?;
                    Ok(Done {})
                })
            })
            .await?;
        self.finish_let_go().await;
        // Blocks that were sent for it, if it was still taking any.
        let storage = self.clone();
        Self::blocking(move || Ok(storage.sent.remove(id)?)).await?;
        tracing::info!(snapshot = %id, %account, "deleted");
        Ok(())
    }
}
