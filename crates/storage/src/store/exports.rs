//! Exports as records.

use vmint_ids::{AccountId, ExportTaskId, LineageId};
use vmint_store::{Read, Table, Tx, TxError};

use super::{
    Records, listed,
    record::{ContentRecord, parse},
    transfer_record::root_of,
};
use crate::{
    Content, Result, StorageError,
    export_task::{Delivery, ExportName, ExportTask, Saved},
    import_task::TaskState,
    tag::Tags,
};

#[derive(Clone, PartialEq, prost::Message)]
struct ExportRecord {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    account: String,
    #[prost(string, tag = "3")]
    snapshot: String,
    #[prost(message, optional, tag = "4")]
    content: Option<ContentRecord>,
    #[prost(string, tag = "5")]
    format: String,
    /// 1 active, 2 completed, 3 deleting, 4 deleted.
    #[prost(uint32, tag = "6")]
    state: u32,
    #[prost(string, tag = "7")]
    message: String,
    #[prost(uint64, tag = "8")]
    file_bytes: u64,
    #[prost(uint64, tag = "9")]
    created_ms: u64,
    #[prost(uint64, tag = "10")]
    ended_ms: u64,
    #[prost(uint64, tag = "11")]
    expires_ms: u64,
    /// The three of a whole image.
    #[prost(string, tag = "12")]
    image: String,
    /// As it stands in the bundle.
    #[prost(bytes = "vec", tag = "13")]
    registration: Vec<u8>,
    #[prost(message, repeated, tag = "14")]
    disks: Vec<ContentRecord>,
    #[prost(bytes = "vec", repeated, tag = "15")]
    roots: Vec<Vec<u8>>,
    /// None: its file is to be fetched.
    #[prost(message, optional, tag = "70")]
    to: Option<DeliveryRecord>,
    #[prost(btree_map = "string, string", tag = "71")]
    tags: Tags,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DeliveryRecord {
    #[prost(string, tag = "1")]
    bucket: String,
    #[prost(string, tag = "2")]
    prefix: String,
    #[prost(string, tag = "3")]
    description: String,
}

impl DeliveryRecord {
    fn read(&self) -> Result<Delivery> {
        Ok(Delivery {
            bucket: parse(&self.bucket)?,
            prefix: self.prefix.clone(),
            description: self.description.clone(),
        })
    }
}

impl ExportRecord {
    fn saved(&self) -> Result<Option<Saved>> {
        if self.image.is_empty() {
            return Ok(None);
        }
        let registration = serde_json::from_slice(&self.registration);
        Ok(Some(Saved {
            id: parse(&self.image)?,
            registration: registration.map_err(|_| StorageError::Damaged)?,
            disks: self.disks.iter().map(Content::try_from).collect::<Result<_>>()?,
        }))
    }
}

static EXPORTS: Table<ExportTaskId, ExportRecord> = Table::new("exports.v1")
    .with_index("account", |_, record: &ExportRecord| vec![record.account.clone().into_bytes()])
    // Those that have a file, or will have one.
    .with_index("open", |_, record: &ExportRecord| match record.state {
        1 => vec![record.account.clone().into_bytes()],
        2 if record.to.is_none() => vec![record.account.clone().into_bytes()],
        _ => Vec::new(),
    });

impl From<&ExportTask> for ExportRecord {
    fn from(task: &ExportTask) -> Self {
        let image = task.image.as_ref();
        Self {
            id: task.id.to_string(),
            account: task.account.to_string(),
            snapshot: task.snapshot.to_string(),
            content: Some((&task.content).into()),
            format: task.format.to_string(),
            state: match task.state {
                TaskState::Active => 1,
                TaskState::Completed => 2,
                TaskState::Deleting => 3,
                TaskState::Deleted => 4,
            },
            message: task.message.clone(),
            file_bytes: task.file_bytes,
            created_ms: task.created_ms,
            ended_ms: task.ended_ms,
            expires_ms: task.expires_ms,
            image: image.map(|image| image.id.to_string()).unwrap_or_default(),
            // Text and numbers alone always become JSON.
            registration: image
                .and_then(|image| serde_json::to_vec(&image.registration).ok())
                .unwrap_or_default(),
            disks: image
                .map(|image| image.disks.iter().map(Into::into).collect())
                .unwrap_or_default(),
            roots: task.roots.iter().map(|root| root.to_bytes().to_vec()).collect(),
            to: task.to.as_ref().map(|to| DeliveryRecord {
                bucket: to.bucket.to_string(),
                prefix: to.prefix.clone(),
                description: to.description.clone(),
            }),
            tags: task.tags.clone(),
        }
    }
}

impl TryFrom<&ExportRecord> for ExportTask {
    type Error = StorageError;

