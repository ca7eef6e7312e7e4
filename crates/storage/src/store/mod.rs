//! What storage keeps, and how it is found again.

pub(crate) mod boot_sets;
pub(crate) mod exports;
pub(crate) mod held;
pub(crate) mod import_tasks;
pub(crate) mod instance_bundles;
pub(crate) mod keys;
pub(crate) mod objects;
mod record;
pub(crate) mod scrubs;
pub(crate) mod snapshots;
mod transfer_record;
pub(crate) mod uploads;
mod volume_record;
pub(crate) mod volumes;

use vmint_ids::{SnapshotId, VolumeId};
use vmint_store::{Fence, Ledger, Read, Store, Table, Tx, TxError};

use crate::{Result, StorageError};
use record::SnapshotRecord;
use volume_record::VolumeRecord;

pub(crate) static SNAPSHOTS: Table<SnapshotId, SnapshotRecord> = Table::new("snapshots.v1")
    .with_index("account", |_, record: &SnapshotRecord| vec![record.account.clone().into_bytes()])
    .with_index("image", |_, record: &SnapshotRecord| {
        record.images.iter().map(|image| image.clone().into_bytes()).collect()
    })
    .with_index("lineage", |_, record: &SnapshotRecord| record.readable_lineages())
    .with_index("grantee", |_, record: &SnapshotRecord| {
        let Some(sharing) = &record.sharing else { return Vec::new() };
        let public = sharing.public.then(|| EVERYBODY.to_owned());
        sharing.accounts().chain(public).map(String::into_bytes).collect()
    });

/// Stands among the grantees for all accounts.
const EVERYBODY: &str = "all";

pub(crate) static VOLUMES: Table<VolumeId, VolumeRecord> = Table::new("volumes.v1")
    .with_index("account", |_, record: &VolumeRecord| vec![record.account.clone().into_bytes()])
    .with_index("instance", |_, record: &VolumeRecord| {
        record.attachment.iter().map(|at| at.instance.clone().into_bytes()).collect()
    })
    .with_index("lineage", |_, record: &VolumeRecord| {
        record.seal.iter().map(|seal| seal.lineage.clone().into_bytes()).collect()
    });

static FENCE: Fence = Fence::new("epochs.v1", &[0; 8]);

pub(crate) static LEDGER: Ledger = Ledger::new("requests.v1");

/// Snapshots, volumes and what was asked before. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    store: Store,
}

impl Records {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Runs `body` as one transaction.
    pub(crate) async fn commit<T, F>(&self, body: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, TxError<StorageError>> + Send + 'static,
    {
        Ok(self.store.commit(body).await?)
    }
}

/// Refuses steps of a gateway that another has taken over from.
pub(crate) fn fence(tx: &mut Tx<'_>, epoch: u64) -> Result<(), TxError<StorageError>> {
    FENCE.admit(tx, epoch)
}

/// A page of the records that have `value` in `index`, after the key `after`.
pub(crate) fn listed<K, V, T>(
    table: &Table<K, V>,
    read: &impl Read,
    index: &'static str,
    value: &str,
    after: Option<&K>,
    limit: usize,
) -> Result<Vec<T>>
where
    K: vmint_store::Key,
    V: prost::Message + Default,
    T: for<'a> TryFrom<&'a V, Error = StorageError>,
{
    let after = after.map(vmint_store::Key::encode);
    let found = table.equal(read, index, value.as_bytes(), after.as_deref(), limit)?;
    found.iter().map(|(_, record)| record.try_into()).collect()
}
