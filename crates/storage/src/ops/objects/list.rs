use vmint_ids::AccountId;
use vmint_store::TxError;

use super::signed;
use crate::{
    Result, Storage,
    object::{BucketName, Object, ObjectKey},
    store::objects::{self, After},
};

/// Keys deleted in one commit.
const KEYS_AT_ONCE: usize = 40;
/// Records looked at for one page.
const LOOKED_AT: usize = 20_000;

/// What to list.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    pub(crate) prefix: String,
    /// Empty for none.
    pub(crate) delimiter: String,
    pub(crate) after: After,
    pub(crate) size: usize,
}

/// One page, and where the next begins.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub(crate) objects: Vec<Object>,
    pub(crate) common: Vec<String>,
    pub(crate) next: Option<After>,
}

impl Storage {
    /// One page of a bucket of one's own.
    pub(crate) fn list_objects(
        &self,
        bucket: &BucketName,
        account: AccountId,
        listing: &Listing,
    ) -> Result<Listed> {
        let read = self.records.store();
        objects::bucket(read, bucket, account)?;
        let mut page = Listed::default();
        let (mut after, mut looked_at) = (listing.after.clone(), 0);
        loop {
            let step = if listing.delimiter.is_empty() { 1000 } else { 100 };
            let found = objects::objects(read, bucket, &listing.prefix, &after, step)?;
            let last = found.len() < step;
            looked_at += found.len();
            let mut skipped = false;
            for object in found {
                if page.objects.len() + page.common.len() >= listing.size {
                    page.next = Some(after);
                    return Ok(page);
                }
                let key = object.key.to_string();
                if let Some(common) = common(&key, listing) {
                    after = After::AllOf(common.clone());
                    page.common.push(common);
                    skipped = true;
                    break;
                }
                after = After::Key(key);
                page.objects.push(object);
            }
            if last && !skipped {
                return Ok(page);
            }
            if looked_at > LOOKED_AT {
                page.next = Some(after);
                return Ok(page);
            }
        }
    }

    /// Deletes objects of a bucket of one's own; what is not there is deleted.
    pub(crate) async fn delete_objects(
        &self,
        bucket: BucketName,
        keys: Vec<ObjectKey>,
        account: AccountId,
    ) -> Result<()> {
        for some in keys.chunks(KEYS_AT_ONCE) {
            let (bucket, some) = (bucket.clone(), some.to_vec());
            let gone = self.records.commit(move |tx| {
                objects::bucket(tx, &bucket, account).map_err(TxError::Refused)?;
                let mut gone = Vec::new();
                for key in some {
                    let found = objects::object(tx, &bucket, &key).map_err(TxError::Refused)?;
                    if let Some(object) = found {
                        objects::remove_object(tx, &bucket, &key)?;
                        gone.extend(object.segments);
                    }
                }
                let bytes = gone.iter().map(|segment| segment.bytes).sum();
                let change = -signed(bytes).map_err(TxError::Refused)?;
                objects::hold(tx, account, change, u64::MAX)?;
                Ok(gone)
            });
            let gone = gone.await?;
            self.drop_segments(gone).await;
        }
        Ok(())
    }

    /// Empties and deletes one bucket of an account's, or some of what is in
    /// it; says whether there may be more.
    pub(crate) async fn release_objects(&self, account: AccountId) -> Result<bool> {
        let open = objects::multiparts(self.records.store(), account, 20)?;
        for upload in &open {
            self.end_multipart(upload).await?;
        }
        if !open.is_empty() {
            return Ok(true);
        }
        let buckets = objects::buckets(self.records.store(), account, None, 1)?;
        let Some(bucket) = buckets.into_iter().next() else { return Ok(false) };
        let found = objects::objects(self.records.store(), &bucket.name, "", &After::Nothing, 200)?;
        if found.is_empty() {
            let name = bucket.name;
            let removed = self.records.commit(move |tx| {
                if objects::is_empty(tx, &name).map_err(TxError::Refused)? {
                    objects::remove_bucket(tx, &name)?;
                }
                Ok(())
            });
            removed.await?;
        } else {
            let keys = found.into_iter().map(|object| object.key).collect();
            self.delete_objects(bucket.name, keys, account).await?;
        }
        Ok(true)
    }
}

/// What `key` is listed under instead of itself.
fn common(key: &str, listing: &Listing) -> Option<String> {
    if listing.delimiter.is_empty() {
        return None;
    }
    let rest = key.strip_prefix(&listing.prefix)?;
    let at = rest.find(&listing.delimiter)? + listing.delimiter.len();
    Some(format!("{}{}", listing.prefix, &rest[..at]))
}
