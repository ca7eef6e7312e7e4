use std::time::Duration;

use prost::Message;
use prost_types::Duration as Lease;
use vmint_api::{
    catalog::v1::{PinImageRequest, UnpinImageRequest},
    launcher::v1::{
        EnsureIdentityRequest, EnsureMachinesRequest, EnsureReservedRequest, Instance,
        InstanceVolumes, ReleaseInstancesRequest, ShutdownBehavior,
    },
    marketplace::v1::{ConfirmHoldRequest, HoldEntitlementRequest, ReleaseHoldRequest},
    permissions::v1::{BatchCheckRequest, ImageAction},
    storage::v1::{EnsureVolumesRequest, NewVolume, ReleaseVolumesRequest},
    types::v1::Tag,
};
use vmint_rpc::Fault;

use super::{AT_ONCE, add_codes, launch_plan::by_instance, part, pending_image::missing};
use crate::{
    GatewayError,
    peers::Peers,
    saga::{At, Kind, StepError},
};

/// How long pins and holds stay if this gateway never comes back.
const LEASE: Lease = Lease { seconds: 15 * 60, nanos: 0 };

/// authorise → pin image → hold entitlement → reserve → volumes → identity →
/// **machines** → confirm → unpin.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) peers: Peers,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    Authorise,
    Pin,
    Hold,
    Reserve,
    Volumes,
    Identity,
    Machines,
    Confirm,
    Unpin,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LaunchPlan {
    #[prost(string, tag = "1")]
    pub(super) image_id: String,
    #[prost(string, tag = "2")]
    pub(super) instance_type: String,
    #[prost(string, tag = "3")]
    pub(super) key_name: String,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) user_data: Vec<u8>,
    #[prost(message, repeated, tag = "5")]
    pub(super) tags: Vec<Tag>,
    #[prost(string, tag = "6")]
    pub(super) name: String,
    #[prost(string, tag = "7")]
    pub(super) reservation_id: String,
    #[prost(string, repeated, tag = "8")]
    pub(super) instance_ids: Vec<String>,
    /// Of all instances; of each, the root first.
    #[prost(message, repeated, tag = "9")]
    pub(super) volumes: Vec<NewVolume>,
    #[prost(string, tag = "10")]
    pub(super) architecture: String,
    #[prost(string, tag = "11")]
    pub(super) boot_mode: String,
    /// Products of disks, beside those of the image.
    #[prost(string, repeated, tag = "12")]
    pub(super) extra_codes: Vec<String>,
    #[prost(string, tag = "13")]
    pub(super) image_name: String,
    #[prost(string, tag = "14")]
    pub(super) image_owner_id: String,
    #[prost(string, tag = "15")]
    pub(super) client_token: String,
    #[prost(bool, tag = "16")]
    pub(super) disable_api_termination: bool,
    #[prost(enumeration = "ShutdownBehavior", tag = "17")]
    pub(super) shutdown_behavior: i32,
    #[prost(string, tag = "18")]
    pub(super) subnet_id: String,
    #[prost(string, tag = "19")]
    pub(super) vpc_id: String,
    #[prost(string, repeated, tag = "20")]
    pub(super) security_group_ids: Vec<String>,
    #[prost(message, optional, tag = "21")]
    pub(super) image_create_time: Option<prost_types::Timestamp>,
    #[prost(string, tag = "22")]
    pub(super) image_platform: String,
    #[prost(bool, tag = "23")]
    pub(super) ena_support: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LaunchMemo {
    /// As reserved, without their tags.
    #[prost(message, repeated, tag = "1")]
    pub(super) instances: Vec<Instance>,
    #[prost(string, repeated, tag = "2")]
    product_codes: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    volumes: Vec<InstanceVolumes>,
}

impl Launch {
    async fn authorise(&self, at: &At, plan: &LaunchPlan) -> Result<(), StepError> {
        let request = BatchCheckRequest {
            account_id: at.account.clone(),
            action: ImageAction::Launch.into(),
            image_ids: vec![plan.image_id.clone()],
        };
        let answer = self.peers.permissions(&at.caller()).batch_check(request).await?;
        let check = answer.into_inner().results.pop().unwrap_or_default();
        if check.allowed {
            return Ok(());
        }
        let error = if check.visible {
            GatewayError::LaunchDenied { id: plan.image_id.clone(), account: at.account.clone() }
        } else {
            GatewayError::NoImage { reference: plan.image_id.clone(), nearest: None }
        };
        Err(StepError::Permanent(error.into()))
    }

