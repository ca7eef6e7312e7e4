use futures::{StreamExt as _, TryStreamExt as _, stream};
use vmint_ids::InstanceId;

use super::Launcher;
use crate::{Instance, LauncherError, Result, State, instance::MAX_LAUNCH, store::By};

/// Machines started at a time.
const AT_ONCE: usize = 4;

impl Launcher {
    /// Makes the machines of pending instances run; those that ran already are let be.
    pub async fn ensure_machines(&self, epoch: u64, ids: &[InstanceId]) -> Result<Vec<Instance>> {
        if !(1..=MAX_LAUNCH).contains(&ids.len()) {
            return Err(LauncherError::field("instance_ids", "give 1 to 20"));
        }
        self.records.pass_fence(epoch).await?;
        stream::iter(ids.to_vec())
            .map(|id| self.ensure_machine(epoch, id))
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn ensure_machine(&self, epoch: u64, id: InstanceId) -> Result<Instance> {
        let instance = self.fleet.begin(id, By::Saga(epoch)).await?;
        match instance.state {
            State::Pending | State::ShuttingDown | State::Terminated if instance.unlaunched() => {
                Err(instance.not_now("launch"))
            }
            _ => Ok(instance),
        }
    }
}
