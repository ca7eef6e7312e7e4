//! Volumes that nobody needs.

use vmint_ids::{AccountId, VolumeId};
use vmint_store::{Asked, TxError};

use super::lineage::let_go;
use crate::{
    Result, Storage, StorageError,
    store::{LEDGER, volumes},
};

/// What the ledger keeps: that it was done.
#[derive(Clone, PartialEq, prost::Message)]
struct Done {}

impl Storage {
    /// Deletes a volume that is at no instance, with all that is on it. Waits
    /// for snapshots of it that are being made.
    pub(crate) async fn delete_volume(
        &self,
        id: VolumeId,
        account: AccountId,
        asked: Asked,
    ) -> Result<()> {
        self.wait_for_snapshots(id).await?;
        self.records
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    let volume = volumes::owned(tx, id, account).map_err(TxError::Refused)?;
                    if let Some(at) = volume.attachment {
                        let (instance, plug) = (at.instance, at.plug.as_str());
                        let error = StorageError::VolumeInUse { id, instance, plug };
                        return Err(TxError::Refused(error));
                    }
                    volumes::remove(tx, id)?;
                    let_go(tx, volume.seal.map(|seal| seal.lineage))?;
                    Ok(Done {})
                })
            })
            .await?;
        let storage = self.clone();
        // A directory that stays behind goes at the next start.
        Self::blocking(move || {
            storage.live.close(id, None);
            storage.live.delete(id)
        })
        .await?;
        self.finish_let_go().await;
        tracing::info!(volume = %id, %account, "deleted");
        Ok(())
    }
}
