use vmint_ids::{AccountId, SnapshotId};

use crate::{Change, Permissions, Result, Shared, Sharing, store::Step};

impl Permissions {
    /// Changes who may make volumes of `owner`'s snapshot. To do it again
    /// changes nothing further.
    pub async fn ensure_volume_permission(
        &self,
        step: Step,
        snapshot: SnapshotId,
        owner: AccountId,
        change: Change,
    ) -> Result<Shared> {
        let changed = self.volume_shares.change(step, snapshot, owner, change).await;
        let (sharing, revision) = changed?;
        let (public, accounts) = (sharing.public, sharing.accounts.len());
        tracing::info!(%snapshot, public, accounts, "shared");
        Ok(Shared { sharing, revision })
    }

    /// Snapshots that were ever shared, behind `after`; at most `most`.
    pub fn shared_snapshots(
        &self,
        after: Option<SnapshotId>,
        most: usize,
    ) -> Result<Vec<SnapshotId>> {
        self.volume_shares.page(after, most)
    }

    /// Forgets snapshots that are no more. Those not known are no error.
    pub async fn release_volume_permissions(
        &self,
        step: Step,
        snapshots: Vec<SnapshotId>,
    ) -> Result<()> {
        self.volume_shares.release(step, snapshots).await
    }

    /// Says whom `owner`'s snapshot is shared with.
    pub fn volume_permission(&self, snapshot: SnapshotId, owner: AccountId) -> Result<Sharing> {
        self.volume_shares.get(snapshot, owner)
    }
}
