//! Another snapshot of the same content, on somebody's own account.

use vmint_ids::{AccountId, SnapshotId};
use vmint_store::{Asked, TxError};

use super::create_snapshot::Labels;
use crate::{
    Result, Snapshot, Storage, StorageError,
    key::Wish,
    snapshot::{Copied, SnapshotState},
    store::{LEDGER, held, snapshots},
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
    /// encrypted otherwise is pending until it is chunked anew.
    pub(crate) async fn copy_snapshot(
        &self,
        account: AccountId,
        source: SnapshotId,
        wish: Wish,
        labels: Labels,
        asked: Asked,
    ) -> Result<Snapshot> {
        let before = asked.clone();
        let answered: Option<Made> =
            self.records.commit(move |tx| LEDGER.answered(tx, &before)).await?;
        let made = match answered {
            Some(made) => made,
            None => self.begin_copy(account, source, wish, labels, asked).await?,
        };
        let id = made.snapshot.parse().map_err(|_| StorageError::Damaged)?;
        self.snapshot(id, account)
    }

    async fn begin_copy(
        &self,
        account: AccountId,
        source: SnapshotId,
        wish: Wish,
        labels: Labels,
        asked: Asked,
    ) -> Result<Made> {
        let found = snapshots::readable(self.records.store(), source, account)?;
        let holds = self.covering(&found, account, self.wished(account, wish)?).await?;
        let _listed = self.listing.read().await;
        let (quota, drawn) = (self.config.quota, SnapshotId::random());
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
                    let mut copy = source.copied(drawn, account, holds);
                    copy.description = labels.description;
                    copy.tags = labels.tags;
                    copy.created_ms = tx.now_ms();
                    snapshots::put(tx, &copy)?;
                    held::within(tx, account, &quota)?;
                    Ok(Made { snapshot: copy.id.to_string() })
                })
            })
            .await?;
        if made.snapshot == drawn.to_string() && matches!(holds, Copied::Anew { .. }) {
            self.tasks.spawn(self.clone().cover_alone(drawn));
        }
        Ok(made)
    }
}
