//! Volumes that come to machines and go.

use std::time::Duration;

use vmint_ids::InstanceId;

use super::{Fleet, fleet::Live, hypervisor::HypervisorError};
use crate::{Instance, LauncherError, Result, State, Volume};

impl Fleet {
    /// Records a volume and plugs it in, if the instance runs. Goes on to the end even if
    /// the caller does not wait.
    pub(crate) async fn plug(
        &self,
        epoch: u64,
        account: String,
        id: InstanceId,
        volume: Volume,
    ) -> Result<Volume> {
        let this = self.clone();
        let work = self.tasks.spawn(async move { this.plug_now(epoch, account, id, volume).await });
        work.await.map_err(|_| stopping(id))?
    }

    async fn plug_now(
        &self,
        epoch: u64,
        account: String,
        id: InstanceId,
        volume: Volume,
    ) -> Result<Volume> {
        let _gate = self.gates.enter(id).await;
        let name = volume.id.clone();
        let (instance, fresh) = self.records.attach(epoch, id, account, volume).await?;
        let found = instance.identity.iter().flat_map(|d| &d.volumes).find(|v| v.id == name);
        let volume = found.cloned().ok_or(LauncherError::Damaged { what: "identity" })?;
        if instance.state != State::Running {
            return Ok(volume);
        }
        let plugged = match self.machine_of(&instance) {
            Ok(live) => live.machine.plug(&volume).await.map_err(|e| refused(id, &volume.id, e)),
            Err(error) => Err(error),
        };
        match plugged {
            Ok(()) => {
                tracing::info!(instance = %id, volume = volume.id, "plugged in");
                Ok(volume)
            }
            Err(error) => {
                if fresh && let Err(error) = self.records.detach(id, volume.id).await {
                    tracing::error!(instance = %id, %error, "a failed plug is not forgotten");
                }
                Err(error)
            }
        }
    }

    /// Takes a volume out of the instance's machine, if it has one, and forgets it. Goes
    /// on to the end even if the caller does not wait.
    pub(crate) async fn unplug(
        &self,
        epoch: u64,
        account: String,
        id: InstanceId,
        volume: String,
        limit: Duration,
        force: bool,
    ) -> Result<()> {
        let this = self.clone();
        let work = self.tasks.spawn(async move {
            let _gate = this.gates.enter(id).await;
            let found = this.records.may_detach(epoch, id, account, volume.clone()).await?;
            let Some(instance) = found else { return Ok(()) };
            if instance.state.has_machine() {
                let live = this.machine_of(&instance)?;
                let gone = live.machine.unplug(&volume, limit, force).await;
                // A machine that ended meanwhile has let go of everything.
                if !live.machine.is_over() {
                    gone.map_err(|error| refused(id, &volume, error))?;
                }
            }
            tracing::info!(instance = %id, volume, "taken out");
            this.records.detach(id, volume).await
        });
        work.await.map_err(|_| stopping(id))?
    }

    fn machine_of(&self, instance: &Instance) -> Result<std::sync::Arc<Live>> {
        let why = "it is being looked for".to_owned();
        self.live(instance.id).ok_or(LauncherError::MachineMute { id: instance.id, why })
    }
}

fn stopping(id: InstanceId) -> LauncherError {
    LauncherError::MachineMute { id, why: "the launcher is being stopped".to_owned() }
}

fn refused(id: InstanceId, volume: &str, error: HypervisorError) -> LauncherError {
    let volume = volume.to_owned();
    match error {
        HypervisorError::Held => LauncherError::VolumeHeld { id, volume },
        HypervisorError::Fixed => LauncherError::VolumeFixed { id, volume },
        HypervisorError::NoPlace => LauncherError::NoPlace { id },
        HypervisorError::Missing { hint: why } | HypervisorError::Failed(why) => {
            LauncherError::MachineMute { id, why }
        }
    }
}
