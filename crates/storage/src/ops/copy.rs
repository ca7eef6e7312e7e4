//! Another snapshot of the same content.

use std::collections::HashMap;

use vmint_ids::{AccountId, ImageId, SnapshotId};
use vmint_store::TxError;

use super::Step;
use crate::{
    Result, Snapshot, Storage, StorageError,
    key::Wish,
    snapshot::SnapshotState,
    store::{fence, held, snapshots},
    tag::Tags,
};

impl Storage {
    /// Makes `(source, copy)` pairs for `account`. Costs no space where both name the same tree,
    /// and either may go without the other; what is to be encrypted otherwise is chunked anew,
    /// and answered when that is done. It goes on when the caller stops waiting; asked again, it
    /// waits for what is under way.
    pub(crate) async fn ensure_copies(
        &self,
        step: Step,
        account: AccountId,
        image: ImageId,
        pairs: Vec<(SnapshotId, SnapshotId)>,
        (description, tags): (String, Tags),
        wish: Wish,
    ) -> Result<Vec<Snapshot>> {
        let (mut covered, wish) = (HashMap::new(), self.wished(account, wish)?);
        for (source, id) in &pairs {
            let store = self.records.store();
            if snapshots::find(store, *id)?.is_none()
                && let Some(source) = snapshots::find(store, *source)?
            {
                covered.insert(*id, self.covering(&source, account, wish).await?);
            }
        }
        let listed = self.listing.read().await;
        let quota = self.config.quota;
        let begun: Vec<Snapshot> = self
            .records
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
                    let holds = covered.get(&id).copied();
                    let holds =
                        holds.ok_or(TxError::Refused(StorageError::NoSuchSnapshot { id }))?;
                    let mut copy = source.copied(id, account, holds);
                    copy.description.clone_from(&description);
                    copy.tags.clone_from(&tags);
                    copy.images.insert(image);
                    copy.created_ms = tx.now_ms();
                    snapshots::put(tx, &copy)?;
                    copies.push(copy);
                }
                held::within(tx, account, &quota)?;
                Ok(copies)
            })
            .await?;
        drop(listed);
        let work = begun.into_iter().map(|copy| self.tasks.spawn(self.clone().cover_on(copy.id)));
        let mut made = Vec::new();
        for work in work.collect::<Vec<_>>() {
            let copy = work.await??;
            if copy.content().is_none() {
                return Err(StorageError::NotCompleted { id: copy.id });
            }
            made.push(copy);
        }
        Ok(made)
    }
}
