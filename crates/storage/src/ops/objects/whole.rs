//! Objects that are there at once: a file first, records of many of them later.

use std::{fs::File, io::Write as _};

use md5::{Digest as _, Md5};
use vmint_ids::AccountId;
use vmint_store::{Tx, TxError};

use super::signed;
use crate::{
    OverQuota, Result, Storage, StorageError,
    object::{Beside, BucketName, FileId, Object, ObjectKey, Segment, hex},
    store::objects,
};

/// A file of the object area that no record names yet; a restart removes it.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Whole {
    segment: Segment,
    md5: [u8; 16],
}

impl Storage {
    /// Writes a file, durably. Blocks.
    pub(in crate::ops) fn keep_whole(&self, bytes: &[u8]) -> Result<Whole> {
        let mut id = FileId::default();
        getrandom::fill(&mut id).map_err(|error| std::io::Error::other(error.to_string()))?;
        let path = self.object_file(id);
        let written = || {
            let dir = self.objects_dir();
            std::fs::create_dir_all(&dir)?;
            let mut file = File::create_new(&path)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            File::open(dir)?.sync_all()
        };
        if let Err(error) = written() {
            // What is there of it takes the space that was lacking.
            let _gone = std::fs::remove_file(&path);
            return Err(error.into());
        }
        let segment = Segment { file: id, bytes: bytes.len() as u64 };
        Ok(Whole { segment, md5: Md5::digest(bytes).into() })
    }

    /// Refuses what would be beyond the account's quota of objects.
    pub(in crate::ops) fn room_for_object(&self, account: AccountId, more: u64) -> Result<()> {
        let limit = self.config.quota.object_bytes;
        let wanted = objects::held(self.records.store(), account)?.saturating_add(more);
        if wanted > limit {
            return Err(OverQuota { what: "bytes of objects", wanted, limit }.into());
        }
        Ok(())
    }

    /// Removes files that are not to become objects.
    pub(in crate::ops) async fn drop_whole(&self, files: &[Whole]) {
        self.drop_segments(files.iter().map(|file| file.segment).collect()).await;
    }
}

impl Whole {
    /// Makes it an object; what it replaces is to be dropped after the commit.
    pub(in crate::ops) fn put(
        self,
        tx: &mut Tx<'_>,
        account: AccountId,
        bucket: BucketName,
        key: ObjectKey,
        limit: u64,
    ) -> Result<Vec<Segment>, TxError<StorageError>> {
        objects::bucket(tx, &bucket, account).map_err(TxError::Refused)?;
        let before = objects::object(tx, &bucket, &key).map_err(TxError::Refused)?;
        let before = before.map(|object| object.segments).unwrap_or_default();
        let freed = before.iter().map(|segment| segment.bytes).sum();
        let change = signed(self.segment.bytes).map_err(TxError::Refused)?
            - signed(freed).map_err(TxError::Refused)?;
        let object = Object {
            bucket,
            key,
            segments: vec![self.segment],
            etag: hex(&self.md5),
            modified_ms: tx.now_ms(),
            beside: Beside {
                content_type: "application/octet-stream".to_owned(),
                ..Beside::default()
            },
            checksum_algorithm: String::new(),
            checksum: String::new(),
        };
        objects::put_object(tx, &object)?;
        objects::hold(tx, account, change, limit)?;
        Ok(before)
    }
}
