//! Imports as records.

use vmint_ids::{AccountId, UploadId};
use vmint_store::{Read, Table, Tx, TxError};

use super::{Records, listed, transfer_record::TaskRecord};
use crate::{
    Result, StorageError,
    import_task::{Task, TaskId, TaskState},
};

static TASKS: Table<String, TaskRecord> = Table::new("imports.v1")
    .with_index("account", |_, record: &TaskRecord| vec![record.account.clone().into_bytes()])
    // Those that have not ended.
    .with_index("open", |_, record: &TaskRecord| match record.state {
        1 | 3 => vec![record.account.clone().into_bytes()],
        _ => Vec::new(),
    })
    // Uploads that one under way reads.
    .with_index("upload", |_, record: &TaskRecord| {
        record.uploads().into_iter().map(|id| id.as_bytes().to_vec()).collect()
    });

/// The import `id`, if there is one.
pub(crate) fn find(read: &impl Read, id: TaskId) -> Result<Option<Task>> {
    TASKS.get(read, &id.to_string())?.as_ref().map(Task::try_from).transpose()
}

/// The import `id`, if it belongs to `account`.
pub(crate) fn owned(read: &impl Read, id: TaskId, account: AccountId) -> Result<Task> {
    find(read, id)?.filter(|task| task.account == account).ok_or(StorageError::NoSuchImport { id })
}

/// The import `id`, if it is still under way.
pub(crate) fn active(tx: &mut Tx<'_>, id: TaskId) -> Result<Task, TxError<StorageError>> {
    find(tx, id)
        .map_err(TxError::Refused)?
        .filter(|task| task.state == TaskState::Active)
        .ok_or(TxError::Refused(StorageError::Cancelled))
}

pub(crate) fn put(tx: &mut Tx<'_>, task: &Task) -> Result<(), TxError<StorageError>> {
    Ok(TASKS.put(tx, &task.id.to_string(), &task.into())?)
}

pub(crate) fn remove(tx: &mut Tx<'_>, id: TaskId) -> Result<(), TxError<StorageError>> {
    Ok(TASKS.remove(tx, &id.to_string())?)
}

/// The import under way that reads an upload.
pub(crate) fn reading(read: &impl Read, upload: UploadId) -> Result<Option<TaskId>> {
    let found = TASKS.find(read, "upload", upload.to_string().as_bytes())?;
    found.map(|(id, _)| id.parse().map_err(|_| StorageError::Damaged)).transpose()
}

/// How many of an account's imports have not ended; at most `limit`.
pub(crate) fn count_open(read: &impl Read, account: AccountId, limit: usize) -> Result<usize> {
    Ok(TASKS.equal(read, "open", account.to_string().as_bytes(), None, limit)?.len())
}

/// Up to `limit` of an account's imports after `after`, by id.
pub(crate) fn of_account(
    read: &impl Read,
    account: AccountId,
    after: Option<&String>,
    limit: usize,
) -> Result<Vec<Task>> {
    listed(&TASKS, read, "account", &account.to_string(), after, limit)
}

impl Records {
    /// Every import that is remembered.
    pub(crate) fn all_imports(&self) -> Result<Vec<Task>> {
        let mut all = Vec::new();
        TASKS.walk(&self.store, |_, record| {
            all.push((&record).try_into()?);
            Ok::<_, StorageError>(())
        })?;
        Ok(all)
    }
}
