//! Looking things up.

use vmint_ids::{AccountId, SnapshotId, VolumeId};

use crate::{
    Result, Snapshot, Storage, Volume,
    store::{snapshots, volumes},
};

/// One page, and whether more follow.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) more: bool,
}

impl<T> Page<T> {
    /// Of one item more than was asked for, if there is one.
    pub(super) fn cut(mut items: Vec<T>, size: usize) -> Self {
        let more = items.len() > size;
        items.truncate(size);
        Self { items, more }
    }
}

impl Storage {
    pub(crate) fn snapshot(&self, id: SnapshotId, account: AccountId) -> Result<Snapshot> {
        snapshots::owned(self.records.store(), id, account)
    }

    /// Snapshots of whatever account, in the order asked; unknown ones are
    /// left out.
    pub(crate) fn snapshots_by_id(&self, ids: &[SnapshotId]) -> Result<Vec<Snapshot>> {
        let find = |id: &SnapshotId| snapshots::find(self.records.store(), *id).transpose();
        ids.iter().filter_map(find).collect()
    }

    pub(crate) fn list_snapshots(
        &self,
        account: AccountId,
        after: Option<SnapshotId>,
        size: usize,
    ) -> Result<Page<Snapshot>> {
        Ok(Page::cut(self.records.snapshots_of(account, after, size + 1)?, size))
    }

    pub(crate) fn list_volumes(
        &self,
        account: AccountId,
        after: Option<VolumeId>,
        size: usize,
    ) -> Result<Page<Volume>> {
        Ok(Page::cut(self.records.volumes_of(account, after, size + 1)?, size))
    }

    /// Attached volumes of every account. A page may be short without being
    /// the last.
    pub(crate) fn list_attached(
        &self,
        after: Option<VolumeId>,
        size: usize,
    ) -> Result<(Page<Volume>, Option<VolumeId>)> {
        let mut page = Page::cut(self.records.all_volumes(after, size + 1)?, size);
        let last = page.items.last().map(|volume| volume.id);
        page.items.retain(|volume| volume.attachment.is_some());
        Ok((page, last))
    }

    /// How much an attached volume has been written since it was made.
    pub(crate) fn written_bytes(&self, volume: &Volume) -> u64 {
        self.live.get(volume.id).map_or(0, |open| open.written_bytes())
    }

    pub(crate) fn volume(&self, id: VolumeId) -> Result<Option<Volume>> {
        volumes::find(self.records.store(), id)
    }
}
