use std::{fs::File, io, path::Path};

use bytes::Bytes;
use vmint_ids::AccountId;

use super::NewObject;
use crate::{
    ObjectError, Result, Storage, StorageError,
    object::{Beside, BucketName, Object, ObjectKey, Wanted},
};

const PIECE: usize = 1 << 20;

impl Storage {
    /// Writes an object of `account` as a file, durably; answers its length.
    /// What an import begins with.
    pub async fn object_to_file(
        &self,
        account: AccountId,
        bucket: &str,
        key: &str,
        path: &Path,
    ) -> Result<u64> {
        let (bucket, key) = names(bucket, key)?;
        let mut reading = self.read_object(&bucket, &key, account, Wanted::default()).await?;
        let path = path.to_owned();
        let mut file = Self::blocking(move || Ok(File::create(path)?)).await?;
        while let Some(piece) = reading.pieces.recv().await {
            let piece = piece?;
            file = Self::blocking(move || {
                io::Write::write_all(&mut file, &piece)?;
                Ok(file)
            })
            .await?;
        }
        let came = Self::blocking(move || {
            file.sync_all()?;
            Ok(file.metadata()?.len())
        });
        let came = came.await?;
        // Fewer pieces come where storage stops in the midst of it.
        if came == reading.length { Ok(came) } else { Err(StorageError::Cancelled) }
    }

    /// Keeps a file as an object of `account`, in a bucket of its own; answers
    /// the object's etag. What an export ends with.
    pub async fn file_to_object(
        &self,
        account: AccountId,
        bucket: &str,
        key: &str,
        path: &Path,
    ) -> Result<String> {
        let (bucket, key) = names(bucket, key)?;
        let path = path.to_owned();
        let file = Self::blocking(move || Ok(File::open(path)?)).await?;
        let beside =
            Beside { content_type: "application/octet-stream".to_owned(), ..Beside::default() };
        let new = NewObject { account, bucket, key, beside, part: None, bytes: None };
        let mut receiving = self.receive_object(new).await?;
        let kept = self.take_file(&mut receiving, file).await;
        if kept.is_err() {
            self.give_up(&receiving).await;
        }
        Ok(kept?.etag)
    }

    async fn take_file(&self, to: &mut super::Receiving, mut file: File) -> Result<Object> {
        loop {
            let read = Self::blocking(move || {
                let mut piece = vec![0; PIECE];
                let mut filled = 0;
                while filled < PIECE {
                    match io::Read::read(&mut file, &mut piece[filled..])? {
                        0 => break,
                        more => filled += more,
                    }
                }
                piece.truncate(filled);
                Ok((file, piece))
            });
            let (rest, piece) = read.await?;
            if piece.is_empty() {
                return self.finish_object(to, String::new(), String::new()).await;
            }
            self.take_content(to, Bytes::from(piece)).await?;
            file = rest;
        }
    }
}

fn names(bucket: &str, key: &str) -> Result<(BucketName, ObjectKey)> {
    let name = bucket.parse().map_err(|why| {
        let bucket = bucket.chars().take(64).collect();
        StorageError::Object(ObjectError::BucketName { bucket, why })
    })?;
    let key = key.parse().map_err(|why| StorageError::Object(ObjectError::Key { why }))?;
    Ok((name, key))
}
