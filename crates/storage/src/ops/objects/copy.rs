use std::fs::{self, File};

use vmint_store::TxError;

use super::{NewObject, signed};
use crate::{
    ObjectError, Result, Storage, StorageError,
    object::{FileId, Object, ObjectName, Segment, Wanted},
    store::objects,
};

/// What is copied.
#[derive(Debug, Clone)]
pub(crate) struct Original {
    pub(crate) at: ObjectName,
    /// What its etag must be; empty for any.
    pub(crate) etag: String,
    /// Which part, where a part is made of it.
    pub(crate) wanted: Wanted,
    /// What stands beside it is copied too.
    pub(crate) beside: bool,
}

impl Original {
    fn admits(&self, found: &Object) -> Result<()> {
        if self.etag.is_empty() || self.etag == found.etag {
            return Ok(());
        }
        let key = self.at.key.to_string();
        Err(StorageError::Object(ObjectError::OtherThere { key }))
    }
}

impl Storage {
    /// Makes an object or a part of another object's content.
    pub(crate) async fn copy_object(&self, from: Original, new: NewObject) -> Result<Object> {
        if new.part.is_some() {
            return self.copy_part(from, new).await;
        }
        let read = self.records.store();
        let found = objects::named(read, &from.at, new.account)?;
        from.admits(&found)?;
        objects::bucket(read, &new.bucket, new.account)?;
        new.only.hold(objects::object(read, &new.bucket, &new.key)?.as_ref(), &new.key)?;
        let key = from.at.key.to_string();
        let segments = self.link(found.segments.clone()).await.map_err(|error| match error {
            // Replaced or deleted in the meantime.
            StorageError::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                StorageError::Object(ObjectError::NoSuchObject { key })
            }
            other => other,
        })?;
        let (made, limit) = (segments.clone(), self.config.quota.object_bytes);
        let kept = self.records.commit(move |tx| {
            let refused = TxError::Refused;
            objects::bucket(tx, &new.bucket, new.account).map_err(refused)?;
            let before = objects::object(tx, &new.bucket, &new.key).map_err(refused)?;
            new.only.hold(before.as_ref(), &new.key).map_err(|e| refused(e.into()))?;
            let object = Object {
                bucket: new.bucket,
                key: new.key,
                segments,
                modified_ms: tx.now_ms(),
                beside: if from.beside { found.beside.clone() } else { new.beside },
                ..found
            };
            objects::put_object(tx, &object)?;
            let freed = before.as_ref().map_or(0, Object::bytes);
            let change =
                signed(object.bytes()).map_err(refused)? - signed(freed).map_err(refused)?;
            objects::hold(tx, new.account, change, limit)?;
            Ok((object, before.map(|object| object.segments).unwrap_or_default()))
        });
        match kept.await {
            Ok((object, before)) => {
                self.drop_segments(before).await;
                Ok(object)
            }
            Err(error) => {
                self.drop_segments(made).await;
                Err(error)
            }
        }
    }

    /// The same files under names of their own.
    async fn link(&self, segments: Vec<Segment>) -> Result<Vec<Segment>> {
        let storage = self.clone();
        Self::blocking(move || {
            let mut linked = Vec::with_capacity(segments.len());
            for segment in segments {
                let mut file = FileId::default();
                getrandom::fill(&mut file)
                    .map_err(|error| std::io::Error::other(error.to_string()))?;
                let made =
                    fs::hard_link(storage.object_file(segment.file), storage.object_file(file));
                if let Err(error) = made {
                    for Segment { file, .. } in linked {
                        // What stays has no record and goes at the next start.
                        let _ = fs::remove_file(storage.object_file(file));
                    }
                    return Err(error.into());
                }
                linked.push(Segment { file, ..segment });
            }
            File::open(storage.objects_dir())?.sync_all()?;
            Ok(linked)
        })
        .await
    }

    async fn copy_part(&self, from: Original, new: NewObject) -> Result<Object> {
        let ObjectName { bucket, key } = &from.at;
        let mut reading = self.read_object(bucket, key, new.account, from.wanted).await?;
        from.admits(&reading.object)?;
        let new = NewObject { bytes: Some(reading.length), ..new };
        let mut to = self.receive_object(new).await?;
        let came = async {
            while let Some(piece) = reading.pieces.recv().await {
                self.take_content(&mut to, piece?.into()).await?;
            }
            self.finish_object(&to, String::new(), String::new()).await
        };
        let kept = came.await;
        if kept.is_err() {
            self.give_up(&to).await;
        }
        kept
    }
}
