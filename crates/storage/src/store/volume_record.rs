//! Volumes as they lie on disk. Fields are only ever added.

use super::record::{ContentRecord, SealRecord, optional, parse, parsed, texts};
use vmint_performance::{Performance, VolumeType};

use crate::{
    Content, StorageError,
    snapshot::Seal,
    tag::Tags,
    volume::{Attachment, Modification, Plug, Volume},
};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct VolumeRecord {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    pub(crate) account: String,
    #[prost(string, tag = "3")]
    snapshot: String,
    #[prost(uint64, tag = "4")]
    size_bytes: u64,
    #[prost(message, optional, tag = "5")]
    base: Option<ContentRecord>,
    #[prost(message, optional, tag = "6")]
    pub(crate) attachment: Option<AttachmentRecord>,
    #[prost(string, repeated, tag = "7")]
    product_codes: Vec<String>,
    #[prost(uint64, tag = "8")]
    created_ms: u64,
    #[prost(message, optional, tag = "40")]
    pub(crate) seal: Option<SealRecord>,
    #[prost(btree_map = "string, string", tag = "50")]
    tags: Tags,
    #[prost(message, optional, tag = "51")]
    performance: Option<PerformanceRecord>,
    #[prost(string, tag = "52")]
    zone: String,
    #[prost(message, optional, tag = "53")]
    modification: Option<ModificationRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AttachmentRecord {
    #[prost(string, tag = "1")]
    pub(crate) instance: String,
    #[prost(string, tag = "2")]
    device: String,
    #[prost(bool, tag = "3")]
    delete_on_termination: bool,
    #[prost(string, tag = "4")]
    capability: String,
    /// 0 attached, 1 attaching, 2 detaching.
    #[prost(uint32, tag = "5")]
    plug: u32,
    #[prost(uint64, tag = "6")]
    attached_ms: u64,
    #[prost(bool, tag = "7")]
    boot: bool,
    #[prost(string, tag = "8")]
    saga: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PerformanceRecord {
    /// 1 gp2, 2 gp3, 3 io1, 4 io2, 5 st1, 6 sc1, 7 standard.
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(int32, tag = "2")]
    iops: i32,
    #[prost(int32, tag = "3")]
    throughput: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ModificationRecord {
    #[prost(uint64, tag = "1")]
    from_bytes: u64,
    #[prost(message, optional, tag = "2")]
    from: Option<PerformanceRecord>,
    #[prost(uint64, tag = "3")]
    to_bytes: u64,
    #[prost(message, optional, tag = "4")]
    to: Option<PerformanceRecord>,
    #[prost(uint64, tag = "5")]
    at_ms: u64,
}

impl From<&Performance> for PerformanceRecord {
    fn from(performance: &Performance) -> Self {
        let kind = match performance.kind {
            VolumeType::Gp2 => 1,
            VolumeType::Gp3 => 2,
            VolumeType::Io1 => 3,
            VolumeType::Io2 => 4,
            VolumeType::St1 => 5,
            VolumeType::Sc1 => 6,
            VolumeType::Standard => 7,
        };
        Self { kind, iops: performance.iops, throughput: performance.throughput }
    }
}

/// What volumes were before they had a type: the default.
fn performance(record: Option<&PerformanceRecord>) -> Result<Performance, StorageError> {
    let Some(record) = record else {
        return Ok(Performance { kind: VolumeType::Gp3, iops: 3000, throughput: 125 });
    };
    let kind = match record.kind {
        1 => VolumeType::Gp2,
        2 => VolumeType::Gp3,
        3 => VolumeType::Io1,
        4 => VolumeType::Io2,
        5 => VolumeType::St1,
        6 => VolumeType::Sc1,
        7 => VolumeType::Standard,
        _ => return Err(StorageError::Damaged),
    };
    Ok(Performance { kind, iops: record.iops, throughput: record.throughput })
}

impl From<&Volume> for VolumeRecord {
    fn from(volume: &Volume) -> Self {
        Self {
            id: volume.id.to_string(),
            account: volume.account.to_string(),
            snapshot: volume.snapshot.map(|id| id.to_string()).unwrap_or_default(),
            size_bytes: volume.size_bytes,
            base: volume.base.as_ref().map(ContentRecord::from),
            attachment: volume.attachment.as_ref().map(|attachment| AttachmentRecord {
                instance: attachment.instance.to_string(),
                device: attachment.device.clone(),
                delete_on_termination: attachment.delete_on_termination,
                capability: attachment.capability.clone(),
                plug: match attachment.plug {
                    Plug::Attached => 0,
                    Plug::Attaching => 1,
                    Plug::Detaching => 2,
                },
                attached_ms: attachment.attached_ms,
                boot: attachment.boot,
                saga: attachment.saga.clone(),
            }),
            product_codes: texts(&volume.product_codes),
            created_ms: volume.created_ms,
            seal: volume.seal.map(SealRecord::from),
            tags: volume.tags.clone(),
            performance: Some((&volume.performance).into()),
            zone: volume.zone.clone(),
            modification: volume.modification.as_ref().map(|change| ModificationRecord {
                from_bytes: change.from_bytes,
                from: Some((&change.from).into()),
                to_bytes: change.to_bytes,
                to: Some((&change.to).into()),
                at_ms: change.at_ms,
            }),
        }
    }
}

impl TryFrom<&VolumeRecord> for Volume {
    type Error = StorageError;

    fn try_from(record: &VolumeRecord) -> Result<Self, StorageError> {
        let attachment = record.attachment.as_ref().map(|attachment| {
            Ok::<_, StorageError>(Attachment {
                instance: parse(&attachment.instance)?,
                device: attachment.device.clone(),
                delete_on_termination: attachment.delete_on_termination,
                capability: attachment.capability.clone(),
                plug: match attachment.plug {
                    0 => Plug::Attached,
                    1 => Plug::Attaching,
                    2 => Plug::Detaching,
                    _ => return Err(StorageError::Damaged),
                },
                attached_ms: attachment.attached_ms,
                boot: attachment.boot,
                saga: attachment.saga.clone(),
            })
        });
        let modification = record.modification.as_ref().map(|change| {
            Ok::<_, StorageError>(Modification {
                from_bytes: change.from_bytes,
                from: performance(change.from.as_ref())?,
                to_bytes: change.to_bytes,
                to: performance(change.to.as_ref())?,
                at_ms: change.at_ms,
            })
        });
        Ok(Self {
            id: parse(&record.id)?,
            account: parse(&record.account)?,
            snapshot: optional(&record.snapshot)?,
            size_bytes: record.size_bytes,
            base: record.base.as_ref().map(Content::try_from).transpose()?,
            attachment: attachment.transpose()?,
            product_codes: parsed(&record.product_codes)?,
            created_ms: record.created_ms,
            seal: record.seal.as_ref().map(Seal::try_from).transpose()?,
            tags: record.tags.clone(),
            performance: performance(record.performance.as_ref())?,
            zone: record.zone.clone(),
            modification: modification.transpose()?,
        })
    }
}
