//! All that an account brought in or out.

use vmint_ids::AccountId;
use vmint_store::TxError;

use super::Step;
use crate::{
    Result, Storage,
    import_task::{Task, TaskState},
    store::{exports, fence, import_tasks},
};

/// Tasks that one call ends.
const AT_ONCE: usize = 20;

impl Storage {
    /// Ends and forgets some of an account's imports, exports, buckets and
    /// objects; says whether there may be more.
    pub(crate) async fn release_files(&self, step: Step, account: AccountId) -> Result<bool> {
        self.records.commit(move |tx| fence(tx, step.epoch)).await?;
        let imports = import_tasks::of_account(self.records.store(), account, None, AT_ONCE)?;
        for task in &imports {
            self.forget_import(task).await?;
        }
        let exports = exports::of_account(self.records.store(), account, None, AT_ONCE)?;
        for task in &exports {
            let id = task.id;
            if let Some(job) = self.transfers.get(&id.to_string()) {
                job.stop.cancel();
            }
            self.records.commit(move |tx| exports::remove(tx, id)).await?;
            self.drop_file(self.transfers.export(id)).await;
        }
        self.transfers.tell();
        let bundles = self.release_instance_bundles(account, AT_ONCE).await?;
        if bundles || !imports.is_empty() || !exports.is_empty() {
            return Ok(true);
        }
        self.release_objects(account).await
    }

    async fn forget_import(&self, task: &Task) -> Result<()> {
        if let Some(job) = self.transfers.get(&task.id.to_string()) {
            job.stop.cancel();
        }
        let id = task.id;
        self.records
            .commit(move |tx| {
                let found = import_tasks::find(tx, id).map_err(TxError::Refused)?;
                // Snapshots of those that are done are snapshots as any other.
                let begun = found.filter(|task| task.state == TaskState::Active);
                for disk in begun.iter().flat_map(|task| &task.disks) {
                    crate::store::snapshots::remove(tx, disk.snapshot)?;
                }
                import_tasks::remove(tx, id)
            })
            .await?;
        self.drop_fetches(task).await;
        Ok(())
    }
}
