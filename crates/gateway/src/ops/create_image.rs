use std::time::Duration;

use prost::Message;
use tonic::Status;
use vmint_api::{
    catalog::v1::{Image, ImageState},
    gateway::v1::{CreateImageRequest, CreateImageResponse},
    launcher::v1::{AttachedVolume, GetInstanceRequest, Instance, InstanceState},
    storage::v1::{EnsureVolumeSnapshotsRequest, VolumeSnapshot},
    types::v1::{BlockDeviceMapping, EbsBlockDevice},
};
use vmint_ids::{ImageId, SnapshotId};
use vmint_rpc::{Caller, Retry, retry};

use super::{Gateway, add_codes, asked, pending_image::PendingImage};
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
        let source = self.get_images(caller, std::slice::from_ref(&instance.image_id)).await?;
        let source = source.into_iter().next().unwrap_or_default();
        Ok(plan(caller, request, &instance, source)?)
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

fn plan(
    caller: &Caller,
    request: CreateImageRequest,
    instance: &Instance,
    source: Image,
) -> Result<CreatePlan, GatewayError> {
    let id = ImageId::random().to_string();
    let mut snapshots = Vec::new();
    let mut disks = Vec::new();
    for volume in &instance.volumes {
        let snapshot_id = SnapshotId::random().to_string();
        disks.push(disk_of(volume, &snapshot_id));
        snapshots.push(VolumeSnapshot { volume_id: volume.volume_id.clone(), snapshot_id });
    }
    let named = |name: &str| instance.volumes.iter().any(|v| v.device_name == name);
    let root_device_name = if named(&source.root_device_name) {
        source.root_device_name.clone()
    } else {
        instance.volumes.first().map(|v| v.device_name.clone()).unwrap_or_default()
    };
    change_disks(&mut disks, &root_device_name, &request.block_device_mappings)?;
    let kept =
        |id: &String| disks.iter().any(|d| d.ebs.as_ref().is_some_and(|e| e.snapshot_id == *id));
    snapshots.retain(|snapshot| kept(&snapshot.snapshot_id));
    let image = Image {
        image_id: id,
        name: request.name,
        description: request.description,
        owner_id: caller.account.clone(),
        state: ImageState::Pending.into(),
        architecture: source.architecture,
        boot_mode: source.boot_mode,
        root_device_name,
        block_device_mappings: disks,
        platform: source.platform,
        product_codes: instance.product_codes.clone(),
        source_image_id: instance.image_id.clone(),
        source_instance_id: instance.instance_id.clone(),
        tags: request.tags,
        ena_support: source.ena_support,
        imds_v2_required: source.imds_v2_required,
        ..Image::default()
    };
    Ok(CreatePlan { image: Some(image), snapshots })
}

/// Leaves disks out, changes whether they go with their machine, and adds empty
/// ones; nothing else about a disk that is there can change.
fn change_disks(
    disks: &mut Vec<BlockDeviceMapping>,
    root: &str,
    changes: &[BlockDeviceMapping],
) -> Result<(), GatewayError> {
    for (at, change) in changes.iter().enumerate() {
        let refuse = |why: &str| {
            Err(GatewayError::invalid(format!("block_device_mappings[{at}]"), why.to_owned()))
        };
        let there = disks.iter().position(|disk| disk.device_name == change.device_name);
        match (there, change.no_device, &change.ebs) {
            (Some(_), true, _) if change.device_name == root => {
                return refuse("the root disk can't be left out");
            }
            (Some(there), true, _) => drop(disks.remove(there)),
            (Some(there), false, Some(ebs)) => {
                let Some(disk) = disks[there].ebs.as_mut() else { continue };
                if !ebs.snapshot_id.is_empty() || ![0, disk.size_gib].contains(&ebs.size_gib) {
                    return refuse("of a disk that is there only delete_on_termination can change");
                }
                disk.delete_on_termination =
                    ebs.delete_on_termination.or(disk.delete_on_termination);
            }
            (None, false, Some(ebs)) if ebs.snapshot_id.is_empty() && ebs.size_gib > 0 => {
                disks.push(change.clone());
            }
            (None, false, Some(_)) => {
                return refuse("a disk that is added is empty and has a size");
            }
            (None, true, _) => {}
            (_, false, None) => return refuse("say with `ebs` or `no_device` what to change"),
        }
    }
    Ok(())
}

fn disk_of(volume: &AttachedVolume, snapshot_id: &str) -> BlockDeviceMapping {
    const GIB: i64 = 1 << 30;
    let size_gib = i32::try_from((volume.size_bytes + GIB - 1) / GIB).unwrap_or(i32::MAX);
    BlockDeviceMapping {
        device_name: volume.device_name.clone(),
        ebs: Some(EbsBlockDevice {
            snapshot_id: snapshot_id.to_owned(),
            size_gib,
            delete_on_termination: Some(volume.delete_on_termination),
        }),
        no_device: false,
    }
}

/// record → owner → snapshots → **available**. What is answered after `owner`
/// stays, as a failed image, if the rest does not come about.
#[derive(Debug)]
pub(super) struct Create {
    pub(super) peers: Peers,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    Record,
    Own,
    Snapshots,
    Available,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CreatePlan {
    #[prost(message, optional, tag = "1")]
    image: Option<Image>,
    #[prost(message, repeated, tag = "2")]
    snapshots: Vec<VolumeSnapshot>,
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
    fn snapshot_ids(&self) -> Vec<String> {
        self.snapshots.iter().map(|s| s.snapshot_id.clone()).collect()
    }
}

#[tonic::async_trait]
impl Kind for Create {
    type Step = Step;
    type Request = CreatePlan;
    type Memo = CreateMemo;

    const NAME: &'static str = "create-image";
    const STEPS: &'static [Step] = &[Step::Record, Step::Own, Step::Snapshots, Step::Available];
    const PIVOT: usize = 3;
    const PATIENCE: Duration = Duration::from_hours(1);

    fn name(step: Step) -> &'static str {
        match step {
            Step::Record => "record",
            Step::Own => "own",
            Step::Snapshots => "snapshots",
            Step::Available => "available",
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
            Step::Available => drop(pending.available(&memo.product_codes).await?),
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
            Step::Record => pending.unrecord(memo.owned).await,
            Step::Own => pending.unown(memo.owned).await,
            Step::Snapshots => pending.drop_snapshots(plan.snapshot_ids()).await,
            Step::Available => Ok(()),
        }
    }
}
