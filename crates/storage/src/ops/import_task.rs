//! Imports: begun, looked up, cancelled.

use vmint_ids::{AccountId, ImageId, ImportSnapshotTaskId, SnapshotId};
use vmint_images::Format;
use vmint_store::{Asked, Read, Tx, TxError};

use super::{Labels, Step, lineage::let_go, list::Page};
use crate::{
    Result, Seal, Storage, StorageError,
    import_task::{Disk, FileSource, MAX_ACTIVE, MAX_DISKS, Task, TaskId, TaskState},
    key::Wish,
    store::{LEDGER, fence, import_tasks, objects, snapshots, uploads},
    tag::Tags,
};

/// A disk to import.
#[derive(Debug, Clone)]
pub(crate) struct NewDisk {
    pub(crate) source: FileSource,
    pub(crate) declared: Option<Format>,
    /// Which disk of a package, if that is said.
    pub(crate) index: Option<usize>,
    pub(crate) device: String,
    /// Drawn if there is none.
    pub(crate) snapshot: Option<SnapshotId>,
}

/// The disks of one image to be, to import together.
#[derive(Debug, Clone)]
pub(crate) struct NewImage {
    pub(crate) image: ImageId,
    pub(crate) description: String,
    pub(crate) disks: Vec<NewDisk>,
    pub(crate) wish: Wish,
    pub(crate) tags: Tags,
    pub(crate) snapshot_tags: Tags,
}

/// What a new import is told apart by.
#[derive(Debug, Default)]
struct Labelled {
    image: Option<ImageId>,
    description: String,
    tags: Tags,
    snapshot_tags: Tags,
}

/// What the ledger keeps.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(string, tag = "1")]
    task: String,
}

impl From<NewDisk> for Disk {
    fn from(new: NewDisk) -> Self {
        Self {
            source: new.source,
            declared: new.declared,
            index: new.index,
            device: new.device,
            snapshot: new.snapshot.unwrap_or_else(SnapshotId::random),
            fetched: crate::import_task::Fetched::default(),
            made: None,
        }
    }
}

