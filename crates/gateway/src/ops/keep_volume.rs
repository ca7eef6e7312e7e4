use std::time::Duration;

use tonic::Status;
use vmint_api::{
    gateway::v1::{ModifyVolumeAttachmentRequest, ModifyVolumeAttachmentResponse},
    storage::v1::AttachmentState,
};
use vmint_rpc::Caller;

use super::{
    Gateway, asked,
    attachment::{Attachment, AttachmentMemo, without_bulk},
};
use crate::{
    DiskError,
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
                    return Err(DiskError::NotAttached { id: volume.volume_id }.into());
                }
                let subjects = vec![volume.volume_id.clone(), volume.instance_id.clone()];
                let plan = Attachment {
                    volume_id: volume.volume_id,
                    instance_id: volume.instance_id,
                    device_name: volume.device_name,
                    delete_on_termination: request.delete_on_termination,
                    force: false,
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

#[tonic::async_trait]
impl Kind for Keep {
    type Step = Step;
    type Request = Attachment;
    type Memo = AttachmentMemo;

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
        plan: &Attachment,
        memo: &mut AttachmentMemo,
    ) -> Result<(), StepError> {
        match step {
            Step::Volume => {
                let ensure = plan.ensure(at, AttachmentState::Attached);
                let mut storage = self.peers.volumes(&at.caller());
                let kept = storage.ensure_volume_attached(ensure).await?.into_inner();
                memo.volume = kept.volume.map(without_bulk);
                memo.export_path = kept.export_path;
            }
            Step::Machine => {
                let plug = plan.plug(at, memo);
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

    async fn undo(
        &self,
        _: Step,
        _: &At,
        _: &Attachment,
        _: &AttachmentMemo,
    ) -> Result<(), StepError> {
        // Its first step is the pivot and changes nothing if it fails.
        Ok(())
    }
}

fn is_over(status: &Status) -> bool {
    matches!(status.code(), tonic::Code::NotFound | tonic::Code::FailedPrecondition)
}
