use std::time::Duration;

use prost::Message;
use tonic::Status;
use vmint_api::{
    catalog::v1::Image,
    gateway::v1::{CreateImageRequest, CreateImageResponse},
    launcher::v1::{
        BatchGetInstancesRequest, EnsureHaltedRequest, GetInstanceRequest, Instance, InstanceState,
        ReleaseHaltRequest,
    },
    storage::v1::{BatchGetVolumesRequest, EnsureVolumeSnapshotsRequest, Volume, VolumeSnapshot},
    types::v1::Tag,
};
use vmint_rpc::{Caller, Retry, retry};

use super::{
    Gateway, add_codes, asked, create_image_plan::plan, find_image::on_behalf,
    pending_image::PendingImage,
};
use crate::{
    GatewayError,
    peers::Peers,
    saga::{At, Kind, StepError},
};

impl Gateway {
    /// Makes an image of an instance's disks; it is pending when this returns.
    pub(crate) async fn create_image(
        &self,
        caller: &Caller,
        request: CreateImageRequest,
    ) -> Result<CreateImageResponse, Status> {
        let asked = asked(caller, "CreateImage", &request.request_id, &request)?;
        let saga = match self.sagas.replayed(&asked).await? {
            Some(saga) => saga,
            None => {
                let plan = self.plan_image(caller, request).await?;
                let subjects =
                    vec![plan.image.as_ref().map(|i| i.image_id.clone()).unwrap_or_default()];
                self.sagas.begin::<Create>(caller, &asked, subjects, &plan).await?
            }
        };
        let memo = self.sagas.until::<Create>(saga, Step::Own as usize).await?;
        Ok(CreateImageResponse { image: memo.image })
    }

    async fn plan_image(
        &self,
        caller: &Caller,
        request: CreateImageRequest,
    ) -> Result<CreatePlan, Status> {
        let instance = self.own_instance(caller, &request.instance_id).await?;
        if !matches!(instance.state(), InstanceState::Running | InstanceState::Stopped) {
            let state = instance_state(instance.state());
            return Err(GatewayError::InstanceState { id: instance.instance_id, state }.into());
        }
        let ids = std::slice::from_ref(&instance.image_id);
        let (source, volumes) =
            tokio::join!(self.get_images(caller, ids), self.volumes_of(caller, &instance));
        let source = source?.into_iter().next().unwrap_or_default();
        Ok(plan(caller, request, &instance, &volumes?, source)?)
    }

    async fn volumes_of(&self, caller: &Caller, of: &Instance) -> Result<Vec<Volume>, Status> {
        let volume_ids = of.volumes.iter().map(|volume| volume.volume_id.clone()).collect();
        let request = BatchGetVolumesRequest { volume_ids };
        let storage = self.peers.volumes(&on_behalf(caller));
        let answer = retry(Retry::default(), || {
            let (mut storage, request) = (storage.clone(), request.clone());
            async move { storage.batch_get_volumes(request).await }
        });
        Ok(answer.await?.into_inner().volumes)
    }

    /// An instance of the caller's, by id or name, as the launcher answers it.
    pub(super) async fn own_instance(
        &self,
        caller: &Caller,
        reference: &str,
    ) -> Result<Instance, Status> {
        let request = GetInstanceRequest { instance_id: reference.to_owned() };
        let launcher = self.peers.instances(caller);
        let answer = retry(Retry::default(), || {
            let (mut launcher, request) = (launcher.clone(), request.clone());
            async move { launcher.get_instance(request).await }
        });
        let instance = answer.await?.into_inner().instance;
        instance.ok_or_else(|| Status::internal("the launcher left out the instance"))
    }
}

pub(super) fn instance_state(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Unspecified => "in no known state",
        InstanceState::Pending => "pending",
        InstanceState::Running => "running",
        InstanceState::Stopping => "stopping",
        InstanceState::Stopped => "stopped",
        InstanceState::ShuttingDown => "shutting down",
        InstanceState::Terminated => "terminated",
    }
}