impl Storage {
    /// Begins to make a snapshot of one file.
    pub(crate) async fn start_snapshot_import(
        &self,
        account: AccountId,
        disk: NewDisk,
        labels: Labels,
        wish: Wish,
        asked: Asked,
    ) -> Result<Task> {
        let Labels { description, tags, .. } = labels;
        let labelled = Labelled { description, tags, ..Labelled::default() };
        let disk = Disk::from(disk);
        let before = asked.clone();
        let before = self.records.commit(move |tx| LEDGER.answered::<Answer, _>(tx, &before));
        if let Some(answer) = before.await? {
            let id = answer.task.parse().map_err(|_| StorageError::Damaged)?;
            return self.import(id, account);
        }
        let wish = self.wish_of_bundles(account, [&disk.source].into_iter(), wish).await?;
        let seal = self.seal_of_new(account, wish).await?;
        let id = TaskId::Snapshot(ImportSnapshotTaskId::random());
        let answer = self
            .records
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    begin(tx, id, account, labelled, vec![disk], seal)?;
                    Ok(Answer { task: id.to_string() })
                })
            })
            .await?;
        let id = answer.task.parse().map_err(|_| StorageError::Damaged)?;
        let task = self.import(id, account)?;
        self.go_on(&task);
        Ok(task)
    }

    /// Begins the import of an image's disks, or finds it.
    pub(crate) async fn ensure_import(
        &self,
        step: Step,
        id: TaskId,
        account: AccountId,
        new: NewImage,
    ) -> Result<Task> {
        let NewImage { image, description, disks, wish, tags, snapshot_tags } = new;
        let labelled = Labelled { image: Some(image), description, tags, snapshot_tags };
        let seal = if let Some(there) = import_tasks::find(self.records.store(), id)? {
            there.seal
        } else {
            let sources = disks.iter().map(|disk| &disk.source);
            let wish = self.wish_of_bundles(account, sources, wish).await?;
            self.seal_of_new(account, wish).await?
        };
        let disks = disks.into_iter().map(Disk::from).collect();
        let task = self
            .records
            .commit(move |tx| {
                fence(tx, step.epoch)?;
                match import_tasks::find(tx, id).map_err(TxError::Refused)? {
                    Some(there) => Ok(there),
                    None => begin(tx, id, account, labelled, disks, seal),
                }
            })
            .await?;
        self.go_on(&task);
        Ok(task)
    }

    /// Records that an import's image is there.
    pub(crate) async fn ensure_import_ended(&self, step: Step, id: TaskId) -> Result<()> {
        self.records
            .commit(move |tx| {
                fence(tx, step.epoch)?;
                let found = import_tasks::find(tx, id).map_err(TxError::Refused)?;
                // Forgotten after its time: then it has long ended.
                let Some(mut task) = found else { return Ok(()) };
                task.state = TaskState::Completed;
                "completed".clone_into(&mut task.message);
                task.ended_ms = tx.now_ms();
                import_tasks::put(tx, &task)
            })
            .await?;
        self.transfers.tell();
        Ok(())
    }

    /// Ends an import whose image will not be, with the snapshots it made.
    pub(crate) async fn release_import(&self, step: Step, id: TaskId, why: String) -> Result<()> {
        self.stop_job(id);
        let task = self
            .records
            .commit(move |tx| {
                fence(tx, step.epoch)?;
                let found = import_tasks::find(tx, id).map_err(TxError::Refused)?;
                let Some(mut task) = found else { return Ok(None) };
                for disk in &task.disks {
                    let made = snapshots::find(tx, disk.snapshot).map_err(TxError::Refused)?;
                    snapshots::remove(tx, disk.snapshot)?;
                    let_go(tx, made.into_iter().flat_map(|snapshot| snapshot.lineages()))?;
                }
                if task.state == TaskState::Active {
                    task.message = why;
                }
                if task.state != TaskState::Deleted {
                    task.state = TaskState::Deleted;
                    task.ended_ms = tx.now_ms();
                }
                import_tasks::put(tx, &task)?;
                Ok(Some(task))
            })
            .await?;
        self.finish_let_go().await;
        self.transfers.tell();
        if let Some(task) = task {
            self.drop_fetches(&task).await;
        }
        Ok(())
    }

    pub(crate) fn import(&self, id: TaskId, account: AccountId) -> Result<Task> {
        import_tasks::owned(self.records.store(), id, account)
    }

    pub(crate) fn list_imports(
        &self,
        account: AccountId,
        after: Option<&String>,
        size: usize,
    ) -> Result<Page<Task>> {
        let found = import_tasks::of_account(self.records.store(), account, after, size + 1)?;
        Ok(Page::cut(found, size))
    }

    /// How far an import is, in percent.
    pub(crate) fn import_percent(&self, task: &Task) -> u32 {
        match task.state {
            TaskState::Completed => 100,
            TaskState::Active if task.is_converted() => 99,
            _ => self.transfers.get(&task.id.to_string()).map_or(0, |job| job.percent()),
        }
    }

    /// Cancels an import that has not ended.
    pub(crate) async fn cancel_import(
        &self,
        id: TaskId,
        account: AccountId,
        why: String,
        asked: Asked,
    ) -> Result<Task> {
        let why = if why.is_empty() { "cancelled".to_owned() } else { format!("cancelled: {why}") };
        let cancelled = self.records.commit(move |tx| {
            LEDGER.once(tx, &asked, |tx| {
                let task = import_tasks::owned(tx, id, account).map_err(TxError::Refused)?;
                if task.state == TaskState::Active {
                    end(tx, task, why, "")?;
                }
                Ok(Answer { task: id.to_string() })
            })
        });
        cancelled.await?;
        self.stop_job(id);
        self.transfers.tell();
        let task = self.import(id, account)?;
        self.drop_fetches(&task).await;
        Ok(task)
    }

    /// Ends what is under way; it goes on at the next start. Who follows a task
    /// is let go.
    pub fn stop_transfers(&self) {
        self.transfers.stop.cancel();
        self.transfers.tell();
    }

    fn stop_job(&self, id: TaskId) {
        if let Some(job) = self.transfers.get(&id.to_string()) {
            job.stop.cancel();
        }
    }

    /// Removes what was fetched for an import that has ended.
    pub(super) async fn drop_fetches(&self, task: &Task) {
        for (n, disk) in task.disks.iter().enumerate() {
            if !matches!(disk.source, FileSource::Upload(_)) {
                self.drop_file(self.transfers.fetch(task.id, n)).await;
            }
        }
    }
}

