//! A disk becomes parts, and the parts objects.

use std::{io, sync::Arc};

use sha2::{Digest as _, Sha256};
use vmint_images::instance_bundle::{MAX_PARTS, Packed, Part, pack, signed};

use super::make::let_go_of;
use crate::{
    InstanceBundleError, Result, Storage, StorageError,
    bundle_seal::{PartKey, Signer},
    instance_bundle::{BundleState, BundleTask},
    object::ObjectKey,
    ops::objects::Whole,
    store::{instance_bundles, objects},
    stored::Stored,
    transfers::Job,
};

/// Objects that one commit puts or removes.
const AT_ONCE: usize = 40;

/// A disk whose parts lie on the host and are no objects yet.
pub(super) struct Parts {
    packed: Packed,
    wrapped_key: Vec<u8>,
    /// Of the first part that is no object yet, and those behind it.
    files: Vec<Whole>,
    listed: Vec<Part>,
}

impl Storage {
    /// Compresses and encrypts the disk; its parts are files that no record
    /// names, so that a crash leaves nothing of them.
    pub(super) async fn pack_parts(&self, task: &BundleTask, job: &Arc<Job>) -> Result<Parts> {
        let (storage, task, job) = (self.clone(), task.clone(), job.clone());
        let packed = Self::blocking(move || {
            let (mut files, mut parts) = (Vec::new(), Vec::new());
            let packed = storage.pack_into(&task, &job, &mut files, &mut parts);
            Ok(match packed {
                Ok((packed, wrapped_key)) => {
                    Ok(Parts { packed, wrapped_key, files, listed: parts })
                }
                Err(error) => Err((error, files)),
            })
        });
        match packed.await? {
            Ok(parts) => Ok(parts),
            Err((error, files)) => {
                self.drop_whole(&files).await;
                Err(error)
            }
        }
    }

    fn pack_into(
        &self,
        task: &BundleTask,
        job: &Job,
        files: &mut Vec<Whole>,
        parts: &mut Vec<Part>,
    ) -> Result<(Packed, Vec<u8>)> {
        let content = task.held.as_ref().ok_or(StorageError::Damaged)?.content;
        let mut secret = [0; PartKey::BYTES];
        getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
        let wrapped = self.keys.provider.wrap(task.key, &PartKey::context(task.id), &secret);
        let wrapped = wrapped.map_err(StorageError::Provider)?;
        let key = PartKey::new(task.id, &secret)?;
        let disk = Stored(self.tree(&content)?);
        let watch = |at: u64| {
            job.at(at.saturating_mul(100) / content.size_bytes.max(1));
            !job.stop.is_cancelled()
        };
        let (mut stopped, mut there) = (None, 0);
        let packed = pack(&disk, &watch, &mut |mut part| {
            let mut keep = || {
                if parts.len() >= MAX_PARTS {
                    let bytes = content.size_bytes;
                    return Err(StorageError::from(InstanceBundleError::Size { bytes }));
                }
                key.seal(parts.len(), &mut part)?;
                there += part.len() as u64;
                self.room_for_object(task.account, there)?;
                let digest = Sha256::digest(&part).into();
                files.push(self.keep_whole(&part)?);
                parts.push(Part { bytes: part.len() as u64, digest });
                Ok(())
            };
            keep().map_err(|error| {
                stopped = Some(error);
                io::ErrorKind::Other.into()
            })
        });
        match stopped {
            Some(error) => Err(error),
            None => Ok((packed?, wrapped)),
        }
    }

    /// Makes objects of the parts and, with the end of the task, the manifest.
    pub(super) async fn store_bundle(
        &self,
        task: &BundleTask,
        packed: &mut Parts,
        job: &Arc<Job>,
    ) -> Result<()> {
        let mut manifest = task.head(packed.wrapped_key.clone());
        (manifest.size_bytes, manifest.digest) = (packed.packed.size_bytes, packed.packed.digest);
        manifest.parts.clone_from(&packed.listed);
        let signer = Signer::of(&self.secret)?;
        let text = signed(&manifest, |body| signer.sign(body))?;
        let mut index = 0;
        while !packed.files.is_empty() {
            if job.stop.is_cancelled() {
                return Err(StorageError::Cancelled);
            }
            let count = packed.files.len().min(AT_ONCE);
            let part = |(n, file): (usize, &Whole)| {
                (task.location.part_key(task.location.name(), index + n), *file)
            };
            let some = packed.files[..count].iter().enumerate().map(part);
            let some: Vec<(ObjectKey, Whole)> = some.collect();
            let (id, limit) = (task.id, self.config.quota.object_bytes);
            let kept = self.records.commit(move |tx| {
                let task = instance_bundles::going(tx, id)?;
                let mut before = Vec::new();
                for (key, file) in some {
                    let bucket = task.location.bucket.clone();
                    before.extend(file.put(tx, task.account, bucket, key, limit)?);
                }
                Ok(before)
            });
            let before = kept.await?;
            // Objects from here on.
            packed.files.drain(..count);
            index += count;
            self.drop_segments(before).await;
        }
        let storage = self.clone();
        let file = Self::blocking(move || storage.keep_whole(&text)).await?;
        let (id, limit) = (task.id, self.config.quota.object_bytes);
        let (bytes, parts) = (manifest.bundled_bytes(), manifest.parts.len() as u64);
        let ended = self.records.commit(move |tx| {
            let mut task = instance_bundles::going(tx, id)?;
            let (bucket, key) = (task.location.bucket.clone(), task.location.manifest_key());
            let before = file.put(tx, task.account, bucket, key, limit)?;
            task.state = BundleState::Complete;
            (task.bundled_bytes, task.parts) = (bytes, parts);
            task.ended_ms = tx.now_ms();
            instance_bundles::put(tx, &task)?;
            let_go_of(tx, task.held.as_ref())?;
            Ok(before)
        });
        match ended.await {
            Ok(before) => self.drop_segments(before).await,
            Err(error) => {
                self.drop_whole(&[file]).await;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Removes files of parts that did not become objects.
    pub(super) async fn drop_parts(&self, packed: &Parts) {
        self.drop_whole(&packed.files).await;
    }

    /// Removes the parts of a task that is not going to end well. There were
    /// none when it began.
    pub(super) async fn clear_parts(&self, task: &BundleTask) -> Result<()> {
        let now = instance_bundles::find(self.records.store(), task.id)?;
        // Before that there is nothing of it in the bucket.
        let may_be = |task: &BundleTask| {
            matches!(task.state, BundleState::Storing | BundleState::Cancelling)
        };
        if !now.as_ref().is_some_and(may_be) {
            return Ok(());
        }
        let (bucket, begin) = (&task.location.bucket, task.location.parts_begin());
        loop {
            let read = self.records.store();
            let found = objects::objects(read, bucket, &begin, &objects::After::Nothing, AT_ONCE)?;
            if found.is_empty() {
                return Ok(());
            }
            let keys = found.into_iter().map(|object| object.key).collect();
            match self.delete_objects(bucket.clone(), keys, task.account).await {
                // With its bucket it has gone.
                Err(StorageError::Object(_)) => return Ok(()),
                deleted => deleted?,
            }
        }
    }
}
