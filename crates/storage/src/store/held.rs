//! How much each account has, counted in the commits that change it.

use std::collections::BTreeMap;

use vmint_ids::AccountId;
use vmint_store::{Read, StoreError, Table, Tx, TxError};

use super::{Records, snapshots, volumes};
use crate::{
    Result, StorageError,
    quota::{Held, Quota},
};

static HELD: Table<String, HeldRecord> = Table::new("held.v1");

/// Stands in place of an account once all that was there before this table has
/// been counted.
const COUNTED: &str = "counted";
/// How many records are read, or written, at once.
const STEP: usize = 50;

#[derive(Clone, PartialEq, prost::Message)]
struct HeldRecord {
    #[prost(uint64, tag = "1")]
    snapshots: u64,
    #[prost(uint64, tag = "2")]
    snapshot_bytes: u64,
    #[prost(uint64, tag = "3")]
    volumes: u64,
    #[prost(uint64, tag = "4")]
    volume_bytes: u64,
}

impl From<HeldRecord> for Held {
    fn from(record: HeldRecord) -> Self {
        Self {
            snapshots: record.snapshots,
            snapshot_bytes: record.snapshot_bytes,
            volumes: record.volumes,
            volume_bytes: record.volume_bytes,
        }
    }
}

impl From<Held> for HeldRecord {
    fn from(held: Held) -> Self {
        Self {
            snapshots: held.snapshots,
            snapshot_bytes: held.snapshot_bytes,
            volumes: held.volumes,
            volume_bytes: held.volume_bytes,
        }
    }
}

/// What `account` has.
pub(crate) fn of(read: &impl Read, account: AccountId) -> Result<Held> {
    Ok(HELD.get(read, &account.to_string())?.unwrap_or_default().into())
}

/// Refuses a transaction that has given `account` more than it may have.
/// Whoever gives an account something asks this afterwards.
pub(crate) fn within(
    tx: &Tx<'_>,
    account: AccountId,
    quota: &Quota,
) -> Result<(), TxError<StorageError>> {
    let held = of(tx, account).map_err(TxError::Refused)?;
    quota.check(&held).map_err(|over| TxError::Refused(over.into()))
}

/// Counts that `before` is there no more and `after` is.
pub(super) fn replace(
    tx: &mut Tx<'_>,
    before: Option<(AccountId, Held)>,
    after: Option<(AccountId, Held)>,
) -> Result<(), StoreError> {
    if before == after {
        return Ok(());
    }
    for (sign, change) in [(-1_i64, before), (1, after)] {
        let Some((account, amount)) = change else { continue };
        let key = account.to_string();
        let held = Held::from(HELD.get(tx, &key)?.unwrap_or_default());
        let move_by = |n: u64, by: u64| {
            if sign < 0 { n.saturating_sub(by) } else { n.saturating_add(by) }
        };
        let held = Held {
            snapshots: move_by(held.snapshots, amount.snapshots),
            snapshot_bytes: move_by(held.snapshot_bytes, amount.snapshot_bytes),
            volumes: move_by(held.volumes, amount.volumes),
            volume_bytes: move_by(held.volume_bytes, amount.volume_bytes),
        };
        HELD.put(tx, &key, &held.into())?;
    }
    Ok(())
}

impl Records {
    /// Counts what was there before this table was. Nothing else may be
    /// changed meanwhile.
    pub(crate) async fn count_all(&self) -> Result<()> {
        if HELD.get(&self.store, &COUNTED.to_owned())?.is_some() {
            return Ok(());
        }
        let mut all = BTreeMap::<AccountId, Held>::new();
        let mut add = |(account, amount): (AccountId, Held)| {
            let held = all.entry(account).or_default();
            held.snapshots += amount.snapshots;
            held.snapshot_bytes = held.snapshot_bytes.saturating_add(amount.snapshot_bytes);
            held.volumes += amount.volumes;
            held.volume_bytes = held.volume_bytes.saturating_add(amount.volume_bytes);
        };
        let mut after = None;
        loop {
            let page = self.all_snapshots(after, 500)?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            page.iter().map(snapshots::amount).for_each(&mut add);
        }
        let mut after = None;
        loop {
            let page = self.all_volumes(after, 500)?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            page.iter().map(volumes::amount).for_each(&mut add);
        }
        let mut rows: Vec<_> = all.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
        rows.push((COUNTED.to_owned(), Held::default()));
        for rows in rows.chunks(STEP) {
            let rows = rows.to_vec();
            self.commit(move |tx| {
                for (key, held) in rows {
                    HELD.put(tx, &key, &held.into())?;
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}
