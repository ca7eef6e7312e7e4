use futures::{StreamExt as _, TryStreamExt as _, stream};
use vmint_ids::InstanceId;

use super::Launcher;
use crate::{Instance, LauncherError, Result};

/// Machines ended at a time.
const AT_ONCE: usize = 8;
/// Ids in one call; each is a write.
const MOST: usize = 50;

impl Launcher {
    /// Undoes a launch: ends what there is of it, and keeps what there is not yet from
    /// coming.
    pub async fn release(&self, epoch: u64, ids: Vec<InstanceId>, reason: &str) -> Result<()> {
        let reason = match reason {
            "" => "the launch failed".to_owned(),
            given => given.chars().take(500).collect(),
        };
        self.end(epoch, ids, None, reason).await.map(drop)
    }

    /// Ends instances of the account for good; answers once their machines are gone.
    pub async fn terminate(
        &self,
        epoch: u64,
        account: &str,
        ids: Vec<InstanceId>,
    ) -> Result<Vec<Instance>> {
        let reason = "terminated on request".to_owned();
        self.end(epoch, ids, Some(account.to_owned()), reason).await
    }

    /// Forgets some of an account's instances that have ended; says whether there
    /// may be more.
    pub async fn release_ended(&self, epoch: u64, account: &str) -> Result<bool> {
        self.records.forget_of(epoch, account.to_owned()).await
    }

    async fn end(
        &self,
        epoch: u64,
        ids: Vec<InstanceId>,
        account: Option<String>,
        reason: String,
    ) -> Result<Vec<Instance>> {
        if !(1..=MOST).contains(&ids.len()) {
            return Err(LauncherError::field("instance_ids", "give 1 to 50"));
        }
        let ending = self.records.begin_end(epoch, ids, account, reason).await?;
        stream::iter(ending)
            .map(|instance| self.fleet.finish(instance.id))
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }
}
