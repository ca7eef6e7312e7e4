//! Images become files in a bucket of their account's.

use std::{fs::File, sync::Arc};

use vmint_ids::{AccountId, ExportTaskId, ImageId, SnapshotId};
use vmint_images::bundle::{self, Registration};
use vmint_store::{Asked, Read, TxError};

use super::export::finished;
use crate::{
    ObjectError, OverQuota, Result, Storage, StorageError,
    export_task::{
        Delivery, ExportFormat, ExportName, ExportTask, MAX_STORED_BYTES, MAX_STORING_BYTES,
    },
    import_task::{MAX_DISKS, TaskState},
    store::{exports, objects},
    tag::Tags,
    transfers::Job,
};

/// An image that is to be written into a bucket.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) image: ImageId,
    pub(crate) registration: Registration,
    /// The root disk first.
    pub(crate) disks: Vec<SnapshotId>,
    pub(crate) format: ExportFormat,
    pub(crate) to: Delivery,
    pub(crate) tags: Tags,
}

impl Storage {
    /// Begins to write an image into a bucket.
    pub(crate) async fn start_image_export(
        &self,
        account: AccountId,
        outgoing: Outgoing,
        asked: Asked,
    ) -> Result<ExportTask> {
        let Outgoing { image, mut registration, disks, format, to, tags } = outgoing;
        self.note_seals(account, &mut registration, &disks)?;
        let most = match format {
            ExportFormat::Bundle => bundle::MAX_DISKS,
            ExportFormat::Raw | ExportFormat::Vmdk | ExportFormat::Vhd => MAX_DISKS,
            ExportFormat::Qcow2 | ExportFormat::Ova => {
                return Err(StorageError::Invalid {
                    field: "format",
                    what: "format",
                    value: format.to_string(),
                    rule: "use raw, vmdk, vhd or bundle".to_owned(),
                });
            }
        };
        if disks.is_empty() || disks.len() > most {
            let why = "it has no disk with data, or too many";
            return Err(StorageError::NotSaved { id: image, why });
        }
        let around = Some((image, registration));
        self.begin_export(account, disks, format, around, Some((to, tags)), asked).await
    }

    /// Writes an export's files one after the other and puts each into its bucket.
    pub(super) async fn deliver(
        &self,
        task: &ExportTask,
        to: &Delivery,
        job: &Arc<Job>,
    ) -> Result<()> {
        let (mut bytes, mut roots) = (0, Vec::new());
        let (account, contents) = (task.account, task.contents());
        let all = task.disk_bytes().max(1);
        let mut before = 0;
        for (n, key) in task.keys().into_iter().enumerate() {
            self.say_of_export(task.id, "converting").await?;
            let turn = self.heavy.acquire().await.map_err(|_| StorageError::Damaged)?;
            let (storage, writing, job) = (self.clone(), task.clone(), job.clone());
            let content = contents.get(n).copied().ok_or(StorageError::Damaged)?;
            let path = self.transfers.export(task.id);
            let at = path.clone();
            let written = Self::blocking(move || {
                if let Some(dir) = at.parent() {
                    std::fs::create_dir_all(dir)?;
                }
                let file = File::create(&at)?;
                if writing.format == ExportFormat::Bundle {
                    let (file, roots) = storage.write_bundle(&writing, file, &job)?;
                    return Ok((finished(&file, &at)?, roots));
                }
                let watch = |done: u64| {
                    job.at((before + done).saturating_mul(100) / all);
                    !job.stop.is_cancelled()
                };
                let file = storage.write_disk(&writing, &content, file, &watch)?;
                Ok((finished(&file, &at)?, Vec::new()))
            });
            let (length, called) = written.await?;
            drop(turn);
            self.say_of_export(task.id, "exporting").await?;
            self.file_to_object(account, &to.bucket, &key, path).await?;
            bytes += length;
            before += content.size_bytes;
            roots.extend(called);
        }
        self.end_export(task.id, Ok((bytes, roots))).await;
        Ok(())
    }

    /// Takes away what an export that is not to be has put into its bucket.
    pub(super) async fn clear_away(&self, id: ExportTaskId) {
        if let Err(error) = self.try_clear_away(id).await {
            // Done again at the next start.
            tracing::error!(task = %id, error = %vmint_rpc::chain(&error), "its files stay for now");
        }
    }

    async fn try_clear_away(&self, id: ExportTaskId) -> Result<()> {
        let Some(task) = exports::find(self.records.store(), id)? else { return Ok(()) };
        let Some(to) = task.to.clone().filter(|_| task.state == TaskState::Deleting) else {
            return Ok(());
        };
        // A whole image is one file, which comes last: nothing is there before.
        if let ExportName::Disks(_) = task.name() {
            let keys = task.keys().into_iter().map(|key| key.parse());
            let keys = keys.collect::<Result<_, _>>().map_err(|_| StorageError::Damaged)?;
            match self.delete_objects(to.bucket, keys, task.account).await {
                Ok(())
                | Err(StorageError::Object(
                    ObjectError::NoSuchBucket { .. } | ObjectError::BucketDenied { .. },
                )) => {}
                Err(error) => return Err(error),
            }
        }
        let cleared = self.records.commit(move |tx| {
            let found = exports::find(tx, id).map_err(TxError::Refused)?;
            if let Some(mut task) = found.filter(|task| task.state == TaskState::Deleting) {
                task.state = TaskState::Deleted;
                exports::put(tx, &task)?;
            }
            Ok(())
        });
        cleared.await?;
        self.transfers.tell();
        Ok(())
    }

    /// Writes down which step an export is at.
    async fn say_of_export(&self, id: ExportTaskId, message: &'static str) -> Result<()> {
        let said = self.records.commit(move |tx| {
            let mut task = exports::active(tx, id).map_err(TxError::Refused)?;
            message.clone_into(&mut task.message);
            exports::put(tx, &task)
        });
        said.await?;
        self.transfers.tell();
        Ok(())
    }
}

/// That a new export may go where it is to, beside those that are open.
pub(super) fn may_deliver(read: &impl Read, task: &ExportTask, open: &[ExportTask]) -> Result<()> {
    let Some(to) = &task.to else { return Ok(()) };
    objects::bucket(read, &to.bucket, task.account)?;
    for key in task.keys() {
        let key = key.parse().map_err(|why| StorageError::Object(ObjectError::Key { why }))?;
        if objects::object(read, &to.bucket, &key)?.is_some() {
            let key = key.to_string();
            return Err(StorageError::Object(ObjectError::AlreadyThere { key }));
        }
    }
    let ExportName::Whole(_) = task.name() else { return Ok(()) };
    let storing = |other: &&ExportTask| {
        matches!(other.name(), ExportName::Whole(_)) && other.state == TaskState::Active
    };
    let storing = open.iter().filter(storing);
    let mut wanted = task.disk_bytes();
    let image = task.image.as_ref().map(|image| image.id);
    if let Some(id) = image.filter(|_| wanted > MAX_STORED_BYTES) {
        let why = "its disks have more than 5,000 GB";
        return Err(StorageError::NotSaved { id, why });
    }
    for other in storing {
        wanted += other.disk_bytes();
        if other.to == task.to && other.keys() == task.keys() {
            let key = task.keys().concat();
            return Err(StorageError::Object(ObjectError::AlreadyThere { key }));
        }
    }
    if wanted > MAX_STORING_BYTES {
        let (what, limit) = ("bytes of images that are being stored", MAX_STORING_BYTES);
        return Err(OverQuota { what, wanted, limit }.into());
    }
    Ok(())
}
