//! Instance-store bundles on their way, as records.

use std::collections::BTreeSet;

use vmint_ids::{AccountId, BundleTaskId, LineageId};
use vmint_images::instance_bundle::Mapping;
use vmint_store::{Read, Table, Tx, TxError};

use super::{
    Records, listed,
    record::{ContentRecord, parse},
};
use crate::{
    InstanceBundleError, Result, StorageError,
    instance_bundle::{BundleState, BundleTask, Held, Location, Machine, Origin},
};

#[derive(Clone, PartialEq, prost::Message)]
struct MappingRecord {
    #[prost(string, tag = "1")]
    virtual_name: String,
    #[prost(string, tag = "2")]
    device_name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BundleRecord {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    account: String,
    /// One of the two.
    #[prost(string, tag = "3")]
    snapshot: String,
    #[prost(string, tag = "4")]
    volume: String,
    #[prost(string, tag = "5")]
    between: String,
    /// The two of a disk that is held.
    #[prost(message, optional, tag = "6")]
    content: Option<ContentRecord>,
    #[prost(string, repeated, tag = "7")]
    product_codes: Vec<String>,
    #[prost(string, tag = "8")]
    architecture: String,
    #[prost(string, tag = "9")]
    platform: String,
    #[prost(message, repeated, tag = "10")]
    mappings: Vec<MappingRecord>,
    #[prost(string, tag = "11")]
    bucket: String,
    #[prost(string, tag = "12")]
    prefix: String,
    #[prost(string, tag = "13")]
    key: String,
    /// 1 pending, 2 bundling, 3 storing, 4 cancelling, 5 complete, 6 failed.
    #[prost(uint32, tag = "14")]
    state: u32,
    #[prost(string, tag = "15")]
    message: String,
    #[prost(string, tag = "16")]
    reason: String,
    #[prost(uint64, tag = "17")]
    bundled_bytes: u64,
    #[prost(uint64, tag = "18")]
    parts: u64,
    #[prost(uint64, tag = "19")]
    created_ms: u64,
    #[prost(uint64, tag = "20")]
    ended_ms: u64,
}

static BUNDLES: Table<BundleTaskId, BundleRecord> = Table::new("instance-bundles.v1")
    .with_index("account", |_, record: &BundleRecord| vec![record.account.clone().into_bytes()])
    // Those that have not ended.
    .with_index("open", |_, record: &BundleRecord| match record.state {
        1..=4 => vec![record.account.clone().into_bytes()],
        _ => Vec::new(),
    });

impl From<&BundleTask> for BundleRecord {
    fn from(task: &BundleTask) -> Self {
        let (snapshot, volume) = match task.origin {
            Origin::Snapshot(id) => (id.to_string(), String::new()),
            Origin::Volume(id) => (String::new(), id.to_string()),
        };
        let mapping = |it: &Mapping| MappingRecord {
            virtual_name: it.virtual_name.clone(),
            device_name: it.device_name.clone(),
        };
        let codes = task.held.iter().flat_map(|held| &held.product_codes);
        Self {
            id: task.id.to_string(),
            account: task.account.to_string(),
            snapshot,
            volume,
            between: task.between.map(|id| id.to_string()).unwrap_or_default(),
            content: task.held.as_ref().map(|held| (&held.content).into()),
            product_codes: codes.map(ToString::to_string).collect(),
            architecture: task.machine.architecture.clone(),
            platform: task.machine.platform.clone(),
            mappings: task.machine.mappings.iter().map(mapping).collect(),
            bucket: task.location.bucket.to_string(),
            prefix: task.location.prefix(),
            key: task.key.to_string(),
            state: match task.state {
                BundleState::Pending => 1,
                BundleState::Bundling => 2,
                BundleState::Storing => 3,
                BundleState::Cancelling => 4,
                BundleState::Complete => 5,
                BundleState::Failed => 6,
            },
            message: task.message.clone(),
            reason: task.reason.clone(),
            bundled_bytes: task.bundled_bytes,
            parts: task.parts,
            created_ms: task.created_ms,
            ended_ms: task.ended_ms,
        }
    }
}

impl TryFrom<&BundleRecord> for BundleTask {
    type Error = StorageError;

