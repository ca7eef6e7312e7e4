//! An import's work: fetch, check, convert, record; from wherever it was left.

use std::{collections::BTreeSet, fs::File, path::PathBuf, sync::Arc};

use vmint_blocks::Sealed;
use vmint_ids::ProductCode;
use vmint_images::{Format, Limits, Opener, Source};
use vmint_rpc::Describe as _;
use vmint_store::{Tx, TxError};

use super::{import::TakenIn, import_task::end, objects::ObjectFile};
use crate::{
    InstanceBundleError, Result, Snapshot, Storage, StorageError,
    boot_set::BootSet,
    import_task::{Disk, FileSource, Made, Task, TaskState},
    object::Object,
    snapshot::{Consistency, SnapshotState},
    staged::Staged,
    store::{boot_sets, held, import_tasks, objects, snapshots, uploads},
    transfer_fault::told,
    transfers::Job,
    upload::Upload,
};

/// A file that is there, and how far its disk is in the whole import.
struct Here {
    file: Lying,
    upload: Option<Upload>,
    /// Of a bundle, what its disk's data are sold under.
    codes: Option<BTreeSet<ProductCode>>,
    from: u64,
    to: u64,
}

/// Where a file lies.
#[derive(Clone)]
enum Lying {
    /// It goes when the disk is a snapshot.
    At(PathBuf),
    Object(Object),
}

impl Storage {
    /// Works on an import that is under way, unless that is being done.
    pub(super) fn go_on(&self, task: &Task) {
        if task.state != TaskState::Active || task.is_converted() {
            return;
        }
        let name = task.id.to_string();
        let Some(job) = self.transfers.begin(&name) else { return };
        let (storage, task) = (self.clone(), task.clone());
        self.tasks.spawn(async move {
            storage.work(task, &job).await;
            storage.transfers.end(&name);
        });
    }

    async fn work(&self, task: Task, job: &Arc<Job>) {
        let id = task.id;
        let Err(error) = self.work_on(&task, job).await else { return };
        if self.transfers.stop.is_cancelled() {
            return;
        }
        if matches!(error, StorageError::Cancelled) {
            self.drop_fetches(&task).await;
            return;
        }
        tracing::info!(task = %id, error = %vmint_rpc::chain(&error), "an import failed");
        let (why, reason) = (told(&error), error.fault().reason);
        let ended = self.records.commit(move |tx| match import_tasks::active(tx, id) {
            Ok(task) => end(tx, task, why, reason),
            Err(TxError::Refused(StorageError::Cancelled)) => Ok(()),
            Err(error) => Err(error),
        });
        match ended.await {
            Ok(()) => self.drop_fetches(&task).await,
            // Left active, it is tried again at the next start.
            Err(error) => tracing::error!(task = %id, error = %vmint_rpc::chain(&error)),
        }
    }

    async fn work_on(&self, task: &Task, job: &Arc<Job>) -> Result<()> {
        let count = task.disks.len() as u64;
        for (n, disk) in task.disks.iter().enumerate() {
            if disk.made.is_some() {
                continue;
            }
            let (from, to) = (n as u64 * 100 / count, (n as u64 + 1) * 100 / count);
            let here = match &disk.source {
                FileSource::Upload(id) => {
                    let upload = Some(self.upload(*id, task.account)?);
                    Here {
                        file: Lying::At(self.transfers.upload(*id)),
                        upload,
                        codes: None,
                        from,
                        to,
                    }
                }
                FileSource::Object(name) => {
                    let object = objects::named(self.records.store(), name, task.account)?;
                    let (bytes, limit) = (object.bytes(), self.config.max_import_bytes);
                    if bytes > limit {
                        return Err(StorageError::FileTooLarge { bytes, limit });
                    }
                    Here { file: Lying::Object(object), upload: None, codes: None, from, to }
                }
                FileSource::Snapshot(id) => {
                    self.share_disk(task, n, *id).await?;
                    continue;
                }
                FileSource::Url(url) => {
                    self.say(task, "downloading").await?;
                    let middle = from.midpoint(to);
                    self.fetch(task, n, url, job, from..middle).await?;
                    let file = Lying::At(self.transfers.fetch(task.id, n));
                    Here { file, upload: None, codes: None, from: middle, to }
                }
                FileSource::Bundle(location) => {
                    self.say(task, "downloading").await?;
                    let (path, middle) = (self.transfers.fetch(task.id, n), from.midpoint(to));
                    let (account, span) = (task.account, from..middle);
                    let disk =
                        self.unfold_instance_bundle(account, location, &path, job, span).await?;
                    if disk.encrypted && task.seal.is_none() {
                        return Err(InstanceBundleError::Replaced.into());
                    }
                    let codes = Some(disk.product_codes);
                    Here { file: Lying::At(path), upload: None, codes, from: middle, to }
                }
            };
            self.convert(task, n, disk, here, job).await?;
        }
        Ok(())
    }

