//! Bundle tasks: begun, looked up, cancelled, forgotten.

use vmint_ids::{AccountId, BundleTaskId, KmsKeyId, SnapshotId};
use vmint_images::instance_bundle::MAX_DISK_BYTES;
use vmint_store::{Asked, Read, Tx, TxError};

use super::Answer;
use crate::{
    InstanceBundleError, Result, Storage, StorageError,
    import_task::REMEMBERED_MS,
    instance_bundle::{BundleState, BundleTask, Held, Location, MAX_BUNDLES, Machine, Origin},
    ops::list::Page,
    store::{
        LEDGER, instance_bundles,
        objects::{self, After},
        snapshots, volumes,
    },
};

/// What to make a bundle of, and where.
#[derive(Debug, Clone)]
pub(crate) struct NewBundle {
    pub(crate) origin: Origin,
    pub(crate) location: Location,
    pub(crate) machine: Machine,
    /// The default key if none.
    pub(crate) key: Option<KmsKeyId>,
}

impl Storage {
    /// Begins to make a bundle.
    pub(crate) async fn start_instance_bundle(
        &self,
        account: AccountId,
        new: NewBundle,
        asked: Asked,
    ) -> Result<BundleTask> {
        let before = asked.clone();
        let before = self.records.commit(move |tx| LEDGER.answered::<Answer, _>(tx, &before));
        let answer = if let Some(answer) = before.await? {
            answer
        } else {
            let key = self.key_for(account, new.key).await?;
            let id = BundleTaskId::random();
            let _listed = self.listing.read().await;
            let begun = self.records.commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    let task = begin(tx, id, account, new, key).map_err(TxError::Refused)?;
                    instance_bundles::put(tx, &task)?;
                    Ok(Answer { task: id.to_string() })
                })
            });
            begun.await?
        };
        let id = answer.task.parse().map_err(|_| StorageError::Damaged)?;
        let task = self.instance_bundle_task(id, account)?;
        self.go_on_bundling(&task);
        Ok(task)
    }

    pub(crate) fn instance_bundle_task(
        &self,
        id: BundleTaskId,
        account: AccountId,
    ) -> Result<BundleTask> {
        instance_bundles::owned(self.records.store(), id, account)
    }

    pub(crate) fn list_instance_bundle_tasks(
        &self,
        account: AccountId,
        after: Option<BundleTaskId>,
        size: usize,
    ) -> Result<Page<BundleTask>> {
        let read = self.records.store();
        let found = instance_bundles::of_account(read, account, after, size + 1)?;
        Ok(Page::cut(found, size))
    }

    /// How far a task is, in percent.
    pub(crate) fn instance_bundle_percent(&self, task: &BundleTask) -> u32 {
        match task.state {
            BundleState::Complete => 100,
            _ => self.transfers.get(&task.id.to_string()).map_or(0, |job| job.percent()),
        }
    }

    /// Ends a task that has not ended; whoever works on it takes away what is
    /// there.
    pub(crate) async fn cancel_instance_bundle(
        &self,
        id: BundleTaskId,
        account: AccountId,
        asked: Asked,
    ) -> Result<BundleTask> {
        let cancelled = self.records.commit(move |tx| {
            LEDGER.once(tx, &asked, |tx| {
                let mut task =
                    instance_bundles::owned(tx, id, account).map_err(TxError::Refused)?;
                if !task.state.is_over() {
                    task.state = BundleState::Cancelling;
                    "cancelled".clone_into(&mut task.message);
                    instance_bundles::put(tx, &task)?;
                }
                Ok(Answer { task: id.to_string() })
            })
        });
        cancelled.await?;
        if let Some(job) = self.transfers.get(&id.to_string()) {
            job.stop.cancel();
        }
        self.transfers.tell();
        self.instance_bundle_task(id, account)
    }

    /// Forgets tasks that ended long ago. Their bundles stay.
    pub(in crate::ops) async fn expire_instance_bundles(&self) -> Result<()> {
        let storage = self.clone();
        let all = Self::blocking(move || storage.records.all_instance_bundles()).await?;
        for task in all.into_iter().filter(|task| task.ended_ms > 0) {
            let forgotten = self.records.commit(move |tx| {
                if task.ended_ms.saturating_add(REMEMBERED_MS) <= tx.now_ms() {
                    instance_bundles::remove(tx, task.id)?;
                }
                Ok(())
            });
            forgotten.await?;
        }
        Ok(())
    }

    /// Ends and forgets some of an account's tasks; says whether there were any.
    pub(in crate::ops) async fn release_instance_bundles(
        &self,
        account: AccountId,
        at_once: usize,
    ) -> Result<bool> {
        let read = self.records.store();
        let tasks = instance_bundles::of_account(read, account, None, at_once)?;
        for task in &tasks {
            if let Some(job) = self.transfers.get(&task.id.to_string()) {
                job.stop.cancel();
            }
            let id = task.id;
            self.records.commit(move |tx| instance_bundles::remove(tx, id)).await?;
        }
        self.transfers.tell();
        Ok(!tasks.is_empty())
    }
}

/// The task to record, if it may begin.
fn begin(
    tx: &Tx<'_>,
    id: BundleTaskId,
    account: AccountId,
    new: NewBundle,
    key: KmsKeyId,
) -> Result<BundleTask> {
    let NewBundle { origin, location, machine, .. } = new;
    let open = instance_bundles::open(tx, account, MAX_BUNDLES)?;
    if open.len() >= MAX_BUNDLES {
        return Err(StorageError::TooMany { what: "bundle tasks", limit: MAX_BUNDLES });
    }
    objects::bucket(tx, &location.bucket, account)?;
    let manifest = location.manifest_key();
    let made = open.iter().any(|task| task.location == location)
        || objects::object(tx, &location.bucket, &manifest)?.is_some();
    let part = objects::objects(tx, &location.bucket, &location.parts_begin(), &After::Nothing, 1)?;
    if let Some(key) = part.first().map(|part| &part.key).or(made.then_some(&manifest)) {
        return Err(InstanceBundleError::Exists { key: key.to_string() }.into());
    }
    let (held, size) = match origin {
        Origin::Snapshot(snapshot) => {
            let held = held(tx, snapshot, account)?;
            let size = held.content.size_bytes;
            (Some(held), size)
        }
        Origin::Volume(volume) => (None, volumes::owned(tx, volume, account)?.size_bytes),
    };
    fits(size)?;
    let task = BundleTask {
        id,
        account,
        origin,
        between: None,
        held,
        machine,
        location,
        key,
        state: BundleState::Pending,
        message: String::new(),
        reason: String::new(),
        bundled_bytes: 0,
        parts: 0,
        created_ms: tx.now_ms(),
        ended_ms: 0,
    };
    let mut manifest = task.head(vec![0]);
    manifest.size_bytes = size;
    manifest.check_head()?;
    Ok(task)
}

/// The content of a complete snapshot of the account's whose key may be used.
pub(super) fn held(read: &impl Read, id: SnapshotId, account: AccountId) -> Result<Held> {
    let found = snapshots::owned(read, id, account)?;
    Storage::may_use(read, found.content())?;
    let content = found.content().ok_or(StorageError::NotCompleted { id })?;
    Ok(Held { content, product_codes: found.product_codes })
}

fn fits(bytes: u64) -> Result<()> {
    if bytes == 0 || bytes > MAX_DISK_BYTES || !bytes.is_multiple_of(512) {
        return Err(InstanceBundleError::Size { bytes }.into());
    }
    Ok(())
}
