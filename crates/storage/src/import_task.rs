//! Imports: disk files on their way to becoming snapshots.

use std::{fmt, str::FromStr};

use vmint_blocks::Root;
use vmint_ids::{
    AccountId, ImageId, ImportImageTaskId, ImportSnapshotTaskId, ParseIdError, SnapshotId, UploadId,
};
use vmint_images::Format;

use crate::{
    Content, Seal, import_url::ImportUrl, instance_bundle::Location, object::ObjectName, tag::Tags,
};

/// Imports of one account that are under way at a time.
pub(crate) const MAX_ACTIVE: usize = 20;
/// Disks of one image.
pub(crate) const MAX_DISKS: usize = 21;
/// How long an import is remembered when it has ended.
pub(crate) const REMEMBERED_MS: u64 = 7 * 24 * 3600 * 1000;

/// What an import is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskId {
    /// Of one disk, into a snapshot.
    Snapshot(ImportSnapshotTaskId),
    /// Of an image's disks.
    Image(ImportImageTaskId),
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot(id) => id.fmt(f),
            Self::Image(id) => id.fmt(f),
        }
    }
}

impl FromStr for TaskId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.starts_with("import-ami-") {
            text.parse().map(Self::Image)
        } else {
            text.parse().map(Self::Snapshot)
        }
    }
}

/// Where an import stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskState {
    Active,
    Completed,
    /// Over, but the image's saga has still to take away what was made.
    Deleting,
    Deleted,
}

/// Where a disk file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileSource {
    Upload(UploadId),
    Url(ImportUrl),
    /// In a bucket of the account's.
    Object(ObjectName),
    /// There is none: the disk is that of a snapshot.
    Snapshot(SnapshotId),
    /// An instance-store bundle.
    Bundle(Location),
}

/// A file that is being fetched, so that a restart goes on where it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fetched {
    /// How much is there for good.
    pub(crate) bytes: u64,
    /// The whole file's size, once the server has said it.
    pub(crate) of: Option<u64>,
    /// What the server calls this version of it; empty if it does not.
    pub(crate) version: String,
}

/// One disk of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disk {
    pub source: FileSource,
    pub declared: Option<Format>,
    /// Which disk of a package, if it was said.
    pub(crate) index: Option<usize>,
    pub device: String,
    pub snapshot: SnapshotId,
    pub(crate) fetched: Fetched,
    pub made: Option<Made>,
}

/// What a disk file has become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    pub format: Format,
    pub file_bytes: u64,
    pub content: Content,
    /// What a bundle calls the content, and what it was held to.
    pub(crate) root: Option<Root>,
}

/// An import and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    pub id: TaskId,
    pub account: AccountId,
    pub state: TaskState,
    /// EC2's words for the step, or why it ended.
    pub message: String,
    /// Of a failed one, a `StorageErrorReason` without its prefix.
    pub reason: String,
    pub description: String,
    pub image: Option<ImageId>,
    pub disks: Vec<Disk>,
    /// What its snapshots are encrypted with; none if they are not.
    pub seal: Option<Seal>,
    pub tags: Tags,
    /// Of the snapshots it makes.
    pub(crate) snapshot_tags: Tags,
    pub created_ms: u64,
    /// 0 until it has ended.
    pub ended_ms: u64,
}

impl Task {
    /// Whether all its disks are snapshots.
    pub(crate) fn is_converted(&self) -> bool {
        self.disks.iter().all(|disk| disk.made.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_kind_of_id_reads_back() {
        for id in [
            TaskId::Snapshot(ImportSnapshotTaskId::random()),
            TaskId::Image(ImportImageTaskId::random()),
        ] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert!("import-disk-0123456789abcdef0".parse::<TaskId>().is_err());
    }
}
