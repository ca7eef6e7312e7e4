//! What can be done with buckets and objects.

mod buckets;
mod copy;
mod file;
mod list;
mod multipart;
mod put;
mod read;
mod source;
mod whole;

use std::{collections::HashSet, path::PathBuf};

use vmint_store::TxError;

use crate::{
    Result, Storage, StorageError,
    object::{FileId, Segment, hex},
    store::objects,
};

pub(crate) use copy::Original;
pub(crate) use list::{Listed, Listing};
pub(crate) use multipart::Begun;
pub(crate) use put::{NewObject, Receiving};
pub(crate) use source::ObjectFile;
pub(in crate::ops) use whole::Whole;

/// Parts that one commit removes.
const PARTS_AT_ONCE: usize = 60;

/// What the ledger keeps.
#[derive(Clone, PartialEq, prost::Message)]
struct Done {
    #[prost(string, tag = "1")]
    text: String,
}

impl Storage {
    fn objects_dir(&self) -> PathBuf {
        self.config.service.data.join("objects")
    }

    fn object_file(&self, id: FileId) -> PathBuf {
        self.objects_dir().join(hex(&id))
    }

    /// Removes files that no record names any more.
    pub(in crate::ops) async fn drop_segments(&self, segments: Vec<Segment>) {
        for segment in segments {
            self.drop_file(self.object_file(segment.file)).await;
        }
    }

    /// Removes files and parts that nothing needs. At the start only: what is
    /// being written has no record yet.
    pub(crate) async fn restore_objects(&self) -> Result<()> {
        let storage = self.clone();
        let orphans = Self::blocking(move || {
            let (read, dir) = (storage.records.store(), storage.objects_dir());
            let mut needed = HashSet::new();
            objects::files(read, |id| {
                needed.insert(storage.object_file(id));
            })?;
            std::fs::create_dir_all(&dir)?;
            for entry in std::fs::read_dir(&dir)? {
                let path = entry?.path();
                if !needed.contains(&path) {
                    tracing::info!(path = %path.display(), "has no record; removed");
                    std::fs::remove_file(path)?;
                }
            }
            objects::orphans(read)
        })
        .await?;
        for id in orphans {
            self.drop_part_records(&id).await?;
        }
        Ok(())
    }

    /// Removes the records of an ended multipart upload's parts; answers what
    /// they named.
    async fn drop_part_records(&self, id: &str) -> Result<Vec<Segment>> {
        let mut all = Vec::new();
        loop {
            let id = id.to_owned();
            let removed = self.records.commit(move |tx| {
                let parts = objects::parts(tx, &id, 0, PARTS_AT_ONCE).map_err(TxError::Refused)?;
                for part in &parts {
                    objects::remove_part(tx, &id, part.number)?;
                }
                Ok(parts)
            });
            let removed = removed.await?;
            if removed.is_empty() {
                return Ok(all);
            }
            all.extend(removed.into_iter().map(|part| part.segment));
        }
    }
}

fn signed(bytes: u64) -> Result<i64> {
    i64::try_from(bytes).map_err(|_| StorageError::Damaged)
}
