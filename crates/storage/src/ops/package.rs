//! Packages of several disks: counted before they are imported, and written.

use std::fs::File;

use vmint_ids::AccountId;
use vmint_images::{
    Limits,
    write::{self, Export, Machine, Sparse},
};

use super::objects::ObjectFile;
use crate::{
    Content, Result, Storage, StorageError,
    export_task::ExportTask,
    import_task::FileSource,
    store::{objects, uploads},
    stored::Stored,
    transfers::Job,
};

/// What a package's machine has; whoever runs it changes it.
const CPUS: u32 = 1;
const MEMORY_MIB: u32 = 1024;

impl Storage {
    /// How many disks an import finds in a file that is there; 1 where that is
    /// known only once it was fetched.
    pub(crate) async fn count_disks(
        &self,
        account: AccountId,
        source: &FileSource,
    ) -> Result<usize> {
        let limits = Limits::default();
        match source {
            FileSource::Upload(id) => {
                let found = uploads::owned(self.records.store(), *id, account)?;
                if !found.is_complete() {
                    let missing = found.file_bytes.saturating_sub(found.durable.bytes());
                    return Err(StorageError::UploadIncomplete { id: *id, missing });
                }
                let path = self.transfers.upload(*id);
                Self::blocking(move || Ok(vmint_images::disks(&File::open(path)?, &limits)?)).await
            }
            FileSource::Object(name) => {
                let found = objects::named(self.records.store(), name, account)?;
                let storage = self.clone();
                let count = move || {
                    let file = ObjectFile::open(&storage, &found)?;
                    Ok(vmint_images::disks(&file, &limits)?)
                };
                Self::blocking(count).await
            }
            FileSource::Url(_) | FileSource::Snapshot(_) | FileSource::Bundle(_) => Ok(1),
        }
    }

    /// Writes all disks of an export as one OVA, the root disk first.
    pub(super) fn write_package(&self, task: &ExportTask, file: File, job: &Job) -> Result<File> {
        let contents = task.contents();
        let all = contents.iter().map(|content| content.size_bytes).sum::<u64>().max(1);
        let sources = contents.iter().map(|content| Ok(Stored(self.tree(content)?)));
        let sources = sources.collect::<Result<Vec<_>>>()?;
        let mut before = 0;
        let watches = contents.iter().map(|content| {
            let (start, size) = (before, content.size_bytes);
            before += size;
            move |done: u64| {
                job.at((start + done.min(size)).saturating_mul(100) / all);
                !job.stop.is_cancelled()
            }
        });
        let watches: Vec<_> = watches.collect();
        let exports = sources.iter().zip(&contents).zip(&watches);
        let exports: Vec<_> = exports
            .map(|((source, content), watch)| Export { source, id: named(content), watch })
            .collect();
        let name = task.image.as_ref().map(|image| image.id.to_string());
        let name = name.unwrap_or_else(|| task.snapshot.to_string());
        let machine = Machine { name: &name, cpus: CPUS, memory_mib: MEMORY_MIB };
        let mut out = Sparse::new(file);
        write::ova(&exports, &machine, &self.staging()?, &mut out)?;
        Ok(out.finish()?)
    }
}

/// Named after the content, so that equal contents are equal files.
pub(super) fn named(content: &Content) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&blake3::hash(&content.root.to_bytes()).as_bytes()[..16]);
    id
}
