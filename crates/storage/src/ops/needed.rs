//! Everything that must stay in the block store, and for whom.

use vmint_blocks::{Domain, Root};
use vmint_ids::{SnapshotId, VolumeId};

use crate::{
    Content, Result, Storage, export_task::ExportTask, import_task::TaskState,
    instance_bundle::BundleTask,
};

/// How many records are read at once.
const STEP: usize = 500;

/// Who needs a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    Snapshot(SnapshotId),
    /// What lies under its own writes.
    Volume(VolumeId),
    /// An upload that is compared with it, or an export or a bundle that reads it.
    Transfer,
}

impl Storage {
    /// What snapshots hold, what lies under volumes and what uploads are
    /// compared with or exports and bundles read. What is being written or read is held by
    /// the block store.
    pub(super) fn needed(&self) -> Result<Vec<(Holder, Content)>> {
        let mut needed = Vec::new();
        let mut after = None;
        loop {
            let snapshots = self.records.all_snapshots(after, STEP)?;
            let holds = |snapshot: &crate::Snapshot| {
                Some((Holder::Snapshot(snapshot.id), snapshot.needed()?))
            };
            needed.extend(snapshots.iter().filter_map(holds));
            match snapshots.last() {
                Some(last) => after = Some(last.id),
                None => break,
            }
        }
        let mut after = None;
        loop {
            let volumes = self.records.all_volumes(after, STEP)?;
            let holds = |volume: &crate::Volume| Some((Holder::Volume(volume.id), volume.base?));
            needed.extend(volumes.iter().filter_map(holds));
            match volumes.last() {
                Some(last) => after = Some(last.id),
                None => break,
            }
        }
        let uploads = self.records.all_uploads()?;
        let bases = uploads.iter().filter_map(|upload| Some(upload.base.as_ref()?.content));
        needed.extend(bases.map(|content| (Holder::Transfer, content)));
        let exports = self.records.all_exports()?;
        let under_way = exports.iter().filter(|task| task.state == TaskState::Active);
        let read = under_way.flat_map(ExportTask::contents);
        needed.extend(read.map(|content| (Holder::Transfer, content)));
        let bundles = self.records.all_instance_bundles()?;
        let read = bundles.iter().filter_map(BundleTask::content);
        needed.extend(read.map(|content| (Holder::Transfer, content)));
        Ok(needed)
    }

    /// A content as the block store finds it: enough to follow its tree.
    pub(super) fn root_of(&self, content: &Content) -> (Domain, Root) {
        (self.open_domain(content.domain, content.lineage), content.root)
    }
}
