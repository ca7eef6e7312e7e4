//! How much an account may have.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use vmint_ids::AccountId;

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
    /// Of files on their way in, each as large as was said when it was begun.
    pub upload_bytes: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            snapshots: 100_000,
            snapshot_bytes: 4 << 50,
            volumes: 10_000,
            volume_bytes: 1 << 50,
            object_bytes: 1 << 44,
            upload_bytes: 1 << 44,
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
            OverQuota::check(what, wanted, limit)?;
        }
        Ok(())
    }
}

impl OverQuota {
    /// That no more is wanted than there may be.
    pub(crate) fn check(what: &'static str, wanted: u64, limit: u64) -> Result<(), Self> {
        if wanted > limit { Err(Self { what, wanted, limit }) } else { Ok(()) }
    }
}

/// Bytes of files on their way in that no record counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Coming(Arc<Mutex<BTreeMap<AccountId, u64>>>);

/// Room taken for one of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    of: Coming,
    account: AccountId,
    bytes: u64,
}

impl Coming {
    pub(crate) fn of(&self, account: AccountId) -> u64 {
        self.0.lock().get(&account).copied().unwrap_or_default()
    }

    pub(crate) fn take(&self, account: AccountId, bytes: u64) -> Room {
        *self.0.lock().entry(account).or_default() += bytes;
        Room { of: self.clone(), account, bytes }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut all = self.of.0.lock();
        let left = all.get(&self.account).copied().unwrap_or_default().saturating_sub(self.bytes);
        if left == 0 {
            all.remove(&self.account);
        } else {
            all.insert(self.account, left);
        }
    }
}
