use md5::{Digest as _, Md5};
use vmint_ids::AccountId;
use vmint_store::{Asked, TxError};

use super::{Done, signed};
use crate::{
    ObjectError, Result, Storage, StorageError,
    object::{
        Beside, BucketName, MAX_MULTIPARTS, MAX_PARTS, MIN_PART_BYTES, Multipart, Object,
        ObjectKey, ObjectPart, Only, hex,
    },
    ops::list::Page,
    store::{LEDGER, objects},
};

/// A multipart upload, and the object it is to become.
#[derive(Debug, Clone)]
pub(crate) struct Begun {
    pub(crate) bucket: BucketName,
    pub(crate) key: ObjectKey,
    pub(crate) id: String,
}

impl Storage {
    /// Begins an object that comes in parts; answers the upload's id.
    pub(crate) async fn start_multipart(
        &self,
        account: AccountId,
        bucket: BucketName,
        key: ObjectKey,
        beside: Beside,
        asked: Asked,
    ) -> Result<String> {
        let mut drawn = [0; 16];
        getrandom::fill(&mut drawn).map_err(|error| std::io::Error::other(error.to_string()))?;
        let begun = self.records.commit(move |tx| {
            LEDGER.once(tx, &asked, |tx| {
                objects::bucket(tx, &bucket, account).map_err(TxError::Refused)?;
                let open = objects::multiparts(tx, account, MAX_MULTIPARTS);
                if open.map_err(TxError::Refused)?.len() >= MAX_MULTIPARTS {
                    let (what, limit) = ("multipart uploads", MAX_MULTIPARTS);
                    return Err(TxError::Refused(StorageError::TooMany { what, limit }));
                }
                let (id, created_ms) = (hex(&drawn), tx.now_ms());
                let upload = Multipart { id: id.clone(), bucket, key, account, created_ms, beside };
                objects::put_multipart(tx, &upload)?;
                Ok(Done { text: id })
            })
        });
        Ok(begun.await?.text)
    }

    /// One page of the parts that have come.
    pub(crate) fn list_parts(
        &self,
        account: AccountId,
        bucket: &BucketName,
        key: &ObjectKey,
        id: &str,
        after: u32,
        size: usize,
    ) -> Result<Page<ObjectPart>> {
        let read = self.records.store();
        objects::bucket(read, bucket, account)?;
        objects::multipart(read, id, bucket, key, account)?;
        Ok(Page::cut(objects::parts(read, id, after, size + 1)?, size))
    }

    /// Makes the named parts one object, and gives the others up.
    pub(crate) async fn complete_multipart(
        &self,
        account: AccountId,
        begun: Begun,
        named: Vec<(u32, String)>,
        only: Only,
        asked: Asked,
    ) -> Result<Object> {
        let Begun { bucket, key, id } = begun;
        let (at, of) = (bucket.clone(), key.clone());
        let (upload, limit) = (id.clone(), self.config.quota.object_bytes);
        // Of the object that it replaces, if this is what does so.
        let before = self.records.commit(move |tx| {
            let mut before = Vec::new();
            LEDGER.once(tx, &asked, |tx| {
                let refused = TxError::Refused;
                let begun = objects::multipart(tx, &id, &bucket, &key, account).map_err(refused)?;
                let came = objects::parts(tx, &id, 0, MAX_PARTS).map_err(refused)?;
                let parts = chosen(&came, &named).map_err(refused)?;
                let object = Object {
                    bucket,
                    key,
                    segments: parts.iter().map(|part| part.segment).collect(),
                    etag: etag(&parts),
                    modified_ms: tx.now_ms(),
                    beside: begun.beside,
                    checksum_algorithm: String::new(),
                    checksum: String::new(),
                };
                let replaced = objects::object(tx, &object.bucket, &object.key).map_err(refused)?;
                only.hold(replaced.as_ref(), &object.key).map_err(|e| refused(e.into()))?;
                before = replaced.map(|object| object.segments).unwrap_or_default();
                let all = came.iter().map(|part| part.segment.bytes).sum::<u64>();
                let freed = before.iter().map(|segment| segment.bytes).sum::<u64>();
                let freed = freed + all.saturating_sub(object.bytes());
                objects::hold(tx, account, -signed(freed).map_err(refused)?, limit)?;
                objects::put_object(tx, &object)?;
                objects::remove_multipart(tx, &id)?;
                Ok(Done::default())
            })?;
            Ok(before)
        });
        let before = before.await?;
        self.drop_segments(before).await;
        let object = self.object(&at, &of, account)?;
        let mut left = self.drop_part_records(&upload).await?;
        left.retain(|segment| !object.segments.contains(segment));
        self.drop_segments(left).await;
        Ok(object)
    }

    /// Gives a multipart upload up.
    pub(crate) async fn abort_multipart(
        &self,
        account: AccountId,
        bucket: &BucketName,
        key: &ObjectKey,
        id: &str,
    ) -> Result<()> {
        let upload = objects::multipart(self.records.store(), id, bucket, key, account)?;
        self.end_multipart(&upload).await
    }

    /// Gives up those that were begun so long ago that nobody comes back.
    pub(crate) async fn expire_multiparts(&self) -> Result<()> {
        let life = self.config.upload_seconds.saturating_mul(1000);
        let before = crate::ops::now_ms().saturating_sub(life);
        let storage = self.clone();
        let old = Self::blocking(move || objects::old_multiparts(storage.records.store(), before));
        for upload in old.await? {
            self.end_multipart(&upload).await?;
        }
        Ok(())
    }

    pub(super) async fn end_multipart(&self, upload: &Multipart) -> Result<()> {
        let (id, account) = (upload.id.clone(), upload.account);
        let ended = self.records.commit(move |tx| {
            let parts = objects::parts(tx, &id, 0, MAX_PARTS).map_err(TxError::Refused)?;
            let bytes = parts.iter().map(|part| part.segment.bytes).sum();
            let change = -signed(bytes).map_err(TxError::Refused)?;
            objects::hold(tx, account, change, u64::MAX)?;
            objects::remove_multipart(tx, &id)
        });
        ended.await?;
        let left = self.drop_part_records(&upload.id).await?;
        self.drop_segments(left).await;
        Ok(())
    }
}

/// The parts that are named, which must be there as they are named and in order.
fn chosen(came: &[ObjectPart], named: &[(u32, String)]) -> Result<Vec<ObjectPart>> {
    if named.is_empty() || named.len() > MAX_PARTS {
        return Err(StorageError::Sequence("name 1 to 1000 parts"));
    }
    if named.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        return Err(StorageError::Object(ObjectError::PartOrder));
    }
    let mut parts = Vec::with_capacity(named.len());
    for (at, (number, etag)) in named.iter().enumerate() {
        let found = came.iter().find(|part| part.number == *number);
        let found = found.filter(|part| hex(&part.md5) == etag.trim_matches('"'));
        let part =
            found.ok_or(StorageError::Object(ObjectError::NoSuchPart { number: *number }))?;
        if at + 1 < named.len() && part.segment.bytes < MIN_PART_BYTES {
            return Err(StorageError::Object(ObjectError::PartTooSmall { number: *number }));
        }
        parts.push(part.clone());
    }
    Ok(parts)
}

/// The MD5 of the parts' MD5s, with their number behind it.
fn etag(parts: &[ObjectPart]) -> String {
    let mut all = Md5::new();
    for part in parts {
        all.update(part.md5);
    }
    format!("{}-{}", hex(&all.finalize()), parts.len())
}
