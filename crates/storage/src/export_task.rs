//! Exports: snapshots on their way to becoming disk files.

use std::{fmt, str::FromStr};

use vmint_blocks::Root;
use vmint_ids::{AccountId, ExportTaskId, ImageId, SnapshotId};
use vmint_images::bundle::Registration;

use crate::{Content, import_task::TaskState};

/// Exports of one account that are under way, or whose files are there, at a
/// time.
pub(crate) const MAX_EXPORTS: usize = 20;

/// What a disk is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExportFormat {
    Raw,
    Qcow2,
    Vmdk,
    Vhd,
    Ova,
    Bundle,
}

/// The text names no format that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("use raw, qcow2, vmdk, vhd, ova or bundle")]
pub(crate) struct UnknownFormat;

impl ExportFormat {
    const ALL: [Self; 6] = [Self::Raw, Self::Qcow2, Self::Vmdk, Self::Vhd, Self::Ova, Self::Bundle];

    fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhd => "vhd",
            Self::Ova => "ova",
            Self::Bundle => "bundle",
        }
    }
}

impl fmt::Display for ExportFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ExportFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Self::ALL.into_iter().find(|format| format.name() == text).ok_or(UnknownFormat)
    }
}

/// An image on its way into a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) id: ImageId,
    pub(crate) registration: Registration,
    /// In the order that the registration counts them; kept as the task's own.
    pub(crate) disks: Vec<Content>,
}

/// An export and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExportTask {
    pub(crate) id: ExportTaskId,
    pub(crate) account: AccountId,
    pub(crate) snapshot: SnapshotId,
    /// Kept while the task is under way, whatever becomes of the snapshot.
    pub(crate) content: Content,
    /// What is written of a whole image.
    pub(crate) image: Option<Saved>,
    /// Of a complete bundle, what its disks are called.
    pub(crate) roots: Vec<Root>,
    pub(crate) format: ExportFormat,
    pub(crate) state: TaskState,
    pub(crate) message: String,
    pub(crate) file_bytes: u64,
    pub(crate) created_ms: u64,
    /// 0 until it has ended.
    pub(crate) ended_ms: u64,
    /// When the file goes; 0 until there is one.
    pub(crate) expires_ms: u64,
}

impl ExportTask {
    /// Everything that it reads.
    pub(crate) fn contents(&self) -> Vec<Content> {
        self.image.as_ref().map_or_else(|| vec![self.content], |image| image.disks.clone())
    }
}
