//! Volume permissions of snapshots: who may make volumes of them.

use vmint_ids::{AccountId, SnapshotId};
use vmint_store::{Key as _, OrRefuse as _, Store, Table, Tx, TxError};

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

impl VolumeShares {
    /// Snapshots that were ever shared, behind `after`.
    pub(crate) fn page(&self, after: Option<SnapshotId>, most: usize) -> Result<Vec<SnapshotId>> {
        let after = after.map(|id| id.encode());
        let rows = VOLUME_SHARES.scan(&self.store, &[], after.as_deref(), most)?;
        Ok(rows.into_iter().map(|(id, _)| id).collect())
    }

    pub(crate) async fn release(&self, step: Step, ids: Vec<SnapshotId>) -> Result<()> {
        let work = move |tx: &mut Tx<'_>| {
            step.admit(tx)?;
            for id in &ids {
                VOLUME_SHARES.remove(tx, id)?;
            }
            Ok::<_, TxError<E>>(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_shared_is_listed_until_it_is_forgotten() {
        let shares = VolumeShares::new(Store::in_memory());
        let step = || Step { epoch: 1 };
        let owner = "100000000001".parse().unwrap();
        let ids = [1, 2, 3].map(|n| format!("snap-{n:017x}").parse::<SnapshotId>().unwrap());
        for id in ids {
            let change = Change { add_public: true, ..Change::default() };
            shares.change(step(), id, owner, change).await.unwrap();
        }
        assert_eq!(shares.page(None, 2).unwrap(), ids[..2]);
        assert_eq!(shares.page(Some(ids[1]), 2).unwrap(), ids[2..]);
        shares.release(step(), vec![ids[1], ids[1]]).await.unwrap();
        assert_eq!(shares.page(None, 9).unwrap(), [ids[0], ids[2]]);
        assert!(!shares.get(ids[1], owner).unwrap().public);
    }
}