    fn try_from(record: &BundleRecord) -> Result<Self, StorageError> {
        let origin = if record.volume.is_empty() {
            Origin::Snapshot(parse(&record.snapshot)?)
        } else {
            Origin::Volume(parse(&record.volume)?)
        };
        let between = Some(&record.between).filter(|id| !id.is_empty());
        let codes = record.product_codes.iter().map(|code| parse(code));
        let codes = codes.collect::<Result<BTreeSet<_>>>()?;
        let held = record.content.as_ref().map(|content| {
            Ok::<_, StorageError>(Held { content: content.try_into()?, product_codes: codes })
        });
        let mapping = |it: &MappingRecord| Mapping {
            virtual_name: it.virtual_name.clone(),
            device_name: it.device_name.clone(),
        };
        let location = Location::new(parse(&record.bucket)?, &record.prefix);
        Ok(Self {
            id: parse(&record.id)?,
            account: parse(&record.account)?,
            origin,
            between: between.map(|id| parse(id)).transpose()?,
            held: held.transpose()?,
            machine: Machine {
                architecture: record.architecture.clone(),
                platform: record.platform.clone(),
                mappings: record.mappings.iter().map(mapping).collect(),
            },
            location: location.map_err(|_| StorageError::Damaged)?,
            key: parse(&record.key)?,
            state: match record.state {
                1 => BundleState::Pending,
                2 => BundleState::Bundling,
                3 => BundleState::Storing,
                4 => BundleState::Cancelling,
                5 => BundleState::Complete,
                6 => BundleState::Failed,
                _ => return Err(StorageError::Damaged),
            },
            message: record.message.clone(),
            reason: record.reason.clone(),
            bundled_bytes: record.bundled_bytes,
            parts: record.parts,
            created_ms: record.created_ms,
            ended_ms: record.ended_ms,
        })
    }
}

/// The task `id`, if there is one.
pub(crate) fn find(read: &impl Read, id: BundleTaskId) -> Result<Option<BundleTask>> {
    BUNDLES.get(read, &id)?.as_ref().map(BundleTask::try_from).transpose()
}

/// The task `id`, if it belongs to `account`.
pub(crate) fn owned(read: &impl Read, id: BundleTaskId, account: AccountId) -> Result<BundleTask> {
    let found = find(read, id)?.filter(|task| task.account == account);
    found.ok_or_else(|| InstanceBundleError::NoSuchTask { id }.into())
}

/// The task `id`, if it has not ended and is not to end.
pub(crate) fn going(
    tx: &mut Tx<'_>,
    id: BundleTaskId,
) -> Result<BundleTask, TxError<StorageError>> {
    let found = find(tx, id).map_err(TxError::Refused)?;
    let going = |task: &BundleTask| !task.state.is_over() && task.state != BundleState::Cancelling;
    found.filter(going).ok_or(TxError::Refused(StorageError::Cancelled))
}

pub(crate) fn put(tx: &mut Tx<'_>, task: &BundleTask) -> Result<(), TxError<StorageError>> {
    Ok(BUNDLES.put(tx, &task.id, &task.into())?)
}

pub(crate) fn remove(tx: &mut Tx<'_>, id: BundleTaskId) -> Result<(), TxError<StorageError>> {
    Ok(BUNDLES.remove(tx, &id)?)
}

/// Up to `limit` of an account's tasks that have not ended.
pub(crate) fn open(read: &impl Read, account: AccountId, limit: usize) -> Result<Vec<BundleTask>> {
    listed(&BUNDLES, read, "open", &account.to_string(), None, limit)
}

/// Whether any task under way reads something of `lineage`.
pub(crate) fn any_of(read: &impl Read, lineage: LineageId) -> Result<bool> {
    let mut any = false;
    BUNDLES.walk(read, |_, record| {
        let content = BundleTask::try_from(&record)?.content();
        any |= content.is_some_and(|content| content.lineage == Some(lineage));
        Ok::<_, StorageError>(())
    })?;
    Ok(any)
}

/// Up to `limit` of an account's tasks after `after`, by id.
pub(crate) fn of_account(
    read: &impl Read,
    account: AccountId,
    after: Option<BundleTaskId>,
    limit: usize,
) -> Result<Vec<BundleTask>> {
    listed(&BUNDLES, read, "account", &account.to_string(), after.as_ref(), limit)
}

impl Records {
    /// Every task that is remembered.
    pub(crate) fn all_instance_bundles(&self) -> Result<Vec<BundleTask>> {
        let mut all = Vec::new();
        BUNDLES.walk(&self.store, |_, record| {
            all.push((&record).try_into()?);
            Ok::<_, StorageError>(())
        })?;
        Ok(all)
    }
}
