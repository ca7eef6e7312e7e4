use std::time::Duration;

use prost::Message;
use tonic::Status;
use vmint_api::{
    gateway::v1::{DetachVolumeRequest, DetachVolumeResponse},
    launcher::v1::{InstanceState, ReleaseVolumePlugRequest},
    storage::v1::{
        AttachmentState, EnsureVolumeAttachedRequest, ReleaseVolumeAttachmentRequest, Volume,
    },
};
use vmint_rpc::Caller;

use super::{
    Gateway, asked,
    attach_volume::{is_gone, without_bulk},
};
use crate::{
    GatewayError,
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
    ) -> Result<DetachPlan, Status> {
        let volume = self.own_volume(caller, &request.volume_id).await?;
        let id = volume.volume_id.clone();
        if volume.instance_id.is_empty() {
            return Err(GatewayError::NotAttached { id }.into());
        }
        if !request.instance_id.is_empty() && request.instance_id != volume.instance_id {
            return Err(GatewayError::NotAttached { id }.into());
        }
        if volume.boot {
            let instance = self.own_instance(caller, &volume.instance_id).await?;
            if instance.state() != InstanceState::Stopped {
                let instance = instance.instance_id;
                return Err(GatewayError::RootVolume { id, instance }.into());
            }
        }
        Ok(DetachPlan {
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

#[derive(Clone, PartialEq, Message)]
pub(super) struct DetachPlan {
    #[prost(string, tag = "1")]
    volume_id: String,
    #[prost(string, tag = "2")]
    instance_id: String,
    #[prost(string, tag = "3")]
    device_name: String,
    #[prost(bool, tag = "4")]
    delete_on_termination: bool,
    #[prost(bool, tag = "5")]
    force: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DetachMemo {
    #[prost(message, optional, tag = "1")]
    volume: Option<Volume>,
}

impl DetachPlan {
    fn ensure(&self, at: &At, state: AttachmentState) -> EnsureVolumeAttachedRequest {
        EnsureVolumeAttachedRequest {
            saga: at.saga_step(),
            account_id: at.account.clone(),
            volume_id: self.volume_id.clone(),
            instance_id: self.instance_id.clone(),
            device_name: self.device_name.clone(),
            delete_on_termination: self.delete_on_termination,
            state: state.into(),
        }
    }
}

#[tonic::async_trait]
impl Kind for Detach {
    type Step = Step;
    type Request = DetachPlan;
    type Memo = DetachMemo;

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
        plan: &DetachPlan,
        memo: &mut DetachMemo,
    ) -> Result<(), StepError> {
        let mut storage = self.peers.volumes(&at.caller());
        match step {
            Step::Mark => {
                let ensure = plan.ensure(at, AttachmentState::Detaching);
                storage.ensure_volume_attached(ensure).await?;
            }
            Step::Unplug => {
                let release = ReleaseVolumePlugRequest {
                    saga: at.saga_step(),
                    instance_id: plan.instance_id.clone(),
                    account_id: at.account.clone(),
                    volume_id: plan.volume_id.clone(),
                    force: plan.force,
                };
                self.peers.launcher(&at.caller()).release_volume_plug(release).await?;
            }
            Step::Release => {
                let release = ReleaseVolumeAttachmentRequest {
                    saga: at.saga_step(),
                    volume_id: plan.volume_id.clone(),
                    instance_id: plan.instance_id.clone(),
                    undo: false,
                };
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
        plan: &DetachPlan,
        _: &DetachMemo,
    ) -> Result<(), StepError> {
        if let Step::Mark = step {
            let ensure = plan.ensure(at, AttachmentState::Attached);
            match self.peers.volumes(&at.caller()).ensure_volume_attached(ensure).await {
                Ok(_) => {}
                Err(status) if is_gone(&status) => {}
                Err(status) => return Err(status.into()),
            }
        }
        Ok(())
    }
}
