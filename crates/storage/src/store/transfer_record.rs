//! Uploads and imports as they lie on disk. Fields are only ever added.

use std::collections::BTreeSet;

use vmint_blocks::Root;

use super::record::{ContentRecord, SealRecord, optional, parse};
use crate::{
    Seal, StorageError,
    import_task::{Disk, Fetched, FileSource, Made, Task, TaskState},
    object::ObjectName,
    ranges::Ranges,
    tag::Tags,
    upload::{Base, Upload},
};

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRecord {
    #[prost(uint64, tag = "1")]
    start: u64,
    #[prost(uint64, tag = "2")]
    end: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BaseRecord {
    #[prost(string, tag = "1")]
    snapshot: String,
    #[prost(message, optional, tag = "2")]
    content: Option<ContentRecord>,
    #[prost(bytes = "vec", tag = "3")]
    key: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    taken: Vec<RangeRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct UploadRecord {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    pub(crate) account: String,
    #[prost(uint64, tag = "3")]
    file_bytes: u64,
    #[prost(message, repeated, tag = "4")]
    durable: Vec<RangeRecord>,
    #[prost(message, optional, tag = "5")]
    base: Option<BaseRecord>,
    #[prost(uint64, tag = "6")]
    created_ms: u64,
    #[prost(uint64, tag = "7")]
    expires_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DiskRecord {
    /// One of the two, or of the two at the end.
    #[prost(string, tag = "1")]
    upload: String,
    #[prost(string, tag = "2")]
    url: String,
    #[prost(string, tag = "3")]
    declared: String,
    #[prost(string, tag = "4")]
    device: String,
    #[prost(string, tag = "5")]
    snapshot: String,
    #[prost(uint64, tag = "6")]
    fetched_bytes: u64,
    #[prost(uint64, optional, tag = "7")]
    fetched_of: Option<u64>,
    #[prost(string, tag = "8")]
    fetched_version: String,
    /// The three of what was made of it.
    #[prost(message, optional, tag = "9")]
    content: Option<ContentRecord>,
    #[prost(string, tag = "10")]
    format: String,
    #[prost(uint64, tag = "11")]
    file_bytes: u64,
    #[prost(uint64, optional, tag = "12")]
    index: Option<u64>,
    /// Of a bundle's disk; else empty.
    #[prost(bytes = "vec", tag = "13")]
    root: Vec<u8>,
    /// A third source: where an instance-store bundle's manifest lies.
    #[prost(string, tag = "20")]
    bundle: String,
    #[prost(message, optional, tag = "70")]
    object: Option<ObjectNameRecord>,
    /// The snapshot whose disk it is.
    #[prost(string, tag = "71")]
    original: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ObjectNameRecord {
    #[prost(string, tag = "1")]
    bucket: String,
    #[prost(string, tag = "2")]
    key: String,
}

impl DiskRecord {
    fn source(&self) -> Result<FileSource, StorageError> {
        if let Some(at) = &self.object {
            let name = ObjectName { bucket: parse(&at.bucket)?, key: parse(&at.key)? };
            return Ok(FileSource::Object(name));
        }
        if let Some(original) = optional(&self.original)? {
            return Ok(FileSource::Snapshot(original));
        }
        if let Some(location) = optional(&self.bundle)? {
            return Ok(FileSource::Bundle(location));
        }
        Ok(match optional(&self.upload)? {
            Some(upload) => FileSource::Upload(upload),
            None => FileSource::Url(parse(&self.url)?),
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TaskRecord {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    pub(crate) account: String,
    /// 1 active, 2 completed, 3 deleting, 4 deleted.
    #[prost(uint32, tag = "3")]
    pub(crate) state: u32,
    #[prost(string, tag = "4")]
    message: String,
    #[prost(string, tag = "5")]
    description: String,
    #[prost(string, tag = "6")]
    image: String,
    #[prost(message, repeated, tag = "7")]
    disks: Vec<DiskRecord>,
    #[prost(uint64, tag = "8")]
    created_ms: u64,
    #[prost(uint64, tag = "9")]
    ended_ms: u64,
    #[prost(string, tag = "10")]
    reason: String,
    /// None: its snapshots are not encrypted.
    #[prost(message, optional, tag = "60")]
    seal: Option<SealRecord>,
    #[prost(btree_map = "string, string", tag = "70")]
    tags: Tags,
    #[prost(btree_map = "string, string", tag = "71")]
    snapshot_tags: Tags,
}

impl TaskRecord {
    /// The uploads that an import under way reads, each once.
    pub(crate) fn uploads(&self) -> BTreeSet<&str> {
        let held = matches!(self.state, 1);
        let disks = self.disks.iter().filter(|disk| held && !disk.upload.is_empty());
        disks.map(|disk| &*disk.upload).collect()
    }
}

/// A root; none if it is empty.
pub(super) fn root_of(bytes: &[u8]) -> Result<Option<Root>, StorageError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let bytes = bytes.try_into().map_err(|_| StorageError::Damaged)?;
    Ok(Some(Root::from_bytes(bytes)))
}

fn written(ranges: &Ranges) -> Vec<RangeRecord> {
    ranges.iter().map(|part| RangeRecord { start: part.start, end: part.end }).collect()
}

fn read(records: &[RangeRecord]) -> Ranges {
    Ranges::of(records.iter().map(|record| record.start..record.end))
}

impl From<&Upload> for UploadRecord {
    fn from(upload: &Upload) -> Self {
        Self {
            id: upload.id.to_string(),
            account: upload.account.to_string(),
            file_bytes: upload.file_bytes,
            durable: written(&upload.durable),
            base: upload.base.as_ref().map(|base| BaseRecord {
                snapshot: base.snapshot.to_string(),
                content: Some((&base.content).into()),
                key: base.key.to_vec(),
                taken: written(&base.taken),
            }),
            created_ms: upload.created_ms,
            expires_ms: upload.expires_ms,
        }
    }
}

impl TryFrom<&UploadRecord> for Upload {
    type Error = StorageError;

    fn try_from(record: &UploadRecord) -> Result<Self, StorageError> {
        let base = record.base.as_ref().map(|base| {
            Ok::<_, StorageError>(Base {
                snapshot: parse(&base.snapshot)?,
                content: base.content.as_ref().ok_or(StorageError::Damaged)?.try_into()?,
                key: base.key.as_slice().try_into().map_err(|_| StorageError::Damaged)?,
                taken: read(&base.taken),
            })
        });
        Ok(Self {
            id: parse(&record.id)?,
            account: parse(&record.account)?,
            file_bytes: record.file_bytes,
            durable: read(&record.durable),
            base: base.transpose()?,
            created_ms: record.created_ms,
            expires_ms: record.expires_ms,
        })
    }
}

impl From<&Disk> for DiskRecord {
    fn from(disk: &Disk) -> Self {
        let made = disk.made.as_ref();
        let mut record = Self {
            declared: disk.declared.map(|format| format.to_string()).unwrap_or_default(),
            device: disk.device.clone(),
            snapshot: disk.snapshot.to_string(),
            fetched_bytes: disk.fetched.bytes,
            fetched_of: disk.fetched.of,
            fetched_version: disk.fetched.version.clone(),
            content: made.map(|made| (&made.content).into()),
            format: made.map(|made| made.format.to_string()).unwrap_or_default(),
            file_bytes: made.map_or(0, |made| made.file_bytes),
            index: disk.index.map(|index| index as u64),
            root: made
                .and_then(|made| made.root)
                .map(|root| root.to_bytes().into())
                .unwrap_or_default(),
            ..Self::default()
        };
        match &disk.source {
            FileSource::Upload(id) => record.upload = id.to_string(),
            FileSource::Url(url) => record.url = url.to_string(),
            FileSource::Bundle(location) => record.bundle = location.to_string(),
            FileSource::Snapshot(id) => record.original = id.to_string(),
            FileSource::Object(ObjectName { bucket, key }) => {
                let (bucket, key) = (bucket.to_string(), key.to_string());
                record.object = Some(ObjectNameRecord { bucket, key });
            }
        }
        record
    }
}

impl TryFrom<&DiskRecord> for Disk {
    type Error = StorageError;

    fn try_from(record: &DiskRecord) -> Result<Self, StorageError> {
        let made = record.content.as_ref().map(|content| {
            Ok::<_, StorageError>(Made {
                format: parse(&record.format)?,
                file_bytes: record.file_bytes,
                content: content.try_into()?,
                root: root_of(&record.root)?,
            })
        });
        Ok(Self {
            source: record.source()?,
            declared: optional(&record.declared)?,
            index: record.index.and_then(|index| usize::try_from(index).ok()),
            device: record.device.clone(),
            snapshot: parse(&record.snapshot)?,
            fetched: Fetched {
                bytes: record.fetched_bytes,
                of: record.fetched_of,
                version: record.fetched_version.clone(),
            },
            made: made.transpose()?,
        })
    }
}

impl From<&Task> for TaskRecord {
    fn from(task: &Task) -> Self {
        Self {
            id: task.id.to_string(),
            account: task.account.to_string(),
            state: match task.state {
                TaskState::Active => 1,
                TaskState::Completed => 2,
                TaskState::Deleting => 3,
                TaskState::Deleted => 4,
            },
            message: task.message.clone(),
            reason: task.reason.clone(),
            description: task.description.clone(),
            image: task.image.map(|id| id.to_string()).unwrap_or_default(),
            disks: task.disks.iter().map(DiskRecord::from).collect(),
            created_ms: task.created_ms,
            ended_ms: task.ended_ms,
            seal: task.seal.map(SealRecord::from),
            tags: task.tags.clone(),
            snapshot_tags: task.snapshot_tags.clone(),
        }
    }
}

impl TryFrom<&TaskRecord> for Task {
    type Error = StorageError;

    fn try_from(record: &TaskRecord) -> Result<Self, StorageError> {
        Ok(Self {
            id: parse(&record.id)?,
            account: parse(&record.account)?,
            state: match record.state {
                1 => TaskState::Active,
                2 => TaskState::Completed,
                3 => TaskState::Deleting,
                4 => TaskState::Deleted,
                _ => return Err(StorageError::Damaged),
            },
            message: record.message.clone(),
            reason: record.reason.clone(),
            description: record.description.clone(),
            image: optional(&record.image)?,
            disks: record.disks.iter().map(Disk::try_from).collect::<Result<_, _>>()?,
            created_ms: record.created_ms,
            ended_ms: record.ended_ms,
            seal: record.seal.as_ref().map(Seal::try_from).transpose()?,
            tags: record.tags.clone(),
            snapshot_tags: record.snapshot_tags.clone(),
        })
    }
}
