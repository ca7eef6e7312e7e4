use std::{
    fs::{self, File},
    io::Read as _,
    path::PathBuf,
    sync::Arc,
};

use md5::{Digest as _, Md5};
use parking_lot::Mutex;
use vmint_ids::AccountId;

use super::{NewObject, Receiving};
use crate::{
    ObjectError, Result, Storage, StorageError,
    object::{Beside, BucketName, FileId, Object},
};

const PIECE: usize = 1 << 20;

impl Storage {
    /// Keeps a file of the data directory as an object of `account`, in a
    /// bucket of its own, whatever its length. The file goes there: nothing is
    /// copied.
    pub(crate) async fn file_to_object(
        &self,
        account: AccountId,
        bucket: &BucketName,
        key: &str,
        path: PathBuf,
    ) -> Result<Object> {
        let key = key.parse().map_err(|why| StorageError::Object(ObjectError::Key { why }))?;
        let beside =
            Beside { content_type: "application/octet-stream".to_owned(), ..Beside::default() };
        let new = NewObject::whole(account, bucket.clone(), key, beside);
        let mut file = FileId::default();
        getrandom::fill(&mut file).map_err(|error| std::io::Error::other(error.to_string()))?;
        let (dir, to) = (self.objects_dir(), self.object_file(file));
        let adopted = Self::blocking(move || {
            let (mut from, mut md5, mut bytes) = (File::open(&path)?, Md5::new(), 0);
            let mut piece = vec![0; PIECE];
            loop {
                match from.read(&mut piece)? {
                    0 => break,
                    came => {
                        md5.update(&piece[..came]);
                        bytes += came as u64;
                    }
                }
            }
            fs::create_dir_all(dir)?;
            fs::rename(path, to)?;
            Ok((from, md5, bytes))
        });
        let (from, md5, bytes) = adopted.await?;
        let receiving = Receiving { new, file, to: Arc::new(Mutex::new((from, md5))), bytes };
        let kept = self.finish_object(&receiving, String::new(), String::new()).await;
        if kept.is_err() {
            self.give_up(&receiving).await;
        }
        kept
    }
}
