//! Snapshots: the frozen content of a disk.

use std::collections::BTreeSet;

use vmint_blocks::Root;
use vmint_ids::{AccountId, ImageId, KmsKeyId, LineageId, ProductCode, SnapshotId, VolumeId};

/// What a disk holds: a tree of blocks and how much of it is disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Whose deduplication domain the blocks are in: the account that brought
    /// the first ancestor in. Descendants stay there, whoever owns them.
    pub domain: AccountId,
    /// Whose data key the blocks are encrypted with; none if they are not.
    pub lineage: Option<LineageId>,
    pub root: Root,
    pub size_bytes: u64,
}

/// How something is encrypted: with the data key of its lineage, which lies
/// under a key of an account's. Descendants have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    pub lineage: LineageId,
    pub key: KmsKeyId,
}

/// How still the disk was when the snapshot was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// Taken in from outside.
    Imported,
    /// Of a volume that nothing ran on.
    Stopped,
    /// Of a running machine, as if its power had failed at that moment.
    Crash,
}

impl Consistency {
    /// As it is written on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::Stopped => "stopped",
            Self::Crash => "crash-consistent",
        }
    }
}

/// Where a snapshot stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotState {
    Pending,
    Completed(Content),
    /// Never to be completed, and why.
    Error(String),
}

/// The frozen content of a disk, and who needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub id: SnapshotId,
    pub account: AccountId,
    pub description: String,
    pub state: SnapshotState,
    /// Exact, of the disk.
    pub size_bytes: u64,
    pub volume: Option<VolumeId>,
    pub product_codes: BTreeSet<ProductCode>,
    /// Images that need it; while there is one it can't be deleted.
    pub images: BTreeSet<ImageId>,
    pub new_bytes: u64,
    pub stored_bytes: u64,
    pub created_ms: u64,
    pub consistency: Consistency,
    pub pause_micros: u64,
    /// None: its data are not encrypted.
    pub seal: Option<Seal>,
}

impl Snapshot {
    /// A snapshot that is still to be made.
    #[must_use]
    pub fn pending(id: SnapshotId, account: AccountId, size_bytes: u64, how: Consistency) -> Self {
        Self {
            id,
            account,
            description: String::new(),
            state: SnapshotState::Pending,
            size_bytes,
            volume: None,
            product_codes: BTreeSet::new(),
            images: BTreeSet::new(),
            new_bytes: 0,
            stored_bytes: 0,
            created_ms: 0,
            consistency: how,
            pause_micros: 0,
            seal: None,
        }
    }

    /// The content, once there is one.
    #[must_use]
    pub fn content(&self) -> Option<Content> {
        match self.state {
            SnapshotState::Completed(content) => Some(content),
            SnapshotState::Pending | SnapshotState::Error(_) => None,
        }
    }
}

/// Bytes as GiB, rounded up; at least 1.
#[must_use]
pub(crate) fn gib(bytes: u64) -> i32 {
    i32::try_from(bytes.div_ceil(1 << 30).max(1)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::gib;

    #[test]
    fn sizes_round_up_to_gib() {
        assert_eq!([0, 1, 1 << 30, (1 << 30) + 1].map(gib), [1, 1, 1, 2]);
    }
}
