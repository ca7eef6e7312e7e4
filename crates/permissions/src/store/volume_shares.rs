//! Volume permissions of snapshots: who may make volumes of them.

use vmint_ids::{AccountId, SnapshotId};
use vmint_store::{OrRefuse as _, Store, Table, Tx, TxError};

use super::{Step, accounts::check_exist, record::SharingRecord, shares::next_revision};
use crate::{Change, PermissionsError as E, Result, Sharing};

static VOLUME_SHARES: Table<SnapshotId, SharingRecord> = Table::new("volume-shares.v1");

/// One row a snapshot that was ever shared; whose it is, storage says.
#[derive(Debug, Clone)]
pub(crate) struct VolumeShares {
    store: Store,
}

impl VolumeShares {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Whom `owner`'s snapshot is shared with.
    pub(crate) fn get(&self, snapshot: SnapshotId, owner: AccountId) -> Result<Sharing> {
        match VOLUME_SHARES.get(&self.store, &snapshot)? {
            Some(record) => owned(record, snapshot, owner),
            None => Ok(Sharing::private(owner)),
        }
    }

    pub(crate) async fn change(
        &self,
        step: Step,
        snapshot: SnapshotId,
        owner: AccountId,
        change: Change,
    ) -> Result<(Sharing, u64)> {
        let work = move |tx: &mut Tx<'_>| {
            step.admit(tx)?;
            let before = match VOLUME_SHARES.get(tx, &snapshot)? {
                Some(record) => owned(record, snapshot, owner).or_refuse()?,
                None => Sharing::private(owner),
            };
            let after = before.changed_of(&snapshot, &change).or_refuse()?;
            check_exist(tx, after.accounts.difference(&before.accounts))?;
            if after != before {
                VOLUME_SHARES.put(tx, &snapshot, &(&after).into())?;
            }
            // Counted in any case: who takes the answer over tells it from an
            // older one by this.
            Ok::<_, TxError<E>>((after, next_revision(tx)?))
        };
        Ok(self.store.commit(work).await?)
    }
}

fn owned(record: SharingRecord, snapshot: SnapshotId, owner: AccountId) -> Result<Sharing> {
    let sharing: Sharing = record.try_into()?;
    if sharing.owner != owner {
        return Err(E::NotOwner { image: snapshot.to_string() });
    }
    Ok(sharing)
}
