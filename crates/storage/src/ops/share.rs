//! Whom a snapshot is shared with, as permissions says.

use vmint_ids::SnapshotId;
use vmint_store::TxError;

use super::Step;
use crate::{
    Result, Sharing, Storage,
    store::{fence, snapshots},
};

impl Storage {
    /// Takes over what permissions has decided; older news changes nothing. A
    /// snapshot that is gone is no error. Binds the next call.
    pub(crate) async fn ensure_sharing(
        &self,
        step: Step,
        id: SnapshotId,
        mut sharing: Sharing,
    ) -> Result<()> {
        self.records
            .commit(move |tx| {
                fence(tx, step.epoch)?;
                let found = snapshots::find(tx, id).map_err(TxError::Refused)?;
                let Some(mut snapshot) = found else { return Ok(()) };
                if sharing.revision < snapshot.sharing.revision {
                    return Ok(());
                }
                sharing.accounts.remove(&snapshot.account);
                snapshot.sharing = sharing;
                snapshots::put(tx, &snapshot)?;
                Ok(())
            })
            .await
    }
}
