use std::time::Duration;

use tonic::Status;
use vmint_api::{
    gateway::v1::{DetachVolumeRequest, DetachVolumeResponse},
    launcher::v1::InstanceState,
    storage::v1::AttachmentState,
};
use vmint_rpc::Caller;

use super::{
    Gateway, asked,
    attachment::{Attachment, AttachmentMemo, unless_gone, without_bulk},
};
use crate::{
    DiskError,
    peers::Peers,
    saga::{At, Kind, StepError},
};

impl Gateway {
    /// Takes a volume of the caller's own from the instance it is at.
    pub(crate) async fn detach_volume(
        &self,
        caller: &Caller,
        request: DetachVolumeRequest,
    ) -> Result<DetachVolumeResponse, Status> {
        let asked = asked(caller, "DetachVolume", &request.request_id, &request)?;
        let saga = match self.sagas.replayed(&asked).await? {
            Some(saga) => saga,
            None => {
                let plan = self.plan_detachment(caller, &request).await?;
                let subjects = vec![plan.volume_id.clone(), plan.instance_id.clone()];
                self.sagas.begin::<Detach>(caller, &asked, subjects, &plan).await?
            }
        };
        let memo = self.sagas.to_end::<Detach>(saga).await?;
        Ok(DetachVolumeResponse { volume: memo.volume })
    }

    async fn plan_detachment(
        &self,
        caller: &Caller,
        request: &DetachVolumeRequest,
    ) -> Result<Attachment, Status> {
        let volume = self.own_volume(caller, &request.volume_id).await?;
        let id = volume.volume_id.clone();
        if volume.instance_id.is_empty() {
            return Err(DiskError::NotAttached { id }.into());
        }
        if !request.instance_id.is_empty() && request.instance_id != volume.instance_id {
            return Err(DiskError::NotAttached { id }.into());
        }
        if volume.boot {
            let instance = self.own_instance(caller, &volume.instance_id).await?;
            if instance.state() != InstanceState::Stopped {
                let instance = instance.instance_id;
                return Err(DiskError::RootVolume { id, instance }.into());
            }
        }
        Ok(Attachment {
            volume_id: id,
            instance_id: volume.instance_id,
            device_name: volume.device_name,
            delete_on_termination: volume.delete_on_termination,
            force: request.force,
        })
    }
}

/// mark at storage → **take out** → release.
#[derive(Debug)]
pub(super) struct Detach {
    pub(super) peers: Peers,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Mark,
    Unplug,
    Release,
}

#[tonic::async_trait]
impl Kind for Detach {
    type Step = Step;
    type Request = Attachment;
    type Memo = AttachmentMemo;

    const NAME: &'static str = "detach-volume";
    const STEPS: &'static [Step] = &[Step::Mark, Step::Unplug, Step::Release];
    const PIVOT: usize = 1;
    const PATIENCE: Duration = Duration::from_mins(2);

    fn name(step: Step) -> &'static str {
        match step {
            Step::Mark => "mark",
            Step::Unplug => "unplug",
            Step::Release => "release",
        }
    }

    async fn run(
        &self,
        step: Step,
        at: &At,
        plan: &Attachment,
        memo: &mut AttachmentMemo,
    ) -> Result<(), StepError> {
        let mut storage = self.peers.volumes(&at.caller());
        match step {
            Step::Mark => {
                let ensure = plan.ensure(at, AttachmentState::Detaching);
                storage.ensure_volume_attached(ensure).await?;
            }
            Step::Unplug => {
                let release = plan.unplug(at, plan.force);
                self.peers.launcher(&at.caller()).release_volume_plug(release).await?;
            }
            Step::Release => {
                let release = plan.release(at, false);
                let released = storage.release_volume_attachment(release).await?;
                memo.volume = released.into_inner().volume.map(without_bulk);
            }
        }
        Ok(())
    }

    async fn undo(
        &self,
        step: Step,
        at: &At,
        plan: &Attachment,
        _: &AttachmentMemo,
    ) -> Result<(), StepError> {
        if let Step::Mark = step {
            let ensure = plan.ensure(at, AttachmentState::Attached);
            let mut storage = self.peers.volumes(&at.caller());
            unless_gone(storage.ensure_volume_attached(ensure).await)?;
        }
        Ok(())
    }
}
