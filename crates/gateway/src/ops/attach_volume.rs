use std::time::Duration;

use tonic::Status;
use vmint_api::{
    gateway::v1::{AttachVolumeRequest, AttachVolumeResponse},
    launcher::v1::{Instance, InstanceState},
    storage::v1::{AttachmentState, BatchGetVolumesRequest, Volume},
};
use vmint_rpc::{Caller, Retry, retry};

use super::{
    Gateway, asked,
    attachment::{Attachment, AttachmentMemo, unless_gone, without_bulk},
    create_image::instance_state,
    find_image::on_behalf,
};
use crate::{
    DiskError, GatewayError,
    peers::Peers,
    saga::{At, Kind, StepError},
};

/// Names that are given out where none is asked for.
const LETTERS: std::ops::RangeInclusive<char> = 'f'..='p';
const LONGEST_NAME: usize = 32;

impl Gateway {
    /// Attaches a volume of the caller's own to an instance of its own.
    pub(crate) async fn attach_volume(
        &self,
        caller: &Caller,
        request: AttachVolumeRequest,
    ) -> Result<AttachVolumeResponse, Status> {
        let asked = asked(caller, "AttachVolume", &request.request_id, &request)?;
        let saga = match self.sagas.replayed(&asked).await? {
            Some(saga) => saga,
            None => {
                let plan = self.plan_attachment(caller, request).await?;
                let subjects = vec![plan.volume_id.clone(), plan.instance_id.clone()];
                self.sagas.begin::<Attach>(caller, &asked, subjects, &plan).await?
            }
        };
        let memo = self.sagas.to_end::<Attach>(saga).await?;
        Ok(AttachVolumeResponse { volume: memo.volume })
    }

    async fn plan_attachment(
        &self,
        caller: &Caller,
        request: AttachVolumeRequest,
    ) -> Result<Attachment, Status> {
        let volume = self.own_volume(caller, &request.volume_id).await?;
        let instance = self.own_instance(caller, &request.instance_id).await?;
        if !matches!(instance.state(), InstanceState::Running | InstanceState::Stopped) {
            let state = instance_state(instance.state());
            return Err(GatewayError::InstanceState { id: instance.instance_id, state }.into());
        }
        if !volume.instance_id.is_empty() {
            let (id, instance) = (volume.volume_id, volume.instance_id);
            return Err(DiskError::VolumeInUse { id, instance }.into());
        }
        // What is sold with the data is billed by the instance: it can't be
        // had by attaching it to one that is not billed.
        if let Some(code) =
            volume.product_codes.iter().find(|code| !instance.product_codes.contains(code))
        {
            let (id, code) = (volume.volume_id.clone(), code.clone());
            return Err(DiskError::VolumeSold { id, code }.into());
        }
        Ok(Attachment {
            device_name: device_name(request.device_name, &instance)?,
            volume_id: volume.volume_id,
            instance_id: instance.instance_id,
            delete_on_termination: request.delete_on_termination,
            force: false,
        })
    }

    /// A volume of the caller's, as storage answers it.
    pub(super) async fn own_volume(&self, caller: &Caller, id: &str) -> Result<Volume, Status> {
        let request = BatchGetVolumesRequest { volume_ids: vec![id.to_owned()] };
        let storage = self.peers.volumes(&on_behalf(caller));
        let answer = retry(Retry::default(), || {
            let (mut storage, request) = (storage.clone(), request.clone());
            async move { storage.batch_get_volumes(request).await }
        });
        let found = answer.await?.into_inner().volumes.into_iter().next();
        let found = found.filter(|volume| volume.account_id == caller.account);
        found.ok_or_else(|| DiskError::NoVolume { id: id.to_owned() }.into())
    }
}

/// The name asked for, or a free one.
fn device_name(asked: String, instance: &Instance) -> Result<String, GatewayError> {
    let taken = |name: &str| instance.volumes.iter().any(|volume| volume.device_name == name);
    if asked.is_empty() {
        let free = LETTERS.map(|letter| format!("/dev/sd{letter}")).find(|name| !taken(name));
        let why = "names from /dev/sdf to /dev/sdp are all taken: choose another";
        return free.ok_or_else(|| GatewayError::invalid("device_name", why));
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"/_-".contains(&b);
    if asked.len() > LONGEST_NAME || !asked.bytes().all(fits) {
        let why = format!("use a name such as /dev/sdf, at most {LONGEST_NAME} characters long");
        return Err(GatewayError::invalid("device_name", why));
    }
    Ok(asked)
}

/// reserve at storage → **plug in** → confirm.
#[derive(Debug)]
pub(super) struct Attach {
    pub(super) peers: Peers,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Reserve,
    Plug,
    Confirm,
}

#[tonic::async_trait]
impl Kind for Attach {
    type Step = Step;
    type Request = Attachment;
    type Memo = AttachmentMemo;

    const NAME: &'static str = "attach-volume";
    const STEPS: &'static [Step] = &[Step::Reserve, Step::Plug, Step::Confirm];
    const PIVOT: usize = 1;
    const PATIENCE: Duration = Duration::from_mins(2);

    fn name(step: Step) -> &'static str {
        match step {
            Step::Reserve => "reserve",
            Step::Plug => "plug",
            Step::Confirm => "confirm",
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
            Step::Reserve => {
                let ensure = plan.ensure(at, AttachmentState::Attaching);
                let made = storage.ensure_volume_attached(ensure).await?.into_inner();
                memo.volume = made.volume.map(without_bulk);
                memo.export_path = made.export_path;
            }
            Step::Plug => {
                let plug = plan.plug(at, memo);
                self.peers.launcher(&at.caller()).ensure_volume_plugged(plug).await?;
            }
            Step::Confirm => {
                let ensure = plan.ensure(at, AttachmentState::Attached);
                // Its instance may have been ended meanwhile, and the volume with it.
                let made = unless_gone(storage.ensure_volume_attached(ensure).await)?;
                if let Some(made) = made {
                    memo.volume = made.volume.map(without_bulk);
                }
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
        match step {
            Step::Reserve => {
                let release = plan.release(at, true);
                self.peers.volumes(&at.caller()).release_volume_attachment(release).await?;
            }
            Step::Plug => {
                let release = plan.unplug(at, true);
                let mut launcher = self.peers.launcher(&at.caller());
                unless_gone(launcher.release_volume_plug(release).await)?;
            }
            Step::Confirm => {}
        }
        Ok(())
    }
}
