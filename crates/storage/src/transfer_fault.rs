//! What callers are told of imports, exports and copies that went wrong.

use vmint_api::storage::v1::StorageErrorReason as Reason;
use vmint_rpc::{Describe as _, Fault, Kind};

use crate::{
    StorageError,
    error::{Lack, name},
};

/// An error as a task keeps it: what went wrong and, if anything, what to do.
pub(crate) fn told(error: &StorageError) -> String {
    let fault = error.fault();
    let text = match &fault.hint {
        _ if fault.kind == Kind::Internal => "the service failed; its log says how".to_owned(),
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    };
    text.chars().take(512).collect()
}

impl StorageError {
    /// What is wrong with bringing a disk in or out.
    pub(crate) fn of_transfer(&self) -> Fault {
        let fault = |kind, reason| Fault::new(kind, name(reason));
        match self {
            Self::NoSuchUpload { id } => {
                fault(Kind::NotFound, Reason::UploadNotFound).with("upload_id", id)
            }
            Self::NoSuchImport { id } => {
                fault(Kind::NotFound, Reason::TaskNotFound).with("task_id", id)
            }
            Self::NoSuchExport { name } => {
                fault(Kind::NotFound, Reason::ExportTaskNotFound).with("task_id", name)
            }
            Self::NoFile { name, .. } | Self::ExportEnded { name } => {
                fault(Kind::Precondition, Reason::TaskEnded).with("task_id", name)
            }
            Self::NotExportable { id } => {
                fault(Kind::Precondition, Reason::NotExportable).with("snapshot_id", id)
            }
            Self::Export(_) | Self::NotSaved { .. } => {
                fault(Kind::Precondition, Reason::NotExportable)
            }
            Self::OtherContent { .. } => fault(Kind::Precondition, Reason::ChecksumMismatch),
            Self::UploadInUse { id, task } => fault(Kind::Precondition, Reason::UploadInUse)
                .with("upload_id", id)
                .with("task_id", task),
            Self::UploadIncomplete { id, .. } => {
                fault(Kind::Precondition, Reason::UploadIncomplete)
                    .with("upload_id", id)
                    .hint("GetUpload says which bytes are there")
            }
            Self::TooMany { limit, .. } => {
                fault(Kind::OverQuota, Reason::TooManyTransfers).with("limit", limit)
            }
            Self::NoSuchRegion { .. } => fault(Kind::BadRequest, Reason::RegionUnknown)
                .field("source_region", self.to_string())
                .hint("the operator sets it up under `regions` in storage's settings"),
            Self::RegionRefused { name, .. } => {
                fault(Kind::Precondition, Reason::RegionRefused).with("region", name)
            }
            Self::Lacking { region, id, lack, .. } => {
                let (kind, reason, key) = match lack {
                    Lack::Image => (Kind::NotFound, Reason::SourceImageNotFound, "imageId"),
                    Lack::AvailableImage => {
                        (Kind::Precondition, Reason::SourceImageNotAvailable, "imageId")
                    }
                    Lack::Snapshot => (Kind::NotFound, Reason::SnapshotNotFound, "snapshotId"),
                    Lack::CompletedSnapshot => {
                        (Kind::Precondition, Reason::SnapshotNotCompleted, "snapshotId")
                    }
                };
                fault(kind, reason).with("region", region).with(key, id)
            }
            Self::RegionAway { name, .. } => fault(Kind::Unavailable, Reason::RegionAway)
                .with("region", name)
                .hint("it goes on where it was as soon as the region answers"),
            Self::Url(_) => {
                fault(Kind::BadRequest, Reason::UrlRefused).field("source.url", self.to_string())
            }
            Self::Fetch { .. } => fault(Kind::Precondition, Reason::UrlRefused),
            Self::Cancelled => fault(Kind::Precondition, Reason::TaskEnded),
            _ => fault(Kind::Internal, Reason::StoreFailed),
        }
    }
}
