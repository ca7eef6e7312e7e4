//! How much an account may have.

use serde::{Deserialize, Serialize};

/// The most that one account may have; sizes are those of the disks, holes and
/// all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quota {
    pub snapshots: u64,
    pub snapshot_bytes: u64,
    pub volumes: u64,
    pub volume_bytes: u64,
    /// Of what the files of all its objects hold.
    pub object_bytes: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            snapshots: 100_000,
            snapshot_bytes: 4 << 50,
            volumes: 10_000,
            volume_bytes: 1 << 50,
            object_bytes: 1 << 44,
        }
    }
}

/// What one account has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) snapshots: u64,
    pub(crate) snapshot_bytes: u64,
    pub(crate) volumes: u64,
    pub(crate) volume_bytes: u64,
}

/// The account would have more than it may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the account would have {wanted} {what} and may have {limit}: delete some, or ask the operator for more"
)]
pub struct OverQuota {
    pub what: &'static str,
    pub wanted: u64,
    pub limit: u64,
}

impl Quota {
    /// That `held` is within the limits.
    pub(crate) fn check(&self, held: &Held) -> Result<(), OverQuota> {
        for (what, wanted, limit) in [
            ("snapshots", held.snapshots, self.snapshots),
            ("bytes of snapshots", held.snapshot_bytes, self.snapshot_bytes),
            ("volumes", held.volumes, self.volumes),
            ("bytes of volumes", held.volume_bytes, self.volume_bytes),
        ] {
            if wanted > limit {
                return Err(OverQuota { what, wanted, limit });
            }
        }
        Ok(())
    }
}
