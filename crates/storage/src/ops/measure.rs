//! What snapshots take, and what would come free without them.

use std::collections::HashSet;

use vmint_blocks::Share;
use vmint_ids::{AccountId, ImageId, SnapshotId};

use super::needed::Holder;
use crate::{Result, Storage, StorageError, store::snapshots};

impl Storage {
    /// What snapshots of `account`'s own take together.
    pub(crate) async fn measure(&self, account: AccountId, ids: Vec<SnapshotId>) -> Result<Share> {
        for id in &ids {
            snapshots::owned(self.records.store(), *id, account)?;
        }
        self.share_of(ids).await
    }

    async fn share_of(&self, ids: Vec<SnapshotId>) -> Result<Share> {
        let storage = self.clone();
        Self::blocking(move || {
            let ids: HashSet<_> = ids.into_iter().collect();
            let needed = storage.needed()?;
            let (mine, others): (Vec<_>, Vec<_>) = needed.into_iter().partition(
                |(holder, _)| matches!(holder, Holder::Snapshot(id) if ids.contains(id)),
            );
            // Chunks of another domain or lineage have other names.
            let realms: HashSet<_> = mine.iter().map(|(_, c)| (c.domain, c.lineage)).collect();
            let others = others.iter().filter(|(_, c)| realms.contains(&(c.domain, c.lineage)));
            let mine: Vec<_> = mine.iter().map(|(_, c)| storage.root_of(c)).collect();
            Ok(storage.blocks.share(&mine, others.map(|(_, c)| storage.root_of(c)))?)
        })
        .await
    }

    /// How many bytes would come free if a snapshot were deleted; refused
    /// where the deletion would be.
    pub(crate) async fn preview_deletion(&self, id: SnapshotId, account: AccountId) -> Result<u64> {
        let snapshot = snapshots::owned(self.records.store(), id, account)?;
        if let Some(image) = snapshot.images.first() {
            return Err(StorageError::InUse { id, image: *image });
        }
        Ok(self.share_of(vec![id]).await?.unique_bytes)
    }

    /// Which snapshots would go with an image, and how many bytes would come
    /// free then.
    pub(crate) async fn preview_release(
        &self,
        image: ImageId,
        delete: bool,
    ) -> Result<(Vec<SnapshotId>, u64)> {
        let mut gone = snapshots::of_image(self.records.store(), image, 1000)?;
        gone.retain(|snapshot| delete && snapshot.images.len() == 1);
        let ids: Vec<_> = gone.iter().map(|snapshot| snapshot.id).collect();
        let freed = self.share_of(ids.clone()).await?.unique_bytes;
        Ok((ids, freed))
    }
}
