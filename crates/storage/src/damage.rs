//! A lost chunk and what it hits.

use vmint_blocks::ChunkId;
use vmint_ids::{AccountId, ImageId, InstanceId, SnapshotId, VolumeId};

/// A chunk that is needed and not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub(crate) id: String,
    /// It lists other chunks.
    pub node: bool,
    pub disks: Vec<DamagedDisk>,
}

/// A disk that needs it, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedDisk {
    pub disk: Disk,
    pub account: AccountId,
    pub offset: u64,
    pub length: u64,
}

/// Whose content is hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disk {
    Snapshot { id: SnapshotId, images: Vec<ImageId> },
    Volume { id: VolumeId, instance: Option<InstanceId> },
}

/// A name for a chunk that tells nothing of its own, which stays inside.
pub(crate) fn name(chunk: &ChunkId) -> String {
    blake3::hash(chunk.as_bytes()).to_hex()[..16].to_owned()
}