/// Records a new import; its uploads are complete and read by no other.
fn begin(
    tx: &mut Tx<'_>,
    id: TaskId,
    account: AccountId,
    labelled: Labelled,
    disks: Vec<Disk>,
    seal: Option<Seal>,
) -> Result<Task, TxError<StorageError>> {
    if disks.is_empty() || disks.len() > MAX_DISKS {
        return Err(TxError::Refused(StorageError::Invalid {
            field: "disks",
            what: "list",
            value: format!("{} disks", disks.len()),
            rule: format!("give 1 to {MAX_DISKS} disks"),
        }));
    }
    let open = import_tasks::count_open(tx, account, MAX_ACTIVE).map_err(TxError::Refused)?;
    if open >= MAX_ACTIVE {
        let (what, limit) = ("imports", MAX_ACTIVE);
        return Err(TxError::Refused(StorageError::TooMany { what, limit }));
    }
    for (n, disk) in disks.iter().enumerate() {
        match &disk.source {
            FileSource::Upload(upload) => {
                // Disks of one package come from one file, each once.
                let same = |other: &Disk| other.source == disk.source && other.index == disk.index;
                let twice = disks[..n].iter().any(same);
                if twice {
                    let in_use = StorageError::UploadInUse { id: *upload, task: id };
                    return Err(TxError::Refused(in_use));
                }
                usable(tx, *upload, account).map_err(TxError::Refused)?;
            }
            FileSource::Object(name) => {
                objects::named(tx, name, account).map_err(TxError::Refused)?;
            }
            FileSource::Snapshot(id) => {
                let found = snapshots::owned(tx, *id, account).map_err(TxError::Refused)?;
                if found.content().is_none() {
                    return Err(TxError::Refused(StorageError::NotCompleted { id: *id }));
                }
            }
            FileSource::Url(_) | FileSource::Bundle(_) => {}
        }
    }
    let task = Task {
        id,
        account,
        state: TaskState::Active,
        message: "pending".to_owned(),
        reason: String::new(),
        description: labelled.description,
        image: labelled.image,
        disks,
        seal,
        tags: labelled.tags,
        snapshot_tags: labelled.snapshot_tags,
        created_ms: tx.now_ms(),
        ended_ms: 0,
    };
    import_tasks::put(tx, &task)?;
    Ok(task)
}

fn usable(read: &impl Read, id: vmint_ids::UploadId, account: AccountId) -> Result<()> {
    let upload = uploads::owned(read, id, account)?;
    if let Some(task) = import_tasks::reading(read, id)? {
        return Err(StorageError::UploadInUse { id, task });
    }
    if !upload.is_complete() {
        let missing = upload.file_bytes.saturating_sub(upload.durable.bytes());
        return Err(StorageError::UploadIncomplete { id, missing });
    }
    Ok(())
}

/// Ends an import that will not be: at once, or when its image's saga has taken
/// away what it made.
pub(super) fn end(
    tx: &mut Tx<'_>,
    mut task: Task,
    why: String,
    reason: &str,
) -> Result<(), TxError<StorageError>> {
    task.message = why;
    reason.clone_into(&mut task.reason);
    if task.image.is_some() {
        task.state = TaskState::Deleting;
    } else {
        task.state = TaskState::Deleted;
        task.ended_ms = tx.now_ms();
    }
    import_tasks::put(tx, &task)
}
