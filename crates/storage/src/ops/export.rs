//! Snapshots become disk files, for a while.

use std::{fs::File, io, path::Path, sync::Arc};

use vmint_blocks::Root;
use vmint_ids::{AccountId, ExportTaskId, ImageId, SnapshotId};
use vmint_images::{
    bundle::Registration,
    write::{self, Export, Sparse, WriteError},
};
use vmint_store::{Asked, Read, TxError};

use super::{deliver::may_deliver, list::Page, package::named};
use crate::{
    Content, Result, Storage, StorageError,
    export_task::{Delivery, ExportFormat, ExportName, ExportTask, MAX_EXPORTS, Saved},
    import_task::TaskState,
    store::{LEDGER, exports, snapshots},
    stored::Stored,
    tag::Tags,
    transfer_fault::told,
    transfers::Job,
};

/// What the ledger keeps.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(string, tag = "1")]
    task: String,
}

impl Storage {
    /// Begins to write a snapshot as a file.
    pub(crate) async fn start_export(
        &self,
        account: AccountId,
        snapshot: SnapshotId,
        format: ExportFormat,
        asked: Asked,
    ) -> Result<ExportTask> {
        self.begin_export(account, vec![snapshot], format, None, None, asked).await
    }

    /// Begins to write snapshots, the root disk's first: several, or one with
    /// an image around it, as a bundle.
    pub(super) async fn begin_export(
        &self,
        account: AccountId,
        disks: Vec<SnapshotId>,
        format: ExportFormat,
        image: Option<(ImageId, Registration)>,
        to: Option<(Delivery, Tags)>,
        asked: Asked,
    ) -> Result<ExportTask> {
        let new = ExportTaskId::random();
        let _listed = self.listing.read().await;
        let answer = self
            .records
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    let mut contents = Vec::with_capacity(disks.len());
                    for id in &disks {
                        contents.push(exported(tx, *id, account).map_err(TxError::Refused)?);
                    }
                    let (Some(snapshot), Some(content)) = (disks.first(), contents.first()) else {
                        return Err(TxError::Refused(StorageError::Damaged));
                    };
                    let (snapshot, content) = (*snapshot, *content);
                    let image =
                        image.map(|(id, registration)| Saved { id, registration, disks: contents });
                    let open = exports::open(tx, account, MAX_EXPORTS);
                    let open = open.map_err(TxError::Refused)?;
                    if open.len() >= MAX_EXPORTS {
                        let (what, limit) = ("exports", MAX_EXPORTS);
                        return Err(TxError::Refused(StorageError::TooMany { what, limit }));
                    }
                    let (to, tags) =
                        to.map_or_else(Default::default, |(to, tags)| (Some(to), tags));
                    let task = ExportTask {
                        id: new,
                        account,
                        snapshot,
                        content,
                        image,
                        roots: Vec::new(),
                        format,
                        state: TaskState::Active,
                        message: "pending".to_owned(),
                        file_bytes: 0,
                        created_ms: tx.now_ms(),
                        ended_ms: 0,
                        expires_ms: 0,
                        to,
                        tags,
                    };
                    may_deliver(tx, &task, &open).map_err(TxError::Refused)?;
                    exports::put(tx, &task)?;
                    Ok(Answer { task: task.name().to_string() })
                })
            })
            .await?;
        let name = answer.task.parse().map_err(|_| StorageError::Damaged)?;
        let task = self.export(name, account)?;
        self.go_on_exporting(&task);
        Ok(task)
    }

    pub(crate) fn export(&self, name: ExportName, account: AccountId) -> Result<ExportTask> {
        exports::owned(self.records.store(), name, account)
    }

    pub(crate) fn list_exports(
        &self,
        account: AccountId,
        after: Option<ExportTaskId>,
        size: usize,
    ) -> Result<Page<ExportTask>> {
        let found = exports::of_account(self.records.store(), account, after, size + 1)?;
        Ok(Page::cut(found, size))
    }

    /// How far an export is, in percent.
    pub(crate) fn export_percent(&self, task: &ExportTask) -> u32 {
        match task.state {
            TaskState::Completed => 100,
            _ => self.transfers.get(&task.id.to_string()).map_or(0, |job| job.percent()),
        }
    }

    /// Ends an export and removes its file. Files that all are in their bucket
    /// stay there.
    pub(crate) async fn cancel_export(
        &self,
        name: ExportName,
        account: AccountId,
        asked: Asked,
    ) -> Result<ExportTask> {
        let cancelled = self.records.commit(move |tx| {
            LEDGER.once(tx, &asked, |tx| {
                let mut task = exports::owned(tx, name, account).map_err(TxError::Refused)?;
                if task.to.is_some() && task.state == TaskState::Completed {
                    return Err(TxError::Refused(StorageError::ExportEnded { name }));
                }
                if matches!(task.state, TaskState::Active | TaskState::Completed) {
                    task.message = match task.state {
                        TaskState::Completed => "its file was given up".to_owned(),
                        _ => "cancelled".to_owned(),
                    };
                    task.state = ended_badly(&task);
                    task.ended_ms = tx.now_ms();
                    exports::put(tx, &task)?;
                }
                Ok(Answer { task: name.to_string() })
            })
        });
        cancelled.await?;
        let id = name.id();
        match self.transfers.get(&id.to_string()) {
            Some(job) => job.stop.cancel(),
            None => self.clear_away(id).await,
        }
        self.transfers.tell();
        self.drop_file(self.transfers.export(id)).await;
        self.export(name, account)
    }

    /// Works on an export that is under way, unless that is being done.
    pub(super) fn go_on_exporting(&self, task: &ExportTask) {
        if !matches!(task.state, TaskState::Active | TaskState::Deleting) {
            return;
        }
        let name = task.id.to_string();
        let Some(job) = self.transfers.begin(&name) else { return };
        let (storage, task) = (self.clone(), task.clone());
        self.tasks.spawn(async move {
            let id = task.id;
            let written = match (&task.to, task.state) {
                (_, TaskState::Deleting) => Err(StorageError::Cancelled),
                (Some(to), _) => storage.deliver(&task, to, &job).await,
                (None, _) => storage.write_out(task, &job).await,
            };
            if let Err(error) = written
                && !storage.transfers.stop.is_cancelled()
            {
                storage.drop_file(storage.transfers.export(id)).await;
                tracing::info!(task = %id, error = %vmint_rpc::chain(&error), "an export failed");
                storage.end_export(id, Err(told(&error))).await;
            }
            storage.transfers.end(&name);
        });
    }

    async fn write_out(&self, task: ExportTask, job: &Arc<Job>) -> Result<()> {
        let _turn = self.heavy.acquire().await.map_err(|_| StorageError::Damaged)?;
        let (storage, job, id) = (self.clone(), job.clone(), task.id);
        let (bytes, roots) = Self::blocking(move || {
            let path = storage.transfers.export(task.id);
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir)?;
            }
            let file = File::create(&path)?;
            match task.format {
                ExportFormat::Bundle => {
                    let (file, roots) = storage.write_bundle(&task, file, &job)?;
                    return Ok((finished(&file, &path)?, roots));
                }
                ExportFormat::Ova => {
                    let file = storage.write_package(&task, file, &job)?;
                    return Ok((finished(&file, &path)?, Vec::new()));
                }
                _ => {}
            }
            let size = task.content.size_bytes.max(1);
            let watch = |done: u64| {
                job.at(done.saturating_mul(100) / size);
                !job.stop.is_cancelled()
            };
            let file = storage.write_disk(&task, &task.content, file, &watch)?;
            Ok((finished(&file, &path)?, Vec::new()))
        })
        .await?;
        self.end_export(id, Ok((bytes, roots))).await;
        Ok(())
    }

    /// Writes one disk as a file in the format of its export.
    pub(super) fn write_disk(
        &self,
        task: &ExportTask,
        content: &Content,
        file: File,
        watch: &dyn Fn(u64) -> bool,
    ) -> Result<File> {
        let source = Stored(self.tree(content)?);
        let export = Export { source: &source, id: named(content), watch };
        let mut out = Sparse::new(file);
        match task.format {
            ExportFormat::Raw => write::raw(&export, &mut out)?,
            ExportFormat::Qcow2 => write::qcow2(&export, &mut out)?,
            ExportFormat::Vmdk => write::vmdk(&export, &mut out)?,
            ExportFormat::Vhd => write::vhd(&export, &mut out)?,
            // Written elsewhere: they may hold several disks.
            ExportFormat::Ova | ExportFormat::Bundle => {}
        }
        Ok(out.finish()?)
    }

    /// Records how an export ended, unless it was cancelled.
    pub(super) async fn end_export(&self, id: ExportTaskId, how: Result<(u64, Vec<Root>), String>) {
        let life = self.config.export_seconds.saturating_mul(1000);
        let ended = self.records.commit(move |tx| {
            let found = exports::find(tx, id).map_err(TxError::Refused)?;
            let Some(mut task) = found.filter(|task| task.state == TaskState::Active) else {
                return Ok(false);
            };
            task.ended_ms = tx.now_ms();
            match how {
                Ok((bytes, roots)) => {
                    task.roots = roots;
                    task.state = TaskState::Completed;
                    "completed".clone_into(&mut task.message);
                    task.file_bytes = bytes;
                    if task.to.is_none() {
                        task.expires_ms = task.ended_ms.saturating_add(life);
                    }
                }
                Err(why) => {
                    task.state = ended_badly(&task);
                    task.message = why;
                }
            }
            exports::put(tx, &task)?;
            Ok(task.state == TaskState::Completed)
        });
        match ended.await {
            Ok(true) => {}
            Ok(false) => {
                self.drop_file(self.transfers.export(id)).await;
                self.clear_away(id).await;
            }
            // Left active, it is tried again at the next start.
            Err(error) => tracing::error!(task = %id, error = %vmint_rpc::chain(&error)),
        }
        self.transfers.tell();
    }

    /// Lets go of files that nobody fetched and of exports that ended long ago.
    pub(super) async fn expire_exports(&self) -> Result<()> {
        let storage = self.clone();
        let all = Self::blocking(move || storage.records.all_exports()).await?;
        for task in all.into_iter().filter(|task| task.ended_ms > 0) {
            let id = task.id;
            let gone = self.records.commit(move |tx| {
                let found = exports::find(tx, id).map_err(TxError::Refused)?;
                let Some(mut task) = found else { return Ok(false) };
                if task.ended_ms.saturating_add(task.remembered_ms()) <= tx.now_ms() {
                    exports::remove(tx, id)?;
                    return Ok(true);
                }
                let gone = task.state == TaskState::Completed
                    && task.to.is_none()
                    && task.expires_ms <= tx.now_ms();
                if gone {
                    task.state = TaskState::Deleted;
                    "its file has expired".clone_into(&mut task.message);
                    exports::put(tx, &task)?;
                }
                Ok(gone)
            });
            if gone.await? {
                self.drop_file(self.transfers.export(id)).await;
            }
        }
        Ok(())
    }
}

/// The content of a snapshot of the account's that may go out.
fn exported(read: &impl Read, id: SnapshotId, account: AccountId) -> Result<Content> {
    let found = snapshots::owned(read, id, account)?;
    if !found.product_codes.is_empty() {
        return Err(StorageError::NotExportable { id });
    }
    found.content().ok_or(StorageError::NotCompleted { id })
}

/// Where an export stands that is not to be: files in a bucket have still to go.
fn ended_badly(task: &ExportTask) -> TaskState {
    if task.to.is_some() { TaskState::Deleting } else { TaskState::Deleted }
}

/// Makes a file durable; its size.
pub(super) fn finished(file: &File, path: &Path) -> Result<u64> {
    file.sync_all()?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())?;
    Ok(file.metadata()?.len())
}

impl From<WriteError> for StorageError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Io(error) => error.into(),
            WriteError::Cancelled => Self::Cancelled,
            WriteError::TooLarge { .. } | WriteError::Disks => Self::Export(error),
            WriteError::Name | WriteError::Changed => io::Error::other(error).into(),
        }
    }
}
