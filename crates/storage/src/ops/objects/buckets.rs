use vmint_ids::AccountId;
use vmint_store::{Asked, TxError};

use super::Done;
use crate::{
    ObjectError, Result, Storage, StorageError,
    object::{Bucket, BucketName, MAX_BUCKETS},
    ops::list::Page,
    store::{LEDGER, objects},
};

impl Storage {
    /// Makes a bucket; one's own that is there already is the same.
    pub(crate) async fn create_bucket(
        &self,
        name: BucketName,
        account: AccountId,
        asked: Asked,
    ) -> Result<Bucket> {
        let made = name.clone();
        self.records
            .commit(move |tx| {
                LEDGER.once(tx, &asked, |tx| {
                    let found = objects::any_bucket(tx, &name).map_err(TxError::Refused)?;
                    if let Some(bucket) = found {
                        let (bucket, own) = (name.to_string(), bucket.account == account);
                        return Err(TxError::Refused(StorageError::Object(
                            ObjectError::BucketExists { bucket, own },
                        )));
                    }
                    let own = objects::buckets(tx, account, None, MAX_BUCKETS);
                    if own.map_err(TxError::Refused)?.len() >= MAX_BUCKETS {
                        let (what, limit) = ("buckets", MAX_BUCKETS);
                        return Err(TxError::Refused(StorageError::TooMany { what, limit }));
                    }
                    let created_ms = tx.now_ms();
                    objects::put_bucket(tx, &Bucket { name, account, created_ms })?;
                    Ok(Done::default())
                })
            })
            .await?;
        self.bucket(&made, account)
    }

    pub(crate) fn bucket(&self, name: &BucketName, account: AccountId) -> Result<Bucket> {
        objects::bucket(self.records.store(), name, account)
    }

    pub(crate) fn list_buckets(
        &self,
        account: AccountId,
        after: Option<&String>,
        size: usize,
    ) -> Result<Page<Bucket>> {
        let found = objects::buckets(self.records.store(), account, after, size + 1)?;
        Ok(Page::cut(found, size))
    }

    /// Deletes a bucket that nothing is in.
    pub(crate) async fn delete_bucket(
        &self,
        name: BucketName,
        account: AccountId,
        asked: Asked,
    ) -> Result<()> {
        let deleted = self.records.commit(move |tx| {
            LEDGER.once(tx, &asked, |tx| {
                objects::bucket(tx, &name, account).map_err(TxError::Refused)?;
                if !objects::is_empty(tx, &name).map_err(TxError::Refused)? {
                    let bucket = name.to_string();
                    return Err(TxError::Refused(StorageError::Object(
                        ObjectError::BucketNotEmpty { bucket },
                    )));
                }
                objects::remove_bucket(tx, &name)?;
                Ok(Done::default())
            })
        });
        deleted.await.map(|_| ())
    }
}
