//! Giving back what nothing needs.

use crate::{Content, Result, Storage, import_task::TaskState};

/// How many records are read at once.
const STEP: usize = 500;

impl Storage {
    /// Everything that is needed: what snapshots hold, what lies under
    /// volumes and what uploads are compared with
    /// or exports read. What is being written or read is held by the block store.
    fn needed(&self) -> Result<Vec<Content>> {
        let mut needed = Vec::new();
        let mut after = None;
        loop {
            let snapshots = self.records.all_snapshots(after, STEP)?;
            needed.extend(snapshots.iter().filter_map(crate::Snapshot::needed));
            match snapshots.last() {
                Some(last) => after = Some(last.id),
                None => break,
            }
        }
        let mut after = None;
        loop {
            let volumes = self.records.all_volumes(after, STEP)?;
            needed.extend(volumes.iter().filter_map(|volume| volume.base));
            match volumes.last() {
                Some(last) => after = Some(last.id),
                None => break,
            }
        }
        let uploads = self.records.all_uploads()?;
        needed.extend(uploads.iter().filter_map(|upload| Some(upload.base.as_ref()?.content)));
        let exports = self.records.all_exports()?;
        let under_way = exports.iter().filter(|task| task.state == TaskState::Active);
        needed.extend(under_way.map(|task| task.content));
        Ok(needed)
    }

    /// Looks once for blocks that nothing needs and gives them back; answers
    /// how many bytes.
    pub async fn collect(&self) -> Result<u64> {
        let storage = self.clone();
        Self::blocking(move || {
            // Begun before the list is made, so that nothing made meanwhile is
            // missed.
            let collection = storage.blocks.begin_collect();
            let root =
                |c: Content| (storage.open_domain(c.domain, c.lineage), c.root, c.size_bytes);
            let needed = {
                let _alone = storage.listing.blocking_write();
                storage.needed()?.into_iter().map(root).collect::<Vec<_>>()
            };
            let report = collection.sweep(needed, Some(storage.config.trash()))?;
            Ok(report.deleted_bytes)
        })
        .await
    }
}