/// record → owner → machine off → snapshots → **available** → machine on. What is
/// answered after `owner` stays, as a failed image, if the rest does not come
/// about.
#[derive(Debug)]
pub(super) struct Create {
    pub(super) peers: Peers,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    Record,
    Own,
    Halt,
    Snapshots,
    Available,
    Resume,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CreatePlan {
    #[prost(message, optional, tag = "1")]
    pub(super) image: Option<Image>,
    #[prost(message, repeated, tag = "2")]
    pub(super) snapshots: Vec<VolumeSnapshot>,
    #[prost(message, repeated, tag = "3")]
    pub(super) snapshot_tags: Vec<Tag>,
    /// Its machine runs and is to be off meanwhile.
    #[prost(bool, tag = "4")]
    pub(super) halt: bool,
    /// Its machine is off anyway.
    #[prost(bool, tag = "5")]
    pub(super) machine_off: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CreateMemo {
    #[prost(message, optional, tag = "1")]
    image: Option<Image>,
    #[prost(string, repeated, tag = "2")]
    product_codes: Vec<String>,
    /// The image may have been answered.
    #[prost(bool, tag = "3")]
    owned: bool,
}

impl CreatePlan {
    fn instance_id(&self) -> &str {
        self.image.as_ref().map_or("", |image| image.source_instance_id.as_str())
    }

    fn snapshot_ids(&self) -> Vec<String> {
        self.snapshots.iter().map(|s| s.snapshot_id.clone()).collect()
    }
}

impl Create {
    async fn halt(&self, at: &At, plan: &CreatePlan) -> Result<(), StepError> {
        if plan.halt {
            let request = EnsureHaltedRequest {
                saga: at.saga_step(),
                instance_id: plan.instance_id().to_owned(),
                account_id: at.account.clone(),
            };
            self.peers.launcher(&at.caller()).ensure_halted(request).await?;
        }
        Ok(())
    }

    /// Starts the machine again, if it is there to be.
    async fn resume(&self, at: &At, plan: &CreatePlan) -> Result<(), StepError> {
        if plan.halt && !self.has_ended(at, plan).await? {
            let request = ReleaseHaltRequest {
                saga: at.saga_step(),
                instance_id: plan.instance_id().to_owned(),
                account_id: at.account.clone(),
            };
            self.peers.launcher(&at.caller()).release_halt(request).await?;
        }
        Ok(())
    }

    async fn has_ended(&self, at: &At, plan: &CreatePlan) -> Result<bool, StepError> {
        let request =
            BatchGetInstancesRequest { instance_ids: vec![plan.instance_id().to_owned()] };
        let found = self.peers.launcher(&at.caller()).batch_get_instances(request).await?;
        let ended = |it: &Instance| {
            matches!(it.state(), InstanceState::ShuttingDown | InstanceState::Terminated)
        };
        Ok(found.into_inner().instances.first().is_none_or(ended))
    }

    /// EC2's word for why the image failed.
    async fn why(&self, at: &At, plan: &CreatePlan) -> Result<&'static str, StepError> {
        let ended = self.has_ended(at, plan).await?;
        Ok(if ended { "Client.InstanceTerminated" } else { "Server.InternalError" })
    }
}

#[tonic::async_trait]
impl Kind for Create {
    type Step = Step;
    type Request = CreatePlan;
    type Memo = CreateMemo;

    const NAME: &'static str = "create-image";
    const STEPS: &'static [Step] =
        &[Step::Record, Step::Own, Step::Halt, Step::Snapshots, Step::Available, Step::Resume];
    const PIVOT: usize = 4;
    const PATIENCE: Duration = Duration::from_hours(1);

    fn name(step: Step) -> &'static str {
        match step {
            Step::Record => "record",
            Step::Own => "own",
            Step::Halt => "halt",
            Step::Snapshots => "snapshots",
            Step::Available => "available",
            Step::Resume => "resume",
        }
    }

    fn logged(step: Step) -> bool {
        step == Step::Own
    }

    async fn run(
        &self,
        step: Step,
        at: &At,
        plan: &CreatePlan,
        memo: &mut CreateMemo,
    ) -> Result<(), StepError> {
        let image = plan.image.clone().unwrap_or_default();
        let pending = PendingImage { peers: &self.peers, at, id: &image.image_id };
        match step {
            Step::Record => memo.image = Some(pending.record(&image).await?),
            Step::Own => {
                pending.own(&at.account).await?;
                memo.owned = true;
            }
            Step::Halt => self.halt(at, plan).await?,
            Step::Snapshots => {
                let ensure = EnsureVolumeSnapshotsRequest {
                    saga: at.saga_step(),
                    account_id: at.account.clone(),
                    snapshots: plan.snapshots.clone(),
                    image_id: image.image_id.clone(),
                    // Tools that tidy up look for these words.
                    description: format!(
                        "Created by CreateImage({}) for {}",
                        image.source_instance_id, image.image_id
                    ),
                    tags: plan.snapshot_tags.clone(),
                    machine_off: plan.machine_off || plan.halt,
                };
                let ids = plan.snapshot_ids();
                let mut storage = self.peers.storage(&at.caller());
                let work = storage.ensure_volume_snapshots(ensure);
                let made = pending.showing_progress(&ids, work).await?.into_inner().snapshots;
                let codes = made.into_iter().flat_map(|snapshot| snapshot.product_codes);
                add_codes(&mut memo.product_codes, codes);
                add_codes(&mut memo.product_codes, image.product_codes.clone());
                pending.put_codes(ids, &memo.product_codes).await?;
            }
            // What was answered is what is answered again.
            Step::Available => {
                let encrypted = pending.encrypted(plan.snapshot_ids()).await?;
                drop(pending.available(&memo.product_codes, encrypted).await?);
            }
            Step::Resume => self.resume(at, plan).await?,
        }
        Ok(())
    }

    async fn undo(
        &self,
        step: Step,
        at: &At,
        plan: &CreatePlan,
        memo: &CreateMemo,
    ) -> Result<(), StepError> {
        let id = plan.image.as_ref().map_or("", |image| image.image_id.as_str());
        let pending = PendingImage { peers: &self.peers, at, id };
        match step {
            Step::Record if memo.owned => pending.fail_as(self.why(at, plan).await?).await,
            Step::Record => pending.unrecord(memo.owned).await,
            Step::Own => pending.unown(memo.owned).await,
            Step::Halt => self.resume(at, plan).await,
            Step::Snapshots => pending.drop_snapshots(plan.snapshot_ids()).await,
            Step::Available | Step::Resume => Ok(()),
        }
    }
}
