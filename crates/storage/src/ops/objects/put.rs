use std::{
    fs::{self, File},
    io::Write as _,
    sync::Arc,
};

use bytes::Bytes;
use md5::{Digest as _, Md5};
use parking_lot::Mutex;
use vmint_ids::AccountId;
use vmint_store::TxError;

use super::signed;
use crate::{
    ObjectError, Result, Storage, StorageError,
    object::{
        Beside, BucketName, FileId, MAX_PIECE_BYTES, Object, ObjectKey, ObjectPart, Only, Segment,
        hex,
    },
    store::objects,
};

/// What is about to come.
#[derive(Debug, Clone)]
pub(crate) struct NewObject {
    pub(crate) account: AccountId,
    pub(crate) bucket: BucketName,
    pub(crate) key: ObjectKey,
    pub(crate) beside: Beside,
    /// The upload it is a part of, and which.
    pub(crate) part: Option<(String, u32)>,
    /// How much is to come, if that is known.
    pub(crate) bytes: Option<u64>,
    pub(crate) only: Only,
}

impl NewObject {
    /// One that is no part, of any length.
    pub(super) fn whole(
        account: AccountId,
        bucket: BucketName,
        key: ObjectKey,
        beside: Beside,
    ) -> Self {
        Self { account, bucket, key, beside, part: None, bytes: None, only: Only::default() }
    }
}

/// A file that comes.
#[derive(Debug)]
pub(crate) struct Receiving {
    pub(super) new: NewObject,
    pub(super) file: FileId,
    pub(super) to: Arc<Mutex<(File, Md5)>>,
    pub(super) bytes: u64,
}

impl Storage {
    /// Makes room for an object or a part, if it may come at all.
    pub(crate) async fn receive_object(&self, new: NewObject) -> Result<Receiving> {
        let read = self.records.store();
        objects::bucket(read, &new.bucket, new.account)?;
        if let Some((id, _)) = &new.part {
            objects::multipart(read, id, &new.bucket, &new.key, new.account)?;
        }
        if new.part.is_none() {
            new.only.hold(objects::object(read, &new.bucket, &new.key)?.as_ref(), &new.key)?;
        }
        if new.bytes.is_some_and(|bytes| bytes > MAX_PIECE_BYTES) {
            return Err(StorageError::Object(ObjectError::TooLarge { limit: MAX_PIECE_BYTES }));
        }
        let mut file = FileId::default();
        getrandom::fill(&mut file).map_err(|error| std::io::Error::other(error.to_string()))?;
        let path = self.object_file(file);
        let made = Self::blocking(move || {
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir)?;
            }
            Ok(File::create_new(&path)?)
        });
        let to = Arc::new(Mutex::new((made.await?, Md5::new())));
        Ok(Receiving { new, file, to, bytes: 0 })
    }

    /// Takes what comes next.
    pub(crate) async fn take_content(&self, to: &mut Receiving, content: Bytes) -> Result<()> {
        to.bytes += content.len() as u64;
        if to.bytes > to.new.bytes.unwrap_or(MAX_PIECE_BYTES) {
            return Err(match to.new.bytes {
                Some(_) => StorageError::Sequence("more came than was said"),
                None => StorageError::Object(ObjectError::TooLarge { limit: MAX_PIECE_BYTES }),
            });
        }
        let into = to.to.clone();
        Self::blocking(move || {
            let (file, md5) = &mut *into.lock();
            md5.update(&content);
            Ok(file.write_all(&content)?)
        })
        .await
    }

    /// Keeps what came for good: as an object, or as a part of one.
    pub(crate) async fn finish_object(
        &self,
        from: &Receiving,
        checksum_algorithm: String,
        checksum: String,
    ) -> Result<Object> {
        if from.new.bytes.is_some_and(|bytes| bytes != from.bytes) {
            return Err(StorageError::Sequence("less came than was said"));
        }
        let (to, dir) = (from.to.clone(), self.objects_dir());
        let md5 = Self::blocking(move || {
            let (file, md5) = &*to.lock();
            file.sync_all()?;
            File::open(dir)?.sync_all()?;
            Ok(<[u8; 16]>::from(md5.clone().finalize()))
        });
        let md5 = md5.await?;
        let segment = Segment { file: from.file, bytes: from.bytes };
        let new = from.new.clone();
        let limit = self.config.quota.object_bytes;
        let kept = self.records.commit(move |tx| {
            let refused = TxError::Refused;
            objects::bucket(tx, &new.bucket, new.account).map_err(refused)?;
            let object = Object {
                bucket: new.bucket,
                key: new.key,
                segments: vec![segment],
                etag: hex(&md5),
                modified_ms: tx.now_ms(),
                beside: new.beside,
                checksum_algorithm,
                checksum,
            };
            let before = if let Some((id, number)) = &new.part {
                objects::multipart(tx, id, &object.bucket, &object.key, new.account)
                    .map_err(refused)?;
                let before = objects::part(tx, id, *number).map_err(refused)?;
                let modified_ms = object.modified_ms;
                let part = ObjectPart { number: *number, segment, md5, modified_ms };
                objects::put_part(tx, id, &part)?;
                before.map(|part| vec![part.segment])
            } else {
                let before = objects::object(tx, &object.bucket, &object.key).map_err(refused)?;
                new.only.hold(before.as_ref(), &object.key).map_err(|e| refused(e.into()))?;
                objects::put_object(tx, &object)?;
                before.map(|object| object.segments)
            };
            let before = before.unwrap_or_default();
            let freed = before.iter().map(|segment| segment.bytes).sum();
            let change =
                signed(segment.bytes).map_err(refused)? - signed(freed).map_err(refused)?;
            objects::hold(tx, new.account, change, limit)?;
            Ok((object, before))
        });
        let (object, before) = kept.await?;
        self.drop_segments(before).await;
        Ok(object)
    }

    /// Lets go of what came and is not to be kept.
    pub(crate) async fn give_up(&self, from: &Receiving) {
        self.drop_file(self.object_file(from.file)).await;
    }
}
