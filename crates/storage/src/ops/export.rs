//! Snapshots become disk files, for a while.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path, sync::Arc};

use tokio::sync::mpsc;
use vmint_blocks::Root;
use vmint_ids::{AccountId, ExportTaskId, ImageId, SnapshotId};
use vmint_images::{
    Source as _,
    bundle::Registration,
    write::{self, Export, Machine, Sparse, WriteError},
};
use vmint_store::{Asked, Read, TxError};

use super::list::Page;
use crate::{
    Content, Result, Storage, StorageError,
    export_task::{ExportFormat, ExportTask, MAX_EXPORTS, Saved},
    import_task::{REMEMBERED_MS, TaskState},
    store::{LEDGER, exports, snapshots},
    stored::Stored,
    transfer_fault::told,
    transfers::Job,
};

/// How much of a file goes into one message.
const PIECE: usize = 512 << 10;
/// What an OVA's machine has; whoever runs it changes it.
const CPUS: u32 = 1;
const MEMORY_MIB: u32 = 1024;

/// A stretch of a file on its way out.
#[derive(Debug)]
pub(crate) enum Piece {
    Content(u64, Vec<u8>),
    /// From where, and how many.
    Zeros(u64, u64),
}

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
        self.begin_export(account, vec![snapshot], format, None, asked).await
    }

    /// Begins to write snapshots, the root disk's first: several, or one with
    /// an image around it, as a bundle.
    pub(super) async fn begin_export(
        &self,
        account: AccountId,
        disks: Vec<SnapshotId>,
        format: ExportFormat,
        image: Option<(ImageId, Registration)>,
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
                    let open = exports::count_open(tx, account, MAX_EXPORTS);
                    if open.map_err(TxError::Refused)? >= MAX_EXPORTS {
                        let (what, limit) = ("exports", MAX_EXPORTS);
                        return Err(TxError::Refused(StorageError::TooMany { what, limit }));
                    }
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
                    };
                    exports::put(tx, &task)?;
                    Ok(Answer { task: new.to_string() })
                })
            })
            .await?;
        let id = answer.task.parse().map_err(|_| StorageError::Damaged)?;
        let task = self.export(id, account)?;
        self.go_on_exporting(&task);
        Ok(task)
    }

    pub(crate) fn export(&self, id: ExportTaskId, account: AccountId) -> Result<ExportTask> {
        exports::owned(self.records.store(), id, account)
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

    /// Ends an export and removes its file.
    pub(crate) async fn cancel_export(
        &self,
        id: ExportTaskId,
        account: AccountId,
        asked: Asked,
    ) -> Result<ExportTask> {
        let cancelled = self.records.commit(move |tx| {
            LEDGER.once(tx, &asked, |tx| {
                let mut task = exports::owned(tx, id, account).map_err(TxError::Refused)?;
                if task.state != TaskState::Deleted {
                    task.message = match task.state {
                        TaskState::Completed => "its file was given up".to_owned(),
                        _ => "cancelled".to_owned(),
                    };
                    task.state = TaskState::Deleted;
                    task.ended_ms = tx.now_ms();
                    exports::put(tx, &task)?;
                }
                Ok(Answer { task: id.to_string() })
            })
        });
        cancelled.await?;
        if let Some(job) = self.transfers.get(&id.to_string()) {
            job.stop.cancel();
        }
        self.transfers.tell();
        self.drop_file(self.transfers.export(id)).await;
        self.export(id, account)
    }

    /// Works on an export that is under way, unless that is being done.
    pub(super) fn go_on_exporting(&self, task: &ExportTask) {
        if task.state != TaskState::Active {
            return;
        }
        let name = task.id.to_string();
        let Some(job) = self.transfers.begin(&name) else { return };
        let (storage, task) = (self.clone(), task.clone());
        self.tasks.spawn(async move {
            let id = task.id;
            if let Err(error) = storage.write_out(task, &job).await
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
            if task.format == ExportFormat::Bundle {
                let (file, roots) = storage.write_bundle(&task, file, &job)?;
                return Ok((finished(&file, &path)?, roots));
            }
            let source = Stored(storage.tree(&task.content)?);
            let size = source.len().max(1);
            let watch = |done: u64| {
                job.at(done.saturating_mul(100) / size);
                !job.stop.is_cancelled()
            };
            // Named after the content, so that equal contents are equal files.
            let mut image = [0; 16];
            image.copy_from_slice(&blake3::hash(&task.content.root.to_bytes()).as_bytes()[..16]);
            let export = Export { source: &source, id: image, watch: &watch };
            let mut out = Sparse::new(file);
            match task.format {
                ExportFormat::Raw => write::raw(&export, &mut out)?,
                ExportFormat::Qcow2 => write::qcow2(&export, &mut out)?,
                ExportFormat::Vmdk => write::vmdk(&export, &mut out)?,
                ExportFormat::Vhd => write::vhd(&export, &mut out)?,
                ExportFormat::Ova => {
                    let name = task.snapshot.to_string();
                    let machine = Machine { name: &name, cpus: CPUS, memory_mib: MEMORY_MIB };
                    write::ova(&export, &machine, &storage.staging()?, &mut out)?;
                }
                // Written above: it may hold several disks.
                ExportFormat::Bundle => {}
            }
            Ok((finished(&out.finish()?, &path)?, Vec::new()))
        })
        .await?;
        self.end_export(id, Ok((bytes, roots))).await;
        Ok(())
    }

    /// Records how an export ended, unless it was cancelled.
    async fn end_export(&self, id: ExportTaskId, how: Result<(u64, Vec<Root>), String>) {
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
                    task.expires_ms = task.ended_ms.saturating_add(life);
                }
                Err(why) => {
                    task.state = TaskState::Deleted;
                    task.message = why;
                }
            }
            exports::put(tx, &task)?;
            Ok(task.state == TaskState::Completed)
        });
        match ended.await {
            Ok(true) => {}
            Ok(false) => self.drop_file(self.transfers.export(id)).await,
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
                if task.ended_ms.saturating_add(REMEMBERED_MS) <= tx.now_ms() {
                    exports::remove(tx, id)?;
                    return Ok(true);
                }
                let gone = task.state == TaskState::Completed && task.expires_ms <= tx.now_ms();
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

    /// The file of a complete export from `offset` on, piece by piece.
    pub(crate) async fn download(
        &self,
        id: ExportTaskId,
        account: AccountId,
        offset: i64,
    ) -> Result<mpsc::Receiver<Result<Piece>>> {
        let task = self.export(id, account)?;
        if task.state != TaskState::Completed {
            return Err(StorageError::NoFile { id, message: task.message });
        }
        let offset = u64::try_from(offset).ok().filter(|at| *at <= task.file_bytes);
        let offset = offset.ok_or_else(|| StorageError::Invalid {
            field: "offset_bytes",
            what: "offset",
            value: String::new(),
            rule: format!("the file has {} bytes", task.file_bytes),
        })?;
        let path = self.transfers.export(id);
        let file = Self::blocking(move || Ok(File::open(path)?)).await?;
        let (send, receive) = mpsc::channel(4);
        let stop = self.transfers.stop.clone();
        self.tasks.spawn_blocking(move || {
            let mut at = offset;
            while at < task.file_bytes && !stop.is_cancelled() {
                let piece = piece(&file, at, task.file_bytes);
                let over = piece.is_err();
                at = match &piece {
                    Ok(Piece::Content(_, bytes)) => at + bytes.len() as u64,
                    Ok(Piece::Zeros(_, count)) => at + count,
                    Err(_) => at,
                };
                // Nobody listens when the caller has gone.
                if send.blocking_send(piece).is_err() || over {
                    return;
                }
            }
        });
        Ok(receive)
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

/// Makes a file durable; its size.
fn finished(file: &File, path: &Path) -> Result<u64> {
    file.sync_all()?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())?;
    Ok(file.metadata()?.len())
}

/// What lies at `at`.
fn piece(file: &File, at: u64, end: u64) -> Result<Piece> {
    match file.next_data(at)? {
        Some(data) if data.start <= at => {
            let left = usize::try_from(data.end.min(end) - at).unwrap_or(PIECE).min(PIECE);
            let mut bytes = vec![0; left];
            file.read_exact_at(&mut bytes, at)?;
            Ok(Piece::Content(at, bytes))
        }
        Some(data) => Ok(Piece::Zeros(at, data.start.min(end) - at)),
        None => Ok(Piece::Zeros(at, end - at)),
    }
}

impl From<WriteError> for StorageError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Io(error) => error.into(),
            WriteError::Cancelled => Self::Cancelled,
            WriteError::TooLarge { .. } => Self::Export(error),
            WriteError::Name | WriteError::Changed => io::Error::other(error).into(),
        }
    }
}
