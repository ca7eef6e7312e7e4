//! Exports: snapshots on their way to becoming disk files.

use std::{fmt, str::FromStr};

use vmint_blocks::Root;
use vmint_ids::{
    AccountId, ExportImageTaskId, ExportTaskId, ImageId, ParseIdError, SnapshotId, StoreImageTaskId,
};
use vmint_images::bundle::Registration;

use crate::{Content, import_task::TaskState, object::BucketName, tag::Tags};

/// Exports of one account that are under way, or whose files are there, at a
/// time.
pub(crate) const MAX_EXPORTS: usize = 20;

/// Images that one account has on their way to being stored, in bytes of their
/// disks.
pub(crate) const MAX_STORING_BYTES: u64 = 600_000_000_000;
/// The largest image that is stored, in bytes of its disks.
pub(crate) const MAX_STORED_BYTES: u64 = 5_000_000_000_000;
/// How long exports are remembered when they have ended, and stored images.
const REMEMBERED_MS: u64 = 7 * 24 * 3600 * 1000;
const STORED_REMEMBERED_MS: u64 = 31 * 24 * 3600 * 1000;

/// What an export is called: by what becomes of it. The digits are its own
/// whatever stands before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExportName {
    /// A file to fetch.
    File(ExportTaskId),
    /// A file of each of an image's disks, in a bucket.
    Disks(ExportImageTaskId),
    /// A whole image, in a bucket.
    Whole(StoreImageTaskId),
}

impl ExportName {
    /// What it is kept under.
    pub(crate) fn id(self) -> ExportTaskId {
        ExportTaskId::from_key(match self {
            Self::File(id) => id.to_key(),
            Self::Disks(id) => id.to_key(),
            Self::Whole(id) => id.to_key(),
        })
    }
}

impl fmt::Display for ExportName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(id) => id.fmt(f),
            Self::Disks(id) => id.fmt(f),
            Self::Whole(id) => id.fmt(f),
        }
    }
}

impl FromStr for ExportName {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.starts_with("export-ami-") {
            text.parse().map(Self::Disks)
        } else if text.starts_with("store-") {
            text.parse().map(Self::Whole)
        } else {
            text.parse().map(Self::File)
        }
    }
}

/// Where in a bucket an export's files go, and what is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) bucket: BucketName,
    /// What names of files begin with, but for a bundle's.
    pub(crate) prefix: String,
    pub(crate) description: String,
}

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
    /// None: its file is to be fetched.
    pub(crate) to: Option<Delivery>,
    pub(crate) tags: Tags,
}

impl ExportTask {
    /// Everything that it reads.
    pub(crate) fn contents(&self) -> Vec<Content> {
        self.image.as_ref().map_or_else(|| vec![self.content], |image| image.disks.clone())
    }

    /// The bytes of all its disks.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.contents().iter().map(|content| content.size_bytes).sum()
    }

    pub(crate) fn name(&self) -> ExportName {
        let key = self.id.to_key();
        match (&self.to, self.format) {
            (None, _) => ExportName::File(self.id),
            (Some(_), ExportFormat::Bundle) => ExportName::Whole(StoreImageTaskId::from_key(key)),
            (Some(_), _) => ExportName::Disks(ExportImageTaskId::from_key(key)),
        }
    }

    /// What its files are called in their bucket, the root disk's first.
    pub(crate) fn keys(&self) -> Vec<String> {
        let Some(to) = &self.to else { return Vec::new() };
        if self.format == ExportFormat::Bundle {
            let image = self.image.as_ref().map(|image| image.id);
            return image.iter().map(|id| format!("{id}.bin")).collect();
        }
        let (prefix, name, format) = (&to.prefix, self.name(), self.format);
        let key = |n| match n {
            0 => format!("{prefix}{name}.{format}"),
            n => format!("{prefix}{name}-{n}.{format}"),
        };
        (0..self.contents().len()).map(key).collect()
    }

    /// How long it is remembered when it has ended.
    pub(crate) fn remembered_ms(&self) -> u64 {
        match self.name() {
            ExportName::Whole(_) => STORED_REMEMBERED_MS,
            ExportName::File(_) | ExportName::Disks(_) => REMEMBERED_MS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_name_reads_back_and_has_its_own_digits() {
        let id = ExportTaskId::random();
        for name in [
            ExportName::File(id),
            ExportName::Disks(ExportImageTaskId::from_key(id.to_key())),
            ExportName::Whole(StoreImageTaskId::from_key(id.to_key())),
        ] {
            assert_eq!(name.to_string().parse(), Ok(name));
            assert_eq!(name.id(), id);
        }
        assert!("export-disk-0123456789abcdef0".parse::<ExportName>().is_err());
    }
}
