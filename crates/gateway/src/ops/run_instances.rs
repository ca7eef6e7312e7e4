use tonic::Status;
use vmint_api::{
    catalog::v1::{Architecture, BootMode, Image, ImageState},
    gateway::v1::{RunInstancesRequest, RunInstancesResponse},
    permissions::v1::ImageAction,
    storage::v1::BatchGetSnapshotsRequest,
    types::v1::{EbsBlockDevice, Tag},
};
use vmint_ids::{InstanceId, ReservationId};
use vmint_rpc::{Caller, Retry, retry};

use super::{
    Gateway, add_codes, asked,
    find_image::{on_behalf, state_name},
    launch::{Launch, LaunchPlan, Step},
    launch_plan::{check, merge, volumes},
};
use crate::GatewayError;

/// EC2's bound for user data.
const USER_DATA: usize = 16 << 10;
const AT_MOST: i32 = 20;

impl Gateway {
    /// Launches instances; they are reserved and pending when this returns.
    ///
    /// What speaks against the launch up to then is refused here; what happens
    /// later shows on the instances.
    pub(crate) async fn run_instances(
        &self,
        caller: &Caller,
        request: RunInstancesRequest,
    ) -> Result<RunInstancesResponse, Status> {
        let asked = asked(caller, "RunInstances", &request.request_id, &request)?;
        let tags = request.tags.clone();
        let saga = match self.sagas.replayed(&asked).await? {
            Some(saga) => saga,
            None => {
                let plan = self.plan_launch(caller, request).await?;
                let subjects = plan.instance_ids.clone();
                self.sagas.begin::<Launch>(caller, &asked, subjects, &plan).await?
            }
        };
        let memo = self.sagas.until::<Launch>(saga, Step::Reserve as usize).await?;
        let reservation_id =
            memo.instances.first().map(|i| i.reservation_id.clone()).unwrap_or_default();
        let mut instances = memo.instances;
        // Twenty times the same tags would not fit into the log.
        for instance in &mut instances {
            instance.tags.clone_from(&tags);
        }
        Ok(RunInstancesResponse { reservation_id, instances })
    }

    async fn plan_launch(
        &self,
        caller: &Caller,
        request: RunInstancesRequest,
    ) -> Result<LaunchPlan, Status> {
        let count = if request.count == 0 { 1 } else { request.count };
        if !(1..=AT_MOST).contains(&count) {
            let why = format!("launch 1 to {AT_MOST} at once");
            return Err(GatewayError::invalid("count", why).into());
        }
        if request.user_data.len() > USER_DATA {
            let why = format!("{} bytes; at most {USER_DATA} fit", request.user_data.len());
            return Err(GatewayError::invalid("user_data", why).into());
        }
        let reference = self.resolved(caller, request.image_id).await?;
        let image = self.launchable_image(caller, &reference).await?;
        let disks = merge(&image, &request.block_device_mappings)?;
        let extra_codes = self.check_disks(caller, &image, &disks).await?;
        let ids = || InstanceId::random().to_string();
        let instance_ids = (0..count).map(|_| ids()).collect::<Vec<_>>();
        let mut tags: Vec<Tag> = request.tags;
        tags.dedup();
        Ok(LaunchPlan {
            volumes: volumes(&disks, &instance_ids, &request.volume_tags)?,
            architecture: architecture(&image).to_owned(),
            boot_mode: boot_mode(&image).to_owned(),
            image_id: image.image_id,
            image_name: image.name,
            image_owner_id: image.owner_id,
            image_create_time: image.create_time,
            image_platform: image.platform,
            ena_support: image.ena_support,
            client_token: request.request_id,
            disable_api_termination: request.disable_api_termination,
            shutdown_behavior: request.shutdown_behavior,
            subnet_id: request.subnet_id,
            vpc_id: request.vpc_id,
            security_group_ids: request.security_group_ids,
            instance_type: match request.instance_type {
                name if name.is_empty() => "v1.small".to_owned(),
                name => name,
            },
            key_name: request.key_name,
            user_data: request.user_data.into(),
            tags,
            name: request.name,
            reservation_id: ReservationId::random().to_string(),
            instance_ids,
            extra_codes,
        })
    }

    /// The image, if the caller may launch it now. A saga's first step asks
    /// again, so this is for the refusal and not for the right.
    async fn launchable_image(&self, caller: &Caller, reference: &str) -> Result<Image, Status> {
        let (image, check) = self.find_image(caller, reference, ImageAction::Launch).await?;
        if !check.allowed {
            let account = caller.account.clone();
            return Err(GatewayError::LaunchDenied { id: image.image_id, account }.into());
        }
        if image.state() != ImageState::Available {
            let state = state_name(image.state());
            return Err(GatewayError::NotAvailable { id: image.image_id, state }.into());
        }
        Ok(image)
    }

    /// Checks the disks against their snapshots and answers the products of
    /// snapshots that are not the image's.
    async fn check_disks(
        &self,
        caller: &Caller,
        image: &Image,
        disks: &[(String, EbsBlockDevice)],
    ) -> Result<Vec<String>, Status> {
        let mut ids = disks.iter().map(|(_, ebs)| ebs.snapshot_id.clone()).collect::<Vec<_>>();
        ids.retain(|id| !id.is_empty());
        ids.sort_unstable();
        ids.dedup();
        let request = BatchGetSnapshotsRequest { snapshot_ids: ids };
        let storage = self.peers.storage(&on_behalf(caller));
        let answer = retry(Retry::default(), || {
            let (mut storage, request) = (storage.clone(), request.clone());
            async move { storage.batch_get_snapshots(request).await }
        });
        let snapshots = answer.await?.into_inner().snapshots;
        check(image, disks, &snapshots, &caller.account)?;
        let mut codes = Vec::new();
        add_codes(&mut codes, snapshots.into_iter().flat_map(|s| s.product_codes));
        Ok(codes)
    }
}

fn architecture(image: &Image) -> &'static str {
    match image.architecture() {
        Architecture::Unspecified | Architecture::X8664 => "x86_64",
        Architecture::I386 => "i386",
        Architecture::Arm64 => "arm64",
    }
}

fn boot_mode(image: &Image) -> &'static str {
    match image.boot_mode() {
        BootMode::Unspecified | BootMode::LegacyBios => "legacy-bios",
        BootMode::Uefi => "uefi",
    }
}
