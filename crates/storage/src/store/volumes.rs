//! Volumes as records.

use vmint_ids::{AccountId, InstanceId, LineageId, VolumeId};
use vmint_store::{Read, Tx, TxError};

use super::{Records, VOLUMES, held, listed};
use crate::{Result, StorageError, Volume, quota::Held};

/// The volume `id`, if there is one.
pub(crate) fn find(read: &impl Read, id: VolumeId) -> Result<Option<Volume>> {
    VOLUMES.get(read, &id)?.as_ref().map(Volume::try_from).transpose()
}

/// The volume `id`, if it belongs to `account`.
pub(crate) fn owned(read: &impl Read, id: VolumeId, account: AccountId) -> Result<Volume> {
    find(read, id)?
        .filter(|volume| volume.account == account)
        .ok_or(StorageError::NoSuchVolume { id })
}

/// Puts a volume in its place, and counts it.
pub(crate) fn put(tx: &mut Tx<'_>, volume: &Volume) -> Result<(), TxError<StorageError>> {
    let before = find(tx, volume.id).map_err(TxError::Refused)?;
    held::replace(tx, before.as_ref().map(amount), Some(amount(volume)))?;
    Ok(VOLUMES.put(tx, &volume.id, &volume.into())?)
}

pub(crate) fn remove(tx: &mut Tx<'_>, id: VolumeId) -> Result<(), TxError<StorageError>> {
    let before = find(tx, id).map_err(TxError::Refused)?;
    held::replace(tx, before.as_ref().map(amount), None)?;
    Ok(VOLUMES.remove(tx, &id)?)
}

/// What a volume is counted as.
pub(super) fn amount(volume: &Volume) -> (AccountId, Held) {
    (volume.account, Held { volumes: 1, volume_bytes: volume.size_bytes, ..Held::default() })
}

/// Every volume attached to `instance`.
pub(crate) fn of_instance(read: &impl Read, instance: InstanceId) -> Result<Vec<Volume>> {
    listed(&VOLUMES, read, "instance", &instance.to_string(), None, 1000)
}

/// Volumes that need the data key of `lineage`.
pub(crate) fn of_lineage(
    read: &impl Read,
    lineage: LineageId,
    limit: usize,
) -> Result<Vec<Volume>> {
    listed(&VOLUMES, read, "lineage", &lineage.to_string(), None, limit)
}

impl Records {
    /// Up to `limit` of an account's volumes after `after`, by id.
    pub(crate) fn volumes_of(
        &self,
        account: AccountId,
        after: Option<VolumeId>,
        limit: usize,
    ) -> Result<Vec<Volume>> {
        listed(&VOLUMES, &self.store, "account", &account.to_string(), after.as_ref(), limit)
    }

    /// Up to `limit` of all volumes after `after`, by id.
    pub(crate) fn all_volumes(&self, after: Option<VolumeId>, limit: usize) -> Result<Vec<Volume>> {
        let after = after.map(VolumeId::to_key);
        let found = VOLUMES.scan(&self.store, &[], after.as_ref().map(|k| &k[..]), limit)?;
        found.iter().map(|(_, record)| record.try_into()).collect()
    }
}
