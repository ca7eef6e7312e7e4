use std::{fs::File, os::unix::fs::FileExt as _};

use tokio::sync::mpsc;
use vmint_ids::AccountId;

use crate::{
    ObjectError, Result, Storage, StorageError,
    object::{BucketName, Object, ObjectKey, ObjectName, Wanted},
    store::objects,
};

/// What is read at a time.
const PIECE: usize = 256 << 10;
/// Files of one object that are held open, so that it is read whole although
/// it is replaced meanwhile.
const OPEN: usize = 64;

/// An object that is being read: its record, where reading begins and how far
/// it goes, and the content.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) object: Object,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) pieces: mpsc::Receiver<Result<Vec<u8>>>,
}

impl Storage {
    /// An object of a bucket of one's own.
    pub(crate) fn object(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        account: AccountId,
    ) -> Result<Object> {
        let at = ObjectName { bucket: bucket.clone(), key: key.clone() };
        objects::named(self.records.store(), &at, account)
    }

    /// Reads an object or a part of it.
    pub(crate) async fn read_object(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        account: AccountId,
        wanted: Wanted,
    ) -> Result<Reading> {
        let object = self.object(bucket, key, account)?;
        let size = object.bytes();
        let (offset, length) =
            wanted.of(size).ok_or(StorageError::Object(ObjectError::NoSuchRange { size }))?;
        let (storage, segments) = (self.clone(), object.segments.clone());
        let opened = Self::blocking(move || {
            let open =
                |segment: &crate::object::Segment| File::open(storage.object_file(segment.file));
            Ok(segments.iter().take(OPEN).map(open).collect::<std::io::Result<Vec<_>>>()?)
        });
        let mut opened = opened.await?.into_iter();
        let (send, pieces) = mpsc::channel(4);
        let (storage, segments) = (self.clone(), object.segments.clone());
        self.tasks.spawn_blocking(move || {
            let (mut skip, mut left) = (offset, length);
            for segment in segments {
                let opened = opened.next().map_or_else(
                    || File::open(storage.object_file(segment.file)),
                    Ok::<_, std::io::Error>,
                );
                if left == 0 {
                    return;
                }
                if skip >= segment.bytes {
                    skip -= segment.bytes;
                    continue;
                }
                let end = segment.bytes.min(skip.saturating_add(left));
                let taken = opened.map_err(StorageError::from).and_then(|file| {
                    send_file(&file, skip, end, &send, || storage.transfers.stop.is_cancelled())
                });
                match taken {
                    Ok(true) => {}
                    // Nobody listens when the caller has gone.
                    Ok(false) => return,
                    Err(error) => {
                        let _gone = send.blocking_send(Err(error));
                        return;
                    }
                }
                left -= end - skip;
                skip = 0;
            }
        });
        Ok(Reading { object, offset, length, pieces })
    }
}

/// Sends a stretch of a file; says whether somebody took all of it.
fn send_file(
    file: &File,
    start: u64,
    end: u64,
    send: &mpsc::Sender<Result<Vec<u8>>>,
    stop: impl Fn() -> bool,
) -> Result<bool> {
    let mut at = start;
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        let mut piece = vec![0; length];
        file.read_exact_at(&mut piece, at)?;
        at += length as u64;
        if stop() || send.blocking_send(Ok(piece)).is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}
