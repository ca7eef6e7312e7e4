use std::time::Duration;

use prost::Message;
use tonic::Status;
use vmint_api::{
    gateway::v1::{ModifyVolumeAttachmentRequest, ModifyVolumeAttachmentResponse},
    launcher::v1::EnsureVolumePluggedRequest,
    storage::v1::{AttachmentState, EnsureVolumeAttachedRequest, Volume},
};
use vmint_rpc::Caller;

use super::{Gateway, asked, attach_volume::without_bulk};
use crate::{
    GatewayError,
    peers::Peers,
    saga::{At, Kind, StepError},
};

impl Gateway {
    /// Changes what becomes of an attached volume when its instance ends.
    pub(crate) async fn modify_volume_attachment(
        &self,
        caller: &Caller,
        request: ModifyVolumeAttachmentRequest,
    ) -> Result<ModifyVolumeAttachmentResponse, Status> {
        let asked = asked(caller, "ModifyVolumeAttachment", &request.request_id, &request)?;
        let saga = match self.sagas.replayed(&asked).await? {
            Some(saga) => saga,
            None => {
                let volume = self.own_volume(caller, &request.volume_id).await?;
                if volume.attachment_state() != AttachmentState::Attached {
                    return Err(GatewayError::NotAttached { id: volume.volume_id }.into());
                }
                let subjects = vec![volume.volume_id.clone(), volume.instance_id.clone()];
                let plan = KeepPlan {
                    volume_id: volume.volume_id,
                    instance_id: volume.instance_id,
                    device_name: volume.device_name,
                    delete_on_termination: request.delete_on_termination,
                };
                self.sagas.begin::<Keep>(caller, &asked, subjects, &plan).await?
            }
        };
        let memo = self.sagas.to_end::<Keep>(saga).await?;
        Ok(ModifyVolumeAttachmentResponse { volume: memo.volume })
    }
}

/// **volume** → machine.
#[derive(Debug)]
pub(super) struct Keep {
    pub(super) peers: Peers,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Volume,
    Machine,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeepPlan {
    #[prost(string, tag = "1")]
    volume_id: String,
    #[prost(string, tag = "2")]
    instance_id: String,
    #[prost(string, tag = "3")]
    device_name: String,
    #[prost(bool, tag = "4")]
    delete_on_termination: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeepMemo {
    #[prost(message, optional, tag = "1")]
    volume: Option<Volume>,
    #[prost(string, tag = "2")]
    export_path: String,
}

#[tonic::async_trait]
impl Kind for Keep {
    type Step = Step;
    type Request = KeepPlan;
    type Memo = KeepMemo;

    const NAME: &'static str = "keep-volume";
    const STEPS: &'static [Step] = &[Step::Volume, Step::Machine];
    const PIVOT: usize = 0;
    const PATIENCE: Duration = Duration::from_secs(45);

    fn name(step: Step) -> &'static str {
        match step {
            Step::Volume => "volume",
            Step::Machine => "machine",
        }
    }

    async fn run(
        &self,
        step: Step,
        at: &At,
        plan: &KeepPlan,
        memo: &mut KeepMemo,
    ) -> Result<(), StepError> {
        match step {
            Step::Volume => {
                let ensure = EnsureVolumeAttachedRequest {
                    saga: at.saga_step(),
                    account_id: at.account.clone(),
                    volume_id: plan.volume_id.clone(),
                    instance_id: plan.instance_id.clone(),
                    device_name: plan.device_name.clone(),
                    delete_on_termination: plan.delete_on_termination,
                    state: AttachmentState::Attached.into(),
                };
                let mut storage = self.peers.volumes(&at.caller());
                let kept = storage.ensure_volume_attached(ensure).await?.into_inner();
                memo.volume = kept.volume.map(without_bulk);
                memo.export_path = kept.export_path;
            }
            Step::Machine => {
                let plug = EnsureVolumePluggedRequest {
                    saga: at.saga_step(),
                    instance_id: plan.instance_id.clone(),
                    account_id: at.account.clone(),
                    volume_id: plan.volume_id.clone(),
                    device_name: plan.device_name.clone(),
                    export_path: memo.export_path.clone(),
                    size_bytes: memo.volume.as_ref().map_or(0, |volume| volume.size_bytes),
                    delete_on_termination: plan.delete_on_termination,
                };
                match self.peers.launcher(&at.caller()).ensure_volume_plugged(plug).await {
                    Ok(_) => {}
                    // It ended meanwhile; storage has said what becomes of the volume.
                    Err(status) if is_over(&status) => {}
                    Err(status) => return Err(status.into()),
                }
            }
        }
        Ok(())
    }

    async fn undo(&self, _: Step, _: &At, _: &KeepPlan, _: &KeepMemo) -> Result<(), StepError> {
        // Its first step is the pivot and changes nothing if it fails.
        Ok(())
    }
}

fn is_over(status: &Status) -> bool {
    matches!(status.code(), tonic::Code::NotFound | tonic::Code::FailedPrecondition)
}
