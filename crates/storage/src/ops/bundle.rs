//! Images as bundles: written with all their disks, and looked into.

use std::{fs::File, io};

use vmint_blocks::{BLOCK_BYTES, BlocksError, Names, Outline, REGION_BYTES, Root, Tree};
use vmint_ids::{AccountId, ImageId, KmsKeyId, SnapshotId, UploadId};
use vmint_images::{
    Limits,
    bundle::{self, Registration},
    write::{BundleWriter, MAX_OVA_DISKS},
};
use vmint_store::Asked;

use super::objects::ObjectFile;
use crate::{
    Content, Result, Storage, StorageError,
    export_task::{ExportFormat, ExportTask},
    object::ObjectName,
    store::{keys, objects, snapshots, uploads},
    transfers::Job,
};

/// Stretches looked for at once.
const REGIONS: usize = 64;

impl Storage {
    /// Begins to write an image as a bundle or an OVA; the first of its disks
    /// is the root.
    pub(crate) async fn start_bundle(
        &self,
        account: AccountId,
        format: ExportFormat,
        (image, mut registration): (ImageId, Registration),
        disks: Vec<SnapshotId>,
        asked: Asked,
    ) -> Result<ExportTask> {
        self.note_seals(account, &mut registration, &disks)?;
        let (most, why) = match format {
            ExportFormat::Bundle => {
                (bundle::MAX_DISKS, "it has no disk with data, or more than 64")
            }
            ExportFormat::Ova => (MAX_OVA_DISKS, "it has no disk with data, or more than 21"),
            _ => (0, "only a bundle or an OVA holds an image"),
        };
        if disks.is_empty() || disks.len() > most {
            return Err(StorageError::NotSaved { id: image, why });
        }
        let around = Some((image, registration));
        self.begin_export(account, disks, format, around, None, asked).await
    }

    /// Says of each device what its disk is encrypted under, if it is.
    pub(super) fn note_seals(
        &self,
        account: AccountId,
        registration: &mut Registration,
        disks: &[SnapshotId],
    ) -> Result<()> {
        for mapping in &mut registration.mappings {
            let Some(id) = mapping.disk.and_then(|disk| disks.get(disk)) else { continue };
            let found = snapshots::owned(self.records.store(), *id, account)?;
            mapping.encrypted = found.seal.is_some();
            mapping.kms_key_id = found.seal.map(|seal| seal.key.to_string()).unwrap_or_default();
        }
        Ok(())
    }

    /// Leaves out the keys that are not the account's here, or may not be used.
    fn known_keys(&self, account: AccountId, registration: &mut Registration) {
        let read = self.records.store();
        for mapping in &mut registration.mappings {
            let key = mapping.kms_key_id.parse().ok().filter(|key| {
                keys::owned(read, *key, account).is_ok() && keys::usable(read, *key).is_ok()
            });
            mapping.kms_key_id = key.map(|key: KmsKeyId| key.to_string()).unwrap_or_default();
        }
    }

    /// What an upload's bundle says of its image.
    pub(crate) async fn describe_bundle(
        &self,
        account: AccountId,
        upload: UploadId,
    ) -> Result<Registration> {
        let found = uploads::owned(self.records.store(), upload, account)?;
        if !found.is_complete() {
            let missing = found.file_bytes.saturating_sub(found.durable.bytes());
            return Err(StorageError::UploadIncomplete { id: upload, missing });
        }
        let path = self.transfers.upload(upload);
        let note =
            Self::blocking(move || Ok(bundle::describe(File::open(path)?, &Limits::default())?));
        let found = note.await?.image.ok_or_else(|| no_image("upload_id", upload.to_string()));
        let mut found = found?;
        self.known_keys(account, &mut found);
        Ok(found)
    }

    /// What an object's bundle says of its image.
    pub(crate) async fn describe_stored(
        &self,
        account: AccountId,
        at: &ObjectName,
    ) -> Result<Registration> {
        let found = objects::named(self.records.store(), at, account)?;
        let storage = self.clone();
        let note = Self::blocking(move || {
            let file = ObjectFile::open(&storage, &found)?;
            Ok(bundle::describe(file, &Limits::default())?)
        });
        let found = note.await?.image.ok_or_else(|| no_image("object", at.key.to_string()));
        let mut found = found?;
        self.known_keys(account, &mut found);
        Ok(found)
    }

    /// Writes the disks of an export and what is around them; what they are
    /// called wherever they are.
    pub(super) fn write_bundle(
        &self,
        task: &ExportTask,
        file: File,
        job: &Job,
    ) -> Result<(File, Vec<Root>)> {
        let contents = task.contents();
        let all = contents.iter().map(|content| content.size_bytes).sum::<u64>().max(1);
        let mut out = BundleWriter::new(file, &self.staging()?);
        let (mut roots, mut before) = (Vec::new(), 0);
        for content in contents {
            let tree = self.tree(&content)?;
            out.begin_disk(content.size_bytes)?;
            let mut went = |bytes: u64| {
                job.at((before + bytes.min(content.size_bytes)).saturating_mul(100) / all);
                if job.stop.is_cancelled() { Err(StorageError::Cancelled) } else { Ok(()) }
            };
            let root = write_disk(&tree, &mut out, &mut went)?;
            out.end_disk(root.to_bytes())?;
            roots.push(root);
            before += content.size_bytes;
        }
        let registration = task.image.as_ref().map(|image| image.registration.clone());
        Ok((out.finish(registration)?, roots))
    }

    /// What a content is called wherever it is. Reads all of it.
    pub(super) fn open_root(
        &self,
        content: &Content,
        going_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Root> {
        let mut stopped = None;
        let root = self.tree(content)?.root_in(&Names::open(), &mut |_| {
            going_on().map_err(|error| {
                stopped = Some(error);
                BlocksError::Source(io::ErrorKind::Interrupted.into())
            })
        });
        match stopped {
            Some(error) => Err(error),
            None => Ok(root?),
        }
    }
}

fn no_image(field: &'static str, value: String) -> StorageError {
    let rule = "it holds a disk without an image: import it as a snapshot".to_owned();
    StorageError::Invalid { field, what: "bundle", value, rule }
}

/// Writes a disk's chunks; what the disk is called wherever it is.
fn write_disk(
    tree: &Tree,
    out: &mut BundleWriter,
    went: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Root> {
    let names = Names::open();
    let mut outline = Outline::new(names);
    let (mut first, mut bytes) = (0, Vec::new());
    loop {
        let regions = tree.regions(first, REGIONS)?;
        let Some(last) = regions.last() else { return Ok(outline.finish()) };
        first = last + 1;
        for region in regions {
            let Some(leaf) = tree.recast(region, &names)? else { continue };
            outline.leaf(region, &leaf)?;
            for place in &leaf.places {
                let at = place.offset(region);
                // The last chunk of a disk reaches over its end, with zeros.
                let there = usize::try_from(tree.size_bytes().saturating_sub(at));
                let there = there.unwrap_or(usize::MAX).min(place.bytes());
                bytes.clear();
                bytes.resize(place.bytes(), 0);
                tree.read_at(at, &mut bytes[..there])?;
                out.chunk(at / BLOCK_BYTES as u64, &bytes)?;
            }
            went((region + 1) * REGION_BYTES)?;
        }
    }
}