    async fn pin(
        &self,
        at: &At,
        plan: &LaunchPlan,
        memo: &mut LaunchMemo,
    ) -> Result<(), StepError> {
        let request = PinImageRequest {
            saga: at.saga_step(),
            image_id: plan.image_id.clone(),
            lease: Some(LEASE),
        };
        let answer = self.peers.catalog(&at.caller()).pin_image(request).await?;
        let image = answer.into_inner().image.ok_or_else(|| missing("catalog"))?;
        add_codes(&mut memo.product_codes, image.product_codes);
        add_codes(&mut memo.product_codes, plan.extra_codes.clone());
        Ok(())
    }

    async fn unpin(&self, at: &At, plan: &LaunchPlan) -> Result<(), StepError> {
        let request = UnpinImageRequest { saga: at.saga_step(), image_id: plan.image_id.clone() };
        self.peers.catalog(&at.caller()).unpin_image(request).await?;
        Ok(())
    }

    async fn hold(&self, at: &At, plan: &LaunchPlan, memo: &LaunchMemo) -> Result<(), StepError> {
        if memo.product_codes.is_empty() {
            return Ok(());
        }
        let request = HoldEntitlementRequest {
            saga: at.saga_step(),
            buyer_id: at.account.clone(),
            product_codes: memo.product_codes.clone(),
            instance_ids: plan.instance_ids.clone(),
            time_to_live: Some(LEASE),
        };
        self.peers.marketplace(&at.caller()).hold_entitlement(request).await?;
        Ok(())
    }

    async fn confirm(
        &self,
        at: &At,
        plan: &LaunchPlan,
        memo: &LaunchMemo,
    ) -> Result<(), StepError> {
        if memo.product_codes.is_empty() {
            return Ok(());
        }
        let mut marketplace = self.peers.marketplace(&at.caller());
        let request = ConfirmHoldRequest { saga: at.saga_step() };
        match marketplace.confirm_hold(request.clone()).await {
            Ok(_) => Ok(()),
            // The gateway was away for longer than the hold lasts.
            Err(status) if Fault::from_status(&status).reason == "HOLD_EXPIRED" => {
                let again = At { step: format!("{}/hold", at.step), ..at.clone() };
                self.hold(&again, plan, memo).await?;
                marketplace.confirm_hold(request).await?;
                Ok(())
            }
            Err(status) => Err(status.into()),
        }
    }

    async fn reserve(
        &self,
        at: &At,
        plan: &LaunchPlan,
        memo: &mut LaunchMemo,
    ) -> Result<(), StepError> {
        let request = EnsureReservedRequest {
            saga: at.saga_step(),
            account_id: at.account.clone(),
            image_id: plan.image_id.clone(),
            instance_type: plan.instance_type.clone(),
            key_name: plan.key_name.clone(),
            reservation_id: plan.reservation_id.clone(),
            instance_ids: plan.instance_ids.clone(),
            user_data: plan.user_data.clone().into(),
            product_codes: memo.product_codes.clone(),
            tags: plan.tags.clone(),
            name: plan.name.clone(),
            architecture: plan.architecture.clone(),
            boot_mode: plan.boot_mode.clone(),
            image_name: plan.image_name.clone(),
            image_owner_id: plan.image_owner_id.clone(),
            client_token: plan.client_token.clone(),
            disable_api_termination: plan.disable_api_termination,
            shutdown_behavior: plan.shutdown_behavior,
            subnet_id: plan.subnet_id.clone(),
            vpc_id: plan.vpc_id.clone(),
            security_group_ids: plan.security_group_ids.clone(),
            image_create_time: plan.image_create_time,
            image_platform: plan.image_platform.clone(),
            ena_support: plan.ena_support,
        };
        let answer = self.peers.launcher(&at.caller()).ensure_reserved(request).await?;
        let mut instances = answer.into_inner().instances;
        for instance in &mut instances {
            instance.tags.clear();
        }
        memo.instances = instances;
        Ok(())
    }

    async fn release(&self, at: &At, plan: &LaunchPlan) -> Result<(), StepError> {
        let reason = at.failure.clone().unwrap_or_else(|| "the launch was undone".to_owned());
        let request = ReleaseInstancesRequest {
            saga: at.saga_step(),
            instance_ids: plan.instance_ids.clone(),
            reason: reason.chars().take(255).collect(),
        };
        self.peers.launcher(&at.caller()).release_instances(request).await?;
        Ok(())
    }

