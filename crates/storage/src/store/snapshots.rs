//! Snapshots as records.

use vmint_ids::{AccountId, ImageId, LineageId, SnapshotId};
use vmint_store::{Read, Tx, TxError};

use super::{Records, SNAPSHOTS, listed};
use crate::{Result, Snapshot, StorageError};

/// The snapshot `id`, if there is one.
pub(crate) fn find(read: &impl Read, id: SnapshotId) -> Result<Option<Snapshot>> {
    SNAPSHOTS.get(read, &id)?.as_ref().map(Snapshot::try_from).transpose()
}

/// The snapshot `id`, if it belongs to `account`.
pub(crate) fn owned(read: &impl Read, id: SnapshotId, account: AccountId) -> Result<Snapshot> {
    find(read, id)?
        .filter(|snapshot| snapshot.account == account)
        .ok_or(StorageError::NoSuchSnapshot { id })
}

pub(crate) fn put(tx: &mut Tx<'_>, snapshot: &Snapshot) -> Result<(), TxError<StorageError>> {
    Ok(SNAPSHOTS.put(tx, &snapshot.id, &snapshot.into())?)
}

pub(crate) fn remove(tx: &mut Tx<'_>, id: SnapshotId) -> Result<(), TxError<StorageError>> {
    Ok(SNAPSHOTS.remove(tx, &id)?)
}

/// Every snapshot that `image` needs.
pub(crate) fn of_image(read: &impl Read, image: ImageId) -> Result<Vec<Snapshot>> {
    listed(&SNAPSHOTS, read, "image", &image.to_string(), None, 1000)
}

/// Snapshots that need the data key of `lineage`.
pub(crate) fn of_lineage(
    read: &impl Read,
    lineage: LineageId,
    limit: usize,
) -> Result<Vec<Snapshot>> {
    listed(&SNAPSHOTS, read, "lineage", &lineage.to_string(), None, limit)
}

impl Records {
    /// Up to `limit` of an account's snapshots after `after`, by id.
    pub(crate) fn snapshots_of(
        &self,
        account: AccountId,
        after: Option<SnapshotId>,
        limit: usize,
    ) -> Result<Vec<Snapshot>> {
        listed(&SNAPSHOTS, &self.store, "account", &account.to_string(), after.as_ref(), limit)
    }

    /// Up to `limit` of all snapshots after `after`, by id.
    pub(crate) fn all_snapshots(
        &self,
        after: Option<SnapshotId>,
        limit: usize,
    ) -> Result<Vec<Snapshot>> {
        let after = after.map(SnapshotId::to_key);
        let found = SNAPSHOTS.scan(&self.store, &[], after.as_ref().map(|k| &k[..]), limit)?;
        found.iter().map(|(_, record)| record.try_into()).collect()
    }
}
