//! Uploads as records.

use vmint_ids::{AccountId, LineageId, UploadId};
use vmint_store::{Read, Table, Tx, TxError};

use super::{Records, listed, transfer_record::UploadRecord};
use crate::{Result, StorageError, upload::Upload};

static UPLOADS: Table<UploadId, UploadRecord> = Table::new("uploads.v1")
    .with_index("account", |_, record: &UploadRecord| vec![record.account.clone().into_bytes()]);

/// The upload `id`, if there is one.
pub(crate) fn find(read: &impl Read, id: UploadId) -> Result<Option<Upload>> {
    UPLOADS.get(read, &id)?.as_ref().map(Upload::try_from).transpose()
}

/// The upload `id`, if it belongs to `account`.
pub(crate) fn owned(read: &impl Read, id: UploadId, account: AccountId) -> Result<Upload> {
    find(read, id)?
        .filter(|upload| upload.account == account)
        .ok_or(StorageError::NoSuchUpload { id })
}

pub(crate) fn put(tx: &mut Tx<'_>, upload: &Upload) -> Result<(), TxError<StorageError>> {
    Ok(UPLOADS.put(tx, &upload.id, &upload.into())?)
}

pub(crate) fn remove(tx: &mut Tx<'_>, id: UploadId) -> Result<(), TxError<StorageError>> {
    Ok(UPLOADS.remove(tx, &id)?)
}

/// Up to `limit` of an account's uploads after `after`, by id.
pub(crate) fn of_account(
    read: &impl Read,
    account: AccountId,
    after: Option<UploadId>,
    limit: usize,
) -> Result<Vec<Upload>> {
    listed(&UPLOADS, read, "account", &account.to_string(), after.as_ref(), limit)
}

/// Whether any upload is compared with something of `lineage`.
pub(crate) fn any_over(read: &impl Read, lineage: LineageId) -> Result<bool> {
    let mut any = false;
    UPLOADS.walk(read, |_, record| {
        let upload = Upload::try_from(&record)?;
        any |= upload.base.is_some_and(|base| base.content.lineage == Some(lineage));
        Ok::<_, StorageError>(())
    })?;
    Ok(any)
}

impl Records {
    /// Every upload there is.
    pub(crate) fn all_uploads(&self) -> Result<Vec<Upload>> {
        let mut all = Vec::new();
        UPLOADS.walk(&self.store, |_, record| {
            all.push((&record).try_into()?);
            Ok::<_, StorageError>(())
        })?;
        Ok(all)
    }
}