    async fn volumes(
        &self,
        at: &At,
        plan: &LaunchPlan,
        memo: &mut LaunchMemo,
    ) -> Result<(), StepError> {
        let mut made = Vec::new();
        for (chunk, n) in plan.volumes.chunks(AT_ONCE).zip(1_usize..) {
            let volumes = chunk
                .iter()
                .cloned()
                .map(|volume| NewVolume { product_codes: memo.product_codes.clone(), ..volume });
            let request = EnsureVolumesRequest {
                saga: part(at.saga_step(), &n.to_string()),
                account_id: at.account.clone(),
                volumes: volumes.collect(),
            };
            let answer = self.peers.storage(&at.caller()).ensure_volumes(request).await?;
            made.extend(answer.into_inner().volumes);
        }
        memo.volumes = by_instance(&plan.volumes, made)?;
        Ok(())
    }

    async fn identity(&self, at: &At, memo: &LaunchMemo) -> Result<(), StepError> {
        let request =
            EnsureIdentityRequest { saga: at.saga_step(), instances: memo.volumes.clone() };
        self.peers.launcher(&at.caller()).ensure_identity(request).await?;
        Ok(())
    }

    async fn machines(&self, at: &At, plan: &LaunchPlan) -> Result<(), StepError> {
        let request =
            EnsureMachinesRequest { saga: at.saga_step(), instance_ids: plan.instance_ids.clone() };
        self.peers.launcher(&at.caller()).ensure_machines(request).await?;
        Ok(())
    }
}

#[tonic::async_trait]
impl Kind for Launch {
    type Step = Step;
    type Request = LaunchPlan;
    type Memo = LaunchMemo;

    const NAME: &'static str = "launch";
    const STEPS: &'static [Step] = &[
        Step::Authorise,
        Step::Pin,
        Step::Hold,
        Step::Reserve,
        Step::Volumes,
        Step::Identity,
        Step::Machines,
        Step::Confirm,
        Step::Unpin,
    ];
    const PIVOT: usize = 6;
    const PATIENCE: Duration = Duration::from_mins(3);

    fn name(step: Step) -> &'static str {
        match step {
            Step::Authorise => "authorise",
            Step::Pin => "pin-image",
            Step::Hold => "hold-entitlement",
            Step::Reserve => "reserve",
            Step::Volumes => "volumes",
            Step::Identity => "identity",
            Step::Machines => "machines",
            Step::Confirm => "confirm-hold",
            Step::Unpin => "unpin-image",
        }
    }

    /// What was answered must be answered again.
    fn logged(step: Step) -> bool {
        step == Step::Reserve
    }

    async fn run(
        &self,
        step: Step,
        at: &At,
        plan: &LaunchPlan,
        memo: &mut LaunchMemo,
    ) -> Result<(), StepError> {
        match step {
            Step::Authorise => self.authorise(at, plan).await,
            Step::Pin => self.pin(at, plan, memo).await,
            Step::Hold => self.hold(at, plan, memo).await,
            Step::Reserve => self.reserve(at, plan, memo).await,
            Step::Volumes => self.volumes(at, plan, memo).await,
            Step::Identity => self.identity(at, memo).await,
            Step::Machines => self.machines(at, plan).await,
            Step::Confirm => self.confirm(at, plan, memo).await,
            Step::Unpin => self.unpin(at, plan).await,
        }
    }

    async fn undo(
        &self,
        step: Step,
        at: &At,
        plan: &LaunchPlan,
        _: &LaunchMemo,
    ) -> Result<(), StepError> {
        match step {
            Step::Pin => self.unpin(at, plan).await,
            Step::Hold => {
                let request = ReleaseHoldRequest { saga: at.saga_step() };
                self.peers.marketplace(&at.caller()).release_hold(request).await?;
                Ok(())
            }
            // Machines first: a volume can't go from under one.
            Step::Reserve | Step::Machines => self.release(at, plan).await,
            Step::Volumes => {
                let request = ReleaseVolumesRequest {
                    saga: part(at.saga_step(), "all"),
                    instance_ids: plan.instance_ids.clone(),
                    undo: true,
                };
                self.peers.storage(&at.caller()).release_volumes(request).await?;
                Ok(())
            }
            Step::Authorise | Step::Identity | Step::Confirm | Step::Unpin => Ok(()),
        }
    }
}
