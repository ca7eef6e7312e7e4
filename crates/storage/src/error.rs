//! Everything storage may refuse, and why.

use vmint_api::storage::v1::StorageErrorReason as Reason;
use vmint_blocks::{BlocksError, Root};
use vmint_disk::DiskError;
use vmint_ids::{ImageId, InstanceId, KmsKeyId, LineageId, SnapshotId, UploadId, VolumeId};
use vmint_images::{ImageError, write::WriteError};
use vmint_performance::BadPerformance;
use vmint_rpc::{BadToken, Describe, Fault, Kind};
use vmint_store::{Fenced, Reused, StoreError, TxError};

use crate::{
    export_task::ExportName, filter::BadFilter, import_task::TaskId, import_url::BadUrl,
    key::BadChange, quota::OverQuota, tag::BadTag, volume::BadSize,
};

pub type Result<T, E = StorageError> = std::result::Result<T, E>;

/// Why storage did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error(transparent)]
    Object(#[from] crate::ObjectError),
    #[error(transparent)]
    InstanceBundle(#[from] crate::InstanceBundleError),
    #[error("snapshot {id} does not exist")]
    NoSuchSnapshot { id: SnapshotId },
    #[error("volume {id} does not exist")]
    NoSuchVolume { id: VolumeId },
    #[error("upload {id} does not exist")]
    NoSuchUpload { id: UploadId },
    #[error("import {id} does not exist")]
    NoSuchImport { id: TaskId },
    #[error("export {name} does not exist")]
    NoSuchExport { name: ExportName },
    #[error("export {name} has no file: {message}")]
    NoFile { name: ExportName, message: String },
    #[error("export {name} has ended: its files are where they were to go")]
    ExportEnded { name: ExportName },
    #[error("snapshot {id} is sold under a product: it can't be exported")]
    NotExportable { id: SnapshotId },
    #[error(transparent)]
    Export(WriteError),
    #[error("image {id} can't be saved: {why}")]
    NotSaved { id: ImageId, why: &'static str },
    #[error("the bundle's disk is {found}, not {promised} as it says: get the file again")]
    OtherContent { promised: Root, found: Root },
    #[error("upload {id} is being read by {task}: wait for it, or cancel it")]
    UploadInUse { id: UploadId, task: TaskId },
    #[error("of upload {id} {missing} bytes are missing: send them first")]
    UploadIncomplete { id: UploadId, missing: u64 },
    #[error("there are {limit} {what} already: end some, or wait for them")]
    TooMany { what: &'static str, limit: usize },
    #[error("no region `{name}` is set up; known are: {known}")]
    NoSuchRegion { name: String, known: String },
    #[error("region `{name}` refused: {why}")]
    RegionRefused { name: String, why: String },
    #[error("region `{name}` can't be reached: {why}")]
    RegionAway { name: String, why: String },
    #[error("in region `{region}`, {why}")]
    Lacking { region: String, id: String, why: String, lack: Lack },
    #[error(transparent)]
    Url(#[from] BadUrl),
    #[error("`{url}` can't be fetched: {why}")]
    Fetch { url: String, why: String },
    #[error("it was cancelled")]
    Cancelled,
    #[error("the service is stopping: ask again in a moment")]
    Stopping,
    #[error("snapshot {id} is needed by image {image}: deregister that first")]
    InUse { id: SnapshotId, image: ImageId },
    #[error("snapshot {id} is not complete: wait for it, or see its state's reason")]
    NotCompleted { id: SnapshotId },
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("the file is {bytes} bytes, more than the {limit} allowed")]
    FileTooLarge { bytes: u64, limit: u64 },
    #[error(transparent)]
    Size(#[from] BadSize),
    #[error(transparent)]
    Performance(#[from] BadPerformance),
    #[error(transparent)]
    Tag(#[from] BadTag),
    #[error(transparent)]
    Filter(#[from] BadFilter),
    #[error(transparent)]
    OverQuota(#[from] OverQuota),
    #[error("volume {id} is {plug} at instance {instance}: detach it first")]
    VolumeInUse { id: VolumeId, instance: InstanceId, plug: &'static str },
    #[error("instance {instance} has volume {id} as `{device}`: choose another device name")]
    DeviceInUse { instance: InstanceId, device: String, id: VolumeId },
    #[error("instance {instance} has no volumes to make snapshots of")]
    NoVolumes { instance: InstanceId },
    #[error("work on volume {id} is under way: ask again a little later")]
    Busy { id: VolumeId },
    #[error(transparent)]
    Block(#[from] BlockError),
    #[error("the import makes no sense: {0}")]
    Sequence(&'static str),
    #[error("{what} `{value}` is not valid: {rule}")]
    Invalid { field: &'static str, what: &'static str, value: String, rule: String },
    #[error(transparent)]
    PageToken(#[from] BadToken),
    #[error(transparent)]
    Reused(#[from] Reused),
    #[error(transparent)]
    Fenced(#[from] Fenced),
    #[error("the host's disk is full: free some space and ask again")]
    DiskFull,
    #[error("stored data are damaged")]
    Blocks(#[source] BlocksError),
    #[error("a volume failed")]
    Disk(#[source] DiskError),
    #[error("a file of the service failed")]
    Io(#[source] std::io::Error),
    #[error("the data key {id} is gone for good, and with it what it encrypted")]
    DataKeyGone { id: LineageId },
    #[error("key {id} does not exist")]
    NoSuchKey { id: KmsKeyId },
    #[error("key {id} is disabled or is to be deleted: enable it, or use another one")]
    KeyNotUsable { id: KmsKeyId },
    #[error("key {id} can't change so: {why}")]
    KeyState { id: KmsKeyId, why: BadChange },
    #[error("snapshot {id} is encrypted and so are its copies: leave `encrypted` out")]
    DecryptionRefused { id: SnapshotId },
    #[error("snapshot {id} is not encrypted: delete it instead")]
    NotEncrypted { id: SnapshotId },
    #[error("volume {id} needs the data: detach it first, or wait for its owner to")]
    DataInUse { id: VolumeId },
    #[error("the keys can't be reached")]
    Provider(#[source] std::io::Error),
    #[error("a record is damaged")]
    Damaged,
    #[error("the store failed")]
    Store(#[source] StoreError),
    #[error("a worker ended early")]
    Worker(#[from] tokio::task::JoinError),
}

/// What another region does not have for an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    Image,
    AvailableImage,
    Snapshot,
    CompletedSnapshot,
}

/// Why a block was not read or written, or blocks do not make a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    #[error("snapshot {id} belongs to another account")]
    NotOwner { id: SnapshotId },
    #[error("the token does not let you read block {index} of {id}: list the blocks again")]
    Token { id: SnapshotId, index: u32 },
    #[error("block {index} is not one of snapshot {id}, which has {blocks}: count from 0")]
    Index { id: SnapshotId, index: i64, blocks: u64 },
    #[error("a block has 524288 bytes, not {bytes}")]
    Length { bytes: usize },
    #[error("the checksum of {what} is another: send it again")]
    Checksum { what: String },
    #[error("another block {index} is being written to {id}: one of them at a time")]
    Conflict { id: SnapshotId, index: u32 },
    #[error("snapshot {id} was given up, as no block came for its timeout: start another")]
    TimedOut { id: SnapshotId },
    #[error("snapshot {id} does not take blocks: start one with StartSnapshot")]
    NotPending { id: SnapshotId },
    #[error("{there} blocks were written to {id}, not {said}")]
    Count { id: SnapshotId, there: u64, said: i64 },
    #[error("blocks of {id} were replaced too often: complete it and start another")]
    Rewritten { id: SnapshotId },
}

impl From<BlocksError> for StorageError {
    fn from(error: BlocksError) -> Self {
        if matches!(error, BlocksError::Full) { Self::DiskFull } else { Self::Blocks(error) }
    }
}

impl From<DiskError> for StorageError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Io { source, .. } => source.into(),
            other => Self::Disk(other),
        }
    }
}

impl From<std::io::Error> for StorageError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Io(error),
        }
    }
}

impl From<StoreError> for StorageError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full { .. } => Self::DiskFull,
            other => Self::Store(other),
        }
    }
}

impl From<TxError<StorageError>> for StorageError {
    fn from(error: TxError<StorageError>) -> Self {
        error.flatten()
    }
}

pub(crate) fn name(reason: Reason) -> &'static str {
    reason.as_str_name().trim_start_matches("STORAGE_ERROR_REASON_")
}

impl Describe for StorageError {
    const DOMAIN: &'static str = "storage.vmint";

    #[allow(clippy::too_many_lines, reason = "a table")]
    fn fault(&self) -> Fault {
        let fault = |kind, reason| Fault::new(kind, name(reason));
        match self {
            Self::Object(error) => error.fault(),
            Self::InstanceBundle(error) => error.fault(),
            Self::NoSuchSnapshot { id } => {
                fault(Kind::NotFound, Reason::SnapshotNotFound).with("snapshot_id", id)
            }
            Self::NoSuchVolume { id } => {
                fault(Kind::NotFound, Reason::VolumeNotFound).with("volume_id", id)
            }
            Self::NoSuchUpload { .. }
            | Self::NoSuchImport { .. }
            | Self::NoSuchExport { .. }
            | Self::NoFile { .. }
            | Self::ExportEnded { .. }
            | Self::NotExportable { .. }
            | Self::Export(_)
            | Self::NotSaved { .. }
            | Self::OtherContent { .. }
            | Self::UploadInUse { .. }
            | Self::UploadIncomplete { .. }
            | Self::TooMany { .. }
            | Self::NoSuchRegion { .. }
            | Self::RegionRefused { .. }
            | Self::RegionAway { .. }
            | Self::Lacking { .. }
            | Self::Url(_)
            | Self::Fetch { .. }
            | Self::Cancelled => self.of_transfer(),
            Self::InUse { id, image } => fault(Kind::Precondition, Reason::SnapshotInUse)
                .with("snapshot_id", id)
                .with("image_id", image)
                .hint(format!("vmint image deregister {image} --delete-snapshots")),
            Self::NotCompleted { id } => {
                fault(Kind::Precondition, Reason::SnapshotNotCompleted).with("snapshot_id", id)
            }
            Self::Image(error) => image_fault(error),
            Self::FileTooLarge { limit, .. } => {
                fault(Kind::BadRequest, Reason::ImageTooLarge).with("limit_bytes", limit)
            }
            Self::Size(_) => fault(Kind::BadRequest, Reason::VolumeSizeInvalid),
            Self::Performance(error) => {
                fault(Kind::BadRequest, Reason::VolumeTypeInvalid).field(error.field, &error.rule)
            }
            Self::Tag(error) => fault(Kind::BadRequest, Reason::TagInvalid)
                .with("key", &error.key)
                .field("tags", error.why),
            Self::Filter(error) => fault(Kind::BadRequest, Reason::FilterInvalid)
                .with("filter", &error.name)
                .field("filters", &error.problem),
            Self::OverQuota(over) => fault(Kind::OverQuota, Reason::QuotaExceeded)
                .with("quota", over.what)
                .with("limit", over.limit)
                .hint("the operator sets quotas in storage's configuration"),
            Self::VolumeInUse { id, instance, .. } => {
                fault(Kind::Precondition, Reason::VolumeInUse)
                    .with("volume_id", id)
                    .with("instance_id", instance)
                    .hint(format!("vmint volume detach {id}"))
            }
            Self::DeviceInUse { instance, device, id } => {
                fault(Kind::Precondition, Reason::DeviceInUse)
                    .with("instance_id", instance)
                    .with("device_name", device)
                    .with("volume_id", id)
            }
            Self::NoVolumes { instance } => {
                fault(Kind::Precondition, Reason::InstanceWithoutVolumes)
                    .with("instance_id", instance)
            }
            Self::Stopping => fault(Kind::Unavailable, Reason::ServiceStopping),
            Self::Busy { id } => fault(Kind::Unavailable, Reason::VolumeBusy)
                .with("volume_id", id)
                .retry_after(std::time::Duration::from_secs(2)),
            Self::Block(error) => block_fault(error),
            Self::Sequence(_) => fault(Kind::BadRequest, Reason::ImportSequenceInvalid)
                .hint("send one header, then data in ascending order"),
            Self::Invalid { field, rule, .. } => {
                fault(Kind::BadRequest, Reason::FieldInvalid).field(*field, rule)
            }
            Self::PageToken(_) => fault(Kind::BadRequest, Reason::PageTokenInvalid),
            Self::Reused(_) => fault(Kind::Conflict, Reason::RequestIdReused)
                .hint("draw a new request id for a new request"),
            Self::Fenced(_) => fault(Kind::Precondition, Reason::SagaFenced),
            Self::DiskFull => fault(Kind::OverQuota, Reason::DiskFull)
                .hint("df -h shows where the space went; nothing was lost"),
            Self::NoSuchKey { id } => {
                fault(Kind::NotFound, Reason::KeyNotFound).with("kms_key_id", id)
            }
            Self::KeyNotUsable { id } => fault(Kind::Precondition, Reason::KeyNotUsable)
                .with("kms_key_id", id)
                .hint("EnableKey lets it be used again"),
            Self::KeyState { id, .. } => {
                fault(Kind::Precondition, Reason::KeyStateInvalid).with("kms_key_id", id)
            }
            Self::DecryptionRefused { id } => {
                fault(Kind::BadRequest, Reason::DecryptionRefused).with("snapshot_id", id)
            }
            Self::NotEncrypted { id } => fault(Kind::Precondition, Reason::FieldInvalid)
                .field("snapshot_id", "name an encrypted snapshot")
                .with("snapshot_id", id),
            Self::DataInUse { id } => {
                fault(Kind::Precondition, Reason::DataInUse).with("volume_id", id)
            }
            Self::DataKeyGone { id } => {
                fault(Kind::Precondition, Reason::DataKeyGone).with("lineage_id", id)
            }
            Self::Blocks(_) => fault(Kind::Internal, Reason::DataDamaged),
            Self::Disk(_)
            | Self::Io(_)
            | Self::Provider(_)
            | Self::Damaged
            | Self::Store(_)
            | Self::Worker(_) => fault(Kind::Internal, Reason::StoreFailed),
        }
    }
}

/// What is wrong with a block, in EBS direct's words.
fn block_fault(error: &BlockError) -> Fault {
    use BlockError as E;
    let fault = |kind, reason| Fault::new(kind, name(reason));
    match error {
        E::NotOwner { id } => {
            fault(Kind::Forbidden, Reason::UnauthorizedAccount).with("snapshot_id", id)
        }
        E::Token { id, index } => fault(Kind::BadRequest, Reason::InvalidBlockToken)
            .with("snapshot_id", id)
            .with("block_index", index)
            .hint("tokens serve the account they were listed to, for 15 minutes"),
        E::Index { .. } | E::Length { .. } => fault(Kind::BadRequest, Reason::InvalidBlock),
        E::Checksum { .. } => fault(Kind::BadRequest, Reason::ChecksumMismatch)
            .hint("SHA-256 of the bytes as they are sent"),
        E::Conflict { .. } => fault(Kind::Conflict, Reason::ConflictingBlockUpdate),
        E::TimedOut { id } => {
            fault(Kind::Precondition, Reason::WriteRequestTimeout).with("snapshot_id", id)
        }
        E::NotPending { id } => {
            fault(Kind::Precondition, Reason::SnapshotNotPending).with("snapshot_id", id)
        }
        E::Count { there, .. } => {
            fault(Kind::BadRequest, Reason::ChangedBlocksCountInvalid).with("written", there)
        }
        E::Rewritten { id } => fault(Kind::OverQuota, Reason::QuotaExceeded)
            .with("snapshot_id", id)
            .with("quota", "blocks written again"),
    }
}

/// What is wrong with somebody's disk file.
fn image_fault(error: &ImageError) -> Fault {
    let reason = match error {
        ImageError::Io(_) | ImageError::OutOfRange { .. } | ImageError::Cancelled => {
            return Fault::new(Kind::Internal, name(Reason::StoreFailed));
        }
        ImageError::TooLarge { .. } | ImageError::TooMuchData { .. } => Reason::ImageTooLarge,
        ImageError::Feature { .. }
        | ImageError::Ambiguous(_)
        | ImageError::TooSlow { .. }
        | ImageError::TooComplex { .. } => Reason::ImageUnsafe,
        ImageError::Malformed { .. } => Reason::ImageDamaged,
        ImageError::Empty | ImageError::Mismatch { .. } | ImageError::Unsupported { .. } => {
            Reason::ImageFormatInvalid
        }
    };
    // The text itself says what to change; the word is for programs.
    Fault::new(Kind::BadRequest, name(reason)).with("problem", error.reason())
}
