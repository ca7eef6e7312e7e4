//! Owners and launch permissions of images.

use vmint_ids::{AccountId, ImageId};
use vmint_store::{OrRefuse as _, Store, StoreError, Table, Tx, TxError};

use super::{
    Step,
    accounts::check_exist,
    record::{NumberRecord, SharingRecord},
};
use crate::{Change, PermissionsError as E, Result, Sharing, ops::may_manage};

static SHARES: Table<ImageId, SharingRecord> = Table::new("shares.v1");
/// Counts the changes, so that others can tell an older answer from a newer.
static REVISION: Table<u8, NumberRecord> = Table::new("revision.v1");

/// One row an image, so that a check sees it before or after a change and
/// never halfway.
#[derive(Debug, Clone)]
pub(crate) struct Shares {
    store: Store,
}

impl Shares {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    pub(crate) fn get(&self, image: ImageId) -> Result<Option<Sharing>> {
        SHARES.get(&self.store, &image)?.map(TryInto::try_into).transpose()
    }

    pub(crate) fn revision(&self) -> Result<u64> {
        Ok(REVISION.get(&self.store, &0)?.unwrap_or_default().value)
    }

    pub(crate) async fn ensure_owner(
        &self,
        step: Step,
        image: ImageId,
        owner: AccountId,
    ) -> Result<u64> {
        let work = move |tx: &mut Tx<'_>| {
            step.admit(tx)?;
            let Some(record) = SHARES.get(tx, &image)? else {
                check_exist(tx, [&owner])?;
                SHARES.put(tx, &image, &(&Sharing::private(owner)).into())?;
                return Ok(next_revision(tx)?);
            };
            let sharing: Sharing = record.try_into().or_refuse()?;
            if sharing.owner != owner {
                return Err(TxError::refuse(E::NotOwner { image: image.to_string() }));
            }
            Ok(same_revision(tx)?)
        };
        Ok(self.store.commit(work).await?)
    }

    pub(crate) async fn release(&self, step: Step, image: ImageId) -> Result<u64> {
        let work = move |tx: &mut Tx<'_>| {
            step.admit(tx)?;
            if SHARES.get(tx, &image)?.is_none() {
                return Ok(same_revision(tx)?);
            }
            SHARES.remove(tx, &image)?;
            Ok::<_, TxError<E>>(next_revision(tx)?)
        };
        Ok(self.store.commit(work).await?)
    }

    pub(crate) async fn change(
        &self,
        step: Step,
        image: ImageId,
        owner: AccountId,
        change: Change,
    ) -> Result<(Sharing, u64)> {
        let work = move |tx: &mut Tx<'_>| {
            step.admit(tx)?;
            let missing = || TxError::refuse(E::ImageNotFound { image: image.to_string() });
            let record = SHARES.get(tx, &image)?.ok_or_else(missing)?;
            let before: Sharing = record.try_into().or_refuse()?;
            may_manage(&before, image, owner).or_refuse()?;
            let after = before.changed(image, &change).or_refuse()?;
            check_exist(tx, after.accounts.difference(&before.accounts))?;
            if after == before {
                return Ok((after, same_revision(tx)?));
            }
            SHARES.put(tx, &image, &(&after).into())?;
            Ok((after, next_revision(tx)?))
        };
        Ok(self.store.commit(work).await?)
    }
}

fn same_revision(tx: &Tx<'_>) -> Result<u64, StoreError> {
    Ok(REVISION.get(tx, &0)?.unwrap_or_default().value)
}

pub(super) fn next_revision(tx: &mut Tx<'_>) -> Result<u64, StoreError> {
    let value = same_revision(tx)? + 1;
    REVISION.put(tx, &0, &NumberRecord { value })?;
    Ok(value)
}
