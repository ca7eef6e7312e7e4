//! What is stored and how much room it takes.

use vmint_ids::AccountId;

use crate::{Result, Storage, store::held};

/// Sums over an account, and over the host for its operator.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    pub(crate) logical_bytes: u64,
    pub(crate) snapshots: u64,
    pub(crate) volumes: u64,
    pub(crate) volume_bytes: u64,
    pub(crate) upload_bytes: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) chunks: u64,
}

impl Storage {
    /// What `account` has, as its quota counts it.
    pub(crate) fn usage(&self, account: AccountId, operator: bool) -> Result<Usage> {
        let held = held::of(self.records.store(), account)?;
        let mut usage = Usage {
            logical_bytes: held.snapshot_bytes,
            snapshots: held.snapshots,
            volumes: held.volumes,
            volume_bytes: held.volume_bytes,
            upload_bytes: self.upload_bytes(account)?,
            ..Usage::default()
        };
        if operator {
            let stats = self.blocks.stats();
            usage.stored_bytes = stats.stored_bytes;
            usage.chunks = stats.chunks;
        }
        Ok(usage)
    }
}
