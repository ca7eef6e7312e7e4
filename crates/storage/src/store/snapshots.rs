//! Snapshots as records.

use vmint_ids::{AccountId, ImageId, LineageId, SnapshotId};
use vmint_store::{Read, Tx, TxError};

use super::{EVERYBODY, Records, SNAPSHOTS, held, listed};
use crate::{Result, Snapshot, StorageError, quota::Held};

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

/// The snapshot `id`, if `account` may read it.
pub(crate) fn readable(read: &impl Read, id: SnapshotId, account: AccountId) -> Result<Snapshot> {
    find(read, id)?
        .filter(|snapshot| snapshot.readable_by(account))
        .ok_or(StorageError::NoSuchSnapshot { id })
}

/// Puts a snapshot in its place, and counts it.
pub(crate) fn put(tx: &mut Tx<'_>, snapshot: &Snapshot) -> Result<(), TxError<StorageError>> {
    let before = find(tx, snapshot.id).map_err(TxError::Refused)?;
    held::replace(tx, before.as_ref().map(amount), Some(amount(snapshot)))?;
    Ok(SNAPSHOTS.put(tx, &snapshot.id, &snapshot.into())?)
}

pub(crate) fn remove(tx: &mut Tx<'_>, id: SnapshotId) -> Result<(), TxError<StorageError>> {
    let before = find(tx, id).map_err(TxError::Refused)?;
    held::replace(tx, before.as_ref().map(amount), None)?;
    Ok(SNAPSHOTS.remove(tx, &id)?)
}

/// What a snapshot is counted as.
pub(super) fn amount(snapshot: &Snapshot) -> (AccountId, Held) {
    let bytes = snapshot.size_bytes;
    (snapshot.account, Held { snapshots: 1, snapshot_bytes: bytes, ..Held::default() })
}

/// Up to `limit` snapshots shared with one account, or with everybody, after
/// `after`, by id.
pub(crate) fn granted(
    read: &impl Read,
    to: Option<AccountId>,
    after: Option<SnapshotId>,
    limit: usize,
) -> Result<Vec<Snapshot>> {
    let to = to.map_or_else(|| EVERYBODY.to_owned(), |account| account.to_string());
    listed(&SNAPSHOTS, read, "grantee", &to, after.as_ref(), limit)
}

/// Up to `limit` of the snapshots that `image` needs.
pub(crate) fn of_image(read: &impl Read, image: ImageId, limit: usize) -> Result<Vec<Snapshot>> {
    listed(&SNAPSHOTS, read, "image", &image.to_string(), None, limit)
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
