//! Another snapshot of the same content.

use std::collections::HashMap;

use vmint_ids::{AccountId, ImageId, SnapshotId};
use vmint_store::TxError;

use super::Step;
use crate::{
    Result, Snapshot, Storage, StorageError,
    key::Wish,
    snapshot::SnapshotState,
    store::{boot_sets, fence, held, snapshots},
    tag::Tags,
};

impl Storage {
    /// Makes `(source, copy)` pairs for `account`. Costs no space where both name the same tree,
    /// and either may go without the other; what is to be encrypted otherwise is chunked anew.
    pub(crate) async fn ensure_copies(
        &self,
        step: Step,
        account: AccountId,
        image: ImageId,
        pairs: Vec<(SnapshotId, SnapshotId)>,
        (description, tags): (String, Tags),
        wish: Wish,
    ) -> Result<Vec<Snapshot>> {
        // Encrypting anew takes its time, so it is done first; a pin keeps it until the commit.
        let (mut covered, wish) = (HashMap::new(), self.wished(account, wish)?);
        for (source, id) in &pairs {
            let store = self.records.store();
            if snapshots::find(store, *id)?.is_none()
                && let Some(source) = snapshots::find(store, *source)?
            {
                covered.insert(*id, self.cover(&source, account, wish).await?);
            }
        }
        let _listed = self.listing.read().await;
        let quota = self.config.quota;
        self.records
            .commit(move |tx| {
                fence(tx, step.epoch)?;
                let mut copies = Vec::new();
                for (source, id) in pairs {
                    if let Some(there) = snapshots::find(tx, id).map_err(TxError::Refused)? {
                        copies.push(there);
                        continue;
                    }
                    let source = snapshots::find(tx, source)
                        .map_err(TxError::Refused)?
                        .ok_or(TxError::Refused(StorageError::NoSuchSnapshot { id: source }))?;
                    if !matches!(source.state, SnapshotState::Completed(_)) {
                        let id = source.id;
                        return Err(TxError::Refused(StorageError::NotCompleted { id }));
                    }
                    let cover = covered.get(&id);
                    let cover =
                        cover.ok_or(TxError::Refused(StorageError::NoSuchSnapshot { id }))?;
                    let mut copy = source.copied(id, account, cover.content, cover.seal);
                    copy.description.clone_from(&description);
                    copy.tags.clone_from(&tags);
                    copy.images.insert(image);
                    copy.created_ms = tx.now_ms();
                    snapshots::put(tx, &copy)?;
                    boot_sets::inherit(tx, &cover.content, cover.boot.as_ref())?;
                    copies.push(copy);
                }
                held::within(tx, account, &quota)?;
                Ok((copies, covered))
            })
            .await
            .map(|(copies, _)| copies)
    }
}
