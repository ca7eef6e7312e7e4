//! What is stored and how much room it takes.

use vmint_ids::AccountId;

use crate::{Result, Storage};

/// Sums over an account, and over the host for its operator.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    pub(crate) logical_bytes: u64,
    pub(crate) snapshots: u64,
    pub(crate) volumes: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) chunks: u64,
}

impl Storage {
    /// Sums up what `account` has; a thousand records at a time.
    pub(crate) fn usage(&self, account: AccountId, operator: bool) -> Result<Usage> {
        let mut usage = Usage::default();
        let mut after = None;
        loop {
            let page = self.list_snapshots(account, after, 999)?;
            usage.snapshots += page.items.len() as u64;
            usage.logical_bytes += page.items.iter().map(|s| s.size_bytes).sum::<u64>();
            after = page.items.last().map(|snapshot| snapshot.id);
            if !page.more {
                break;
            }
        }
        let mut after = None;
        loop {
            let page = self.list_volumes(account, after, 999)?;
            usage.volumes += page.items.len() as u64;
            after = page.items.last().map(|volume| volume.id);
            if !page.more {
                break;
            }
        }
        if operator {
            let stats = self.blocks.stats();
            usage.stored_bytes = stats.stored_bytes;
            usage.chunks = stats.chunks;
        }
        Ok(usage)
    }
}