    /// Makes a disk's snapshot of its file, which goes then.
    async fn convert(
        &self,
        task: &Task,
        n: usize,
        disk: &Disk,
        here: Here,
        job: &Arc<Job>,
    ) -> Result<()> {
        self.say(task, "validating").await?;
        let _turn = self.heavy.acquire().await.map_err(|_| StorageError::Damaged)?;
        let (storage, job, account) = (self.clone(), job.clone(), task.account);
        let (declared, index, file) = (disk.declared, disk.index, here.file.clone());
        let lineage = task.seal.map(|seal| seal.lineage);
        let base = self.base_of_upload(here.upload.as_ref())?;
        let speaker = (self.clone(), task.clone(), tokio::runtime::Handle::current());
        let (codes, plain) = (here.codes.clone().unwrap_or_default(), here.codes.is_some());
        let (taken, file_bytes, base) = Self::blocking(move || {
            let limits = Limits { max_virtual: storage.config.max_disk_bytes, ..Limits::default() };
            let (unfolding, watched) = (storage.staging()?, job.clone());
            let going_on = move |_| !watched.stop.is_cancelled();
            let opener = Opener::new(&limits).staging(&unfolding).watch(&going_on);
            let opener = index.map_or(opener, |index| opener.disk(index));
            let span = here.to - here.from;
            let mut progress = |done: u64, of: u64| {
                job.at(here.from + done.saturating_mul(span) / of.max(1));
                if job.stop.is_cancelled() { Err(StorageError::Cancelled) } else { Ok(()) }
            };
            let converting = || {
                let (storage, task, runtime) = &speaker;
                runtime.block_on(storage.say(task, "converting"))
            };
            let (file, (from, taken)) = match (here.file, base) {
                (Lying::At(path), Some(base)) => (File::open(path)?, base),
                (file, _) => {
                    let opener = opener.declared(declared);
                    let (file_bytes, disk) = match file {
                        Lying::At(path) => {
                            let file = File::open(path)?;
                            let file_bytes = Source::len(&file);
                            // A bundle's disk is one whatever it looks like.
                            let disk =
                                if plain { opener.open_raw(file) } else { opener.open(file) };
                            (file_bytes, disk?)
                        }
                        Lying::Object(object) => {
                            let file = ObjectFile::open(&storage, &object)?;
                            (file.len(), opener.open(file)?)
                        }
                    };
                    converting()?;
                    let taken = storage.take_in(account, lineage, disk, &mut progress)?;
                    return Ok((taken, file_bytes, None));
                }
            };
            let content = from.content().ok_or(StorageError::Damaged)?;
            let tree = storage.tree(&content)?;
            let staged = Staged::new(file, tree.clone(), taken);
            let (file_bytes, dirty) = (Source::len(&staged), staged.dirty());
            let disk = opener.declared(Some(Format::Raw)).open(staged)?;
            converting()?;
            let taken = if lineage.is_some() && from.seal.is_none() {
                // What is to be encrypted shares nothing with what is not.
                storage.take_in(account, lineage, disk, &mut progress)?
            } else {
                storage.take_over(&from, &tree, &disk, &dirty, &mut progress)?
            };
            let boot = storage.inherited(&content, &taken.0);
            Ok((taken, file_bytes, Some((from, boot))))
        })
        .await?;
        let used_up = self.record(task, n, taken, file_bytes, (base, codes)).await?;
        if let (Lying::At(path), true) = (file, used_up) {
            self.drop_file(path).await;
        }
        Ok(())
    }

