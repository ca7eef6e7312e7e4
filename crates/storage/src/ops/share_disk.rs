//! A disk of an import that is a snapshot's.

use vmint_ids::SnapshotId;
use vmint_images::Format;
use vmint_store::TxError;

use super::run_import::went_on;
use crate::{
    Result, Storage, StorageError,
    import_task::{Made, Task},
    key::Wish,
    snapshot::{Consistency, Copied},
    store::{boot_sets, held, import_tasks, snapshots},
};

impl Storage {
    /// Makes the snapshot of an import's `n`th disk over the content of another
    /// of the account's; encrypted anew where the import is to be and that one
    /// is not.
    pub(super) async fn share_disk(
        &self,
        task: &Task,
        n: usize,
        original: SnapshotId,
    ) -> Result<()> {
        self.say(task, "converting").await?;
        let (id, account, quota) = (task.id, task.account, self.config.quota);
        let found = snapshots::owned(self.records.store(), original, account)?;
        let key = task.seal.filter(|_| found.seal.is_none()).map(|seal| seal.key);
        let wish = Wish { encrypted: key.is_some().then_some(true), key };
        let cover = self.cover(&found, account, wish).await?;
        let (content, seal, boot) = (cover.content, cover.seal, cover.boot.clone());
        let _listed = self.listing.read().await;
        let shared = self.records.commit(move |tx| {
            let mut task = import_tasks::active(tx, id)?;
            let original = snapshots::owned(tx, original, account).map_err(TxError::Refused)?;
            let (image, description) = (task.image, task.description.clone());
            let snapshot_tags = task.snapshot_tags.clone();
            let disk = task.disks.get_mut(n).ok_or(TxError::Refused(StorageError::Damaged))?;
            let mut snapshot =
                original.copied(disk.snapshot, account, Copied::Same { content, seal });
            snapshot.consistency = Consistency::Imported;
            snapshot.description = description;
            snapshot.tags = snapshot_tags;
            snapshot.images.extend(image);
            snapshot.created_ms = tx.now_ms();
            snapshots::put(tx, &snapshot)?;
            boot_sets::inherit(tx, &content, boot.as_ref())?;
            held::within(tx, account, &quota)?;
            let file_bytes = content.size_bytes;
            disk.made = Some(Made { format: Format::Raw, file_bytes, content, root: None });
            went_on(tx, &mut task)
        });
        shared.await?;
        drop(cover);
        self.transfers.tell();
        Ok(())
    }
}