    fn try_from(record: &ExportRecord) -> Result<Self, StorageError> {
        Ok(Self {
            id: parse(&record.id)?,
            account: parse(&record.account)?,
            snapshot: parse(&record.snapshot)?,
            content: record.content.as_ref().ok_or(StorageError::Damaged)?.try_into()?,
            format: parse(&record.format)?,
            image: record.saved()?,
            roots: record
                .roots
                .iter()
                .filter_map(|root| root_of(root).transpose())
                .collect::<Result<_>>()?,
            state: match record.state {
                1 => TaskState::Active,
                2 => TaskState::Completed,
                3 => TaskState::Deleting,
                4 => TaskState::Deleted,
                _ => return Err(StorageError::Damaged),
            },
            message: record.message.clone(),
            file_bytes: record.file_bytes,
            created_ms: record.created_ms,
            ended_ms: record.ended_ms,
            expires_ms: record.expires_ms,
            to: record.to.as_ref().map(DeliveryRecord::read).transpose()?,
            tags: record.tags.clone(),
        })
    }
}

/// The export `id`, if there is one.
pub(crate) fn find(read: &impl Read, id: ExportTaskId) -> Result<Option<ExportTask>> {
    EXPORTS.get(read, &id)?.as_ref().map(ExportTask::try_from).transpose()
}

/// The export of this name, if it belongs to `account`.
pub(crate) fn owned(read: &impl Read, name: ExportName, account: AccountId) -> Result<ExportTask> {
    find(read, name.id())?
        .filter(|task| task.account == account && task.name() == name)
        .ok_or(StorageError::NoSuchExport { name })
}

/// The export `id`, if it is still under way.
pub(crate) fn active(read: &impl Read, id: ExportTaskId) -> Result<ExportTask> {
    let found = find(read, id)?.filter(|task| task.state == TaskState::Active);
    found.ok_or(StorageError::Cancelled)
}

pub(crate) fn put(tx: &mut Tx<'_>, task: &ExportTask) -> Result<(), TxError<StorageError>> {
    Ok(EXPORTS.put(tx, &task.id, &task.into())?)
}

pub(crate) fn remove(tx: &mut Tx<'_>, id: ExportTaskId) -> Result<(), TxError<StorageError>> {
    Ok(EXPORTS.remove(tx, &id)?)
}

/// Those of an account's exports that have a file, or will; at most `limit`.
pub(crate) fn open(read: &impl Read, account: AccountId, limit: usize) -> Result<Vec<ExportTask>> {
    listed(&EXPORTS, read, "open", &account.to_string(), None, limit)
}

/// Whether any export under way reads something of `lineage`.
pub(crate) fn any_of(read: &impl Read, lineage: LineageId) -> Result<bool> {
    let mut any = false;
    EXPORTS.walk(read, |_, record| {
        let task = ExportTask::try_from(&record)?;
        let reads = |content: &Content| content.lineage == Some(lineage);
        any |= task.state == TaskState::Active && task.contents().iter().any(reads);
        Ok::<_, StorageError>(())
    })?;
    Ok(any)
}

/// Up to `limit` of an account's exports after `after`, by id.
pub(crate) fn of_account(
    read: &impl Read,
    account: AccountId,
    after: Option<ExportTaskId>,
    limit: usize,
) -> Result<Vec<ExportTask>> {
    listed(&EXPORTS, read, "account", &account.to_string(), after.as_ref(), limit)
}

impl Records {
    /// Every export that is remembered.
    pub(crate) fn all_exports(&self) -> Result<Vec<ExportTask>> {
        let mut all = Vec::new();
        EXPORTS.walk(&self.store, |_, record| {
            all.push((&record).try_into()?);
            Ok::<_, StorageError>(())
        })?;
        Ok(all)
    }
}