    /// The snapshot that an upload's pieces were taken from, and which.
    fn base_of_upload(
        &self,
        upload: Option<&Upload>,
    ) -> Result<Option<(Snapshot, crate::ranges::Ranges)>> {
        let Some(upload) = upload else { return Ok(None) };
        let Some(base) = &upload.base else { return Ok(None) };
        if base.taken.len() == 0 {
            return Ok(None);
        }
        let id = base.snapshot;
        // Products follow the data, so there is no going on without the snapshot.
        let snapshot = snapshots::owned(self.records.store(), id, upload.account)?;
        Ok(Some((snapshot, base.taken.clone())))
    }

    /// Records what a disk has become: the snapshot is there from then on.
    /// Whether its file is of no more use.
    async fn record(
        &self,
        task: &Task,
        n: usize,
        taken: TakenIn,
        file_bytes: u64,
        (base, codes): (Option<(Snapshot, Option<BootSet>)>, BTreeSet<ProductCode>),
    ) -> Result<bool> {
        let (content, sealed, format, root) = taken;
        let Sealed { new_bytes, stored_bytes, .. } = sealed;
        let (id, quota) = (task.id, self.config.quota);
        let (base, boot) = base.unzip();
        let recorded = self.records.commit(move |tx| {
            let mut task = import_tasks::active(tx, id)?;
            let (account, image, description) =
                (task.account, task.image, task.description.clone());
            let snapshot_tags = task.snapshot_tags.clone();
            let Some(disk) = task.disks.get_mut(n) else { return Ok(false) };
            let new = Snapshot::pending(
                disk.snapshot,
                account,
                content.size_bytes,
                Consistency::Imported,
            );
            let mut snapshot = match base {
                Some(base) => Snapshot {
                    product_codes: base.product_codes,
                    seal: base.seal.or(task.seal),
                    ..new
                },
                None => Snapshot { product_codes: codes, seal: task.seal, ..new },
            };
            snapshot.description = description;
            snapshot.tags = snapshot_tags;
            snapshot.images.extend(image);
            snapshot.state = SnapshotState::Completed(content);
            (snapshot.new_bytes, snapshot.stored_bytes) = (new_bytes, stored_bytes);
            snapshot.created_ms = tx.now_ms();
            snapshots::put(tx, &snapshot)?;
            boot_sets::inherit(tx, &content, boot.flatten().as_ref())?;
            held::within(tx, account, &quota)?;
            disk.made = Some(Made { format, file_bytes, content, root });
            let source = disk.source.clone();
            // Another disk may lie in the same upload.
            let used_up = match source {
                FileSource::Url(_) | FileSource::Bundle(_) => true,
                FileSource::Object(_) | FileSource::Snapshot(_) => false,
                FileSource::Upload(_) => {
                    let mut left = task.disks.iter().filter(|disk| disk.made.is_none());
                    left.all(|disk| disk.source != source)
                }
            };
            if let (FileSource::Upload(upload), true) = (source, used_up) {
                uploads::remove(tx, upload)?;
            }
            went_on(tx, &mut task)?;
            Ok(used_up)
        });
        let used_up = recorded.await?;
        // From here the snapshot's record holds the content.
        drop(sealed);
        self.transfers.tell();
        tracing::info!(task = %id, disk = n, new_bytes, "imported");
        Ok(used_up)
    }

    /// Writes down which step an import is at.
    pub(super) async fn say(&self, task: &Task, message: &'static str) -> Result<()> {
        let id = task.id;
        let said = self.records.commit(move |tx| {
            let mut task = import_tasks::active(tx, id)?;
            message.clone_into(&mut task.message);
            import_tasks::put(tx, &task)
        });
        said.await?;
        self.transfers.tell();
        Ok(())
    }
}

/// Records a task one of whose disks has become a snapshot.
pub(super) fn went_on(tx: &mut Tx<'_>, task: &mut Task) -> Result<(), TxError<StorageError>> {
    if task.is_converted() && task.image.is_none() {
        task.state = TaskState::Completed;
        "completed".clone_into(&mut task.message);
        task.ended_ms = tx.now_ms();
    } else if task.is_converted() {
        "preparing ami".clone_into(&mut task.message);
    }
    import_tasks::put(tx, task)
}
