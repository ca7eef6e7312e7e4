//! Another snapshot of the same content, on somebody's own account.

use vmint_ids::{AccountId, SnapshotId};
use vmint_store::{Asked, TxError};

use super::create_snapshot::Labels;
use crate::{
    Result, Snapshot, Storage, StorageError,
    key::Wish,
    snapshot::SnapshotState,
    store::{LEDGER, boot_sets, held, snapshots},
};

/// What the ledger keeps.
#[derive(Clone, PartialEq, prost::Message)]
struct Made {
    #[prost(string, tag = "1")]
    snapshot: String,
}

impl Storage {
    /// Copies a snapshot that `account` may read. Costs no space where both
    /// name the same tree, and either may go without the other; what is to be
    /// encrypted otherwise is chunked anew.
    pub(crate) async fn copy_snapshot(
        &self,
        account: AccountId,
        source: SnapshotId,
        wish: Wish,
        labels: Labels,
        asked: Asked,
    ) -> Result<Snapshot> {
        // Encrypting anew takes its time, so it is done first; a pin keeps it
        // until the commit.
        let found = snapshots::readable(self.records.store(), source, account)?;
        let cover = self.cover(&found, account, self.wished(account, wish)?).await?;
        let (content, seal, boot) = (cover.content, cover.seal, cover.boot.clone());
        let _listed = self.listing.read().await;
        let quota = self.config.quota;
        let made = self
            .records
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    let source =
                        snapshots::readable(tx, source, account).map_err(TxError::Refused)?;
                    if !matches!(source.state, SnapshotState::Completed(_)) {
                        let id = source.id;
                        return Err(TxError::Refused(StorageError::NotCompleted { id }));
                    }
                    let id = SnapshotId::random();
                    let mut copy = source.copied(id, account, content, seal);
                    copy.description = labels.description;
                    copy.tags = labels.tags;
                    copy.created_ms = tx.now_ms();
                    snapshots::put(tx, &copy)?;
                    boot_sets::inherit(tx, &content, boot.as_ref())?;
                    held::within(tx, account, &quota)?;
                    Ok(Made { snapshot: copy.id.to_string() })
                })
            })
            .await?;
        drop(cover);
        let id = made.snapshot.parse().map_err(|_| StorageError::Damaged)?;
        self.snapshot(id, account)
    }
}
