//! Transfers over restarts, and how long what they leave is kept.

use std::collections::HashSet;

use vmint_store::TxError;

use crate::{
    Result, Storage,
    import_task::{REMEMBERED_MS, TaskState},
    store::{import_tasks, uploads},
};

impl Storage {
    /// Goes on with imports and exports after a restart; removes files that nothing needs.
    pub(super) async fn restore_transfers(&self) -> Result<()> {
        let storage = self.clone();
        let (tasks, exports) = Self::blocking(move || {
            let (tasks, exports) = (storage.records.all_imports()?, storage.records.all_exports()?);
            let mut needed = HashSet::new();
            let there = exports.iter().filter(|task| task.state == TaskState::Completed);
            needed.extend(there.map(|task| storage.transfers.export(task.id)));
            needed.extend(
                storage.records.all_uploads()?.iter().map(|u| storage.transfers.upload(u.id)),
            );
            for task in tasks.iter().filter(|task| task.state == TaskState::Active) {
                let all = task.disks.iter().enumerate();
                let left = all.filter(|(_, disk)| disk.made.is_none());
                needed.extend(left.map(|(n, _)| storage.transfers.fetch(task.id, n)));
            }
            for dir in storage.transfers.dirs() {
                std::fs::create_dir_all(dir)?;
                for entry in std::fs::read_dir(dir)? {
                    let path = entry?.path();
                    if !needed.contains(&path) {
                        tracing::info!(path = %path.display(), "has no record; removed");
                        std::fs::remove_file(path)?;
                    }
                }
            }
            Ok((tasks, exports))
        })
        .await?;
        for task in &tasks {
            self.go_on(task);
        }
        for task in &exports {
            self.go_on_exporting(task);
        }
        self.restore_instance_bundles().await?;
        self.go_on_scrubbing();
        Ok(())
    }

    /// Lets go of uploads that nobody came back to and of imports that ended
    /// long ago.
    pub async fn expire_transfers(&self) -> Result<()> {
        self.expire_exports().await?;
        self.expire_instance_bundles().await?;
        let storage = self.clone();
        let read = move || Ok((storage.records.all_uploads()?, storage.records.all_imports()?));
        let (all_uploads, tasks) = Self::blocking(read).await?;
        for upload in all_uploads {
            let gone = self.records.commit(move |tx| {
                let found = uploads::find(tx, upload.id).map_err(TxError::Refused)?;
                let read = import_tasks::reading(tx, upload.id).map_err(TxError::Refused)?;
                let gone = read.is_none() && found.is_some_and(|u| u.expires_ms <= tx.now_ms());
                if gone {
                    uploads::remove(tx, upload.id)?;
                }
                Ok(gone)
            });
            if gone.await? {
                self.drop_file(self.transfers.upload(upload.id)).await;
            }
        }
        for task in tasks.into_iter().filter(|task| task.ended_ms > 0) {
            self.records
                .commit(move |tx| {
                    if task.ended_ms.saturating_add(REMEMBERED_MS) <= tx.now_ms() {
                        import_tasks::remove(tx, task.id)?;
                    }
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }
}
