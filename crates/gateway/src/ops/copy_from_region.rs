use std::time::Duration;

use prost::Message;
use tokio::time::{Instant, sleep};
use tonic::Status;
use vmint_api::{
    catalog::v1::Image,
    gateway::v1::{CopyImageRequest, CopyImageResponse},
    storage::v1::{
        EnsureRemoteCopyRequest, EnsureRemoteCopyResponse, GetRemoteImageRequest, RemoteDisk,
    },
    types::v1::Tag,
};
use vmint_ids::SnapshotId;
use vmint_rpc::Caller;

use super::{
    Gateway, asked,
    copy_image::copied,
    pending_image::{PendingImage, missing},
};
use crate::{
    GatewayError,
    peers::Peers,
    saga::{At, Kind, StepError},
};

/// How long one attempt waits for the copy, and between looks at it.
const ATTEMPT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(250);

impl Gateway {
    /// Copies an image that the caller may copy from another region; the copy is
    /// pending when this returns.
    pub(super) async fn copy_from_region(
        &self,
        caller: &Caller,
        request: CopyImageRequest,
    ) -> Result<CopyImageResponse, Status> {
        let asked = asked(caller, "CopyImage", &request.request_id, &request)?;
        let saga = match self.sagas.replayed(&asked).await? {
            Some(saga) => saga,
            None => {
                let look = GetRemoteImageRequest {
                    region: request.source_region.clone(),
                    account_id: caller.account.clone(),
                    image_id: request.source_image_id.clone(),
                };
                let gateway = Caller::service(vmint_rpc::GATEWAY);
                let found = self.peers.copies(&gateway).get_remote_image(look).await?.into_inner();
                let source = found
                    .image
                    .ok_or_else(|| GatewayError::invalid("source_image_id", "it has no image"))?;
                let disks = found.disk_bytes.into_iter().zip(found.disk_encrypted);
                let plan = plan(caller, request, source, disks);
                let image = plan.image.as_ref().map(|image| image.image_id.clone());
                let subjects = vec![image.unwrap_or_default()];
                self.sagas.begin::<Fetch>(caller, &asked, subjects, &plan).await?
            }
        };
        let memo = self.sagas.until::<Fetch>(saga, Step::Own as usize).await?;
        Ok(CopyImageResponse { image: memo.image })
    }
}

fn plan(
    caller: &Caller,
    request: CopyImageRequest,
    source: Image,
    mut there: impl Iterator<Item = (i64, bool)>,
) -> FetchPlan {
    let (encrypted, kms_key_id) = (request.encrypted, request.kms_key_id.clone());
    let (region, source_image_id) = (request.source_region.clone(), source.image_id.clone());
    let snapshot_tags = request.snapshot_tags.clone();
    let mut image = copied(caller, request, source);
    let mut disks: Vec<RemoteDisk> = Vec::new();
    for ebs in image.block_device_mappings.iter_mut().filter_map(|disk| disk.ebs.as_mut()) {
        if ebs.snapshot_id.is_empty() {
            continue;
        }
        let (size_bytes, sealed) = there.next().unwrap_or_default();
        let known = disks.iter().find(|disk| disk.source_snapshot_id == ebs.snapshot_id);
        let id = known.map(|disk| disk.snapshot_id.clone());
        ebs.snapshot_id = id.unwrap_or_else(|| {
            let snapshot_id = SnapshotId::random().to_string();
            let source_snapshot_id = ebs.snapshot_id.clone();
            disks.push(RemoteDisk {
                source_snapshot_id,
                snapshot_id: snapshot_id.clone(),
                size_bytes,
                encrypted: sealed,
            });
            snapshot_id
        });
    }
    let image = Some(image);
    FetchPlan { image, disks, region, source_image_id, encrypted, kms_key_id, snapshot_tags }
}

/// record → owner → disks → **available**.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) peers: Peers,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    Record,
    Own,
    Disks,
    Available,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FetchPlan {
    #[prost(message, optional, tag = "1")]
    image: Option<Image>,
    #[prost(message, repeated, tag = "2")]
    disks: Vec<RemoteDisk>,
    #[prost(string, tag = "3")]
    region: String,
    #[prost(string, tag = "4")]
    source_image_id: String,
    #[prost(bool, tag = "5")]
    encrypted: bool,
    #[prost(string, tag = "6")]
    kms_key_id: String,
    #[prost(message, repeated, tag = "7")]
    snapshot_tags: Vec<Tag>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FetchMemo {
    #[prost(message, optional, tag = "1")]
    image: Option<Image>,
    /// The image may have been answered.
    #[prost(bool, tag = "2")]
    owned: bool,
}

impl Fetch {
    /// Waits until the disks are here; for a while, so that no step takes hours.
    async fn fetched(
        &self,
        at: &At,
        plan: &FetchPlan,
        pending: &PendingImage<'_>,
    ) -> Result<(), StepError> {
        let image = plan.image.as_ref().ok_or_else(|| missing("gateway"))?;
        let request = EnsureRemoteCopyRequest {
            saga: at.saga_step(),
            region: plan.region.clone(),
            account_id: at.account.clone(),
            source_image_id: plan.source_image_id.clone(),
            image_id: image.image_id.clone(),
            description: image.description.clone(),
            disks: plan.disks.clone(),
            product_codes: image.product_codes.clone(),
            encrypted: plan.encrypted,
            kms_key_id: plan.kms_key_id.clone(),
            tags: plan.snapshot_tags.clone(),
        };
        let (end, mut shown) = (Instant::now() + ATTEMPT, 0);
        loop {
            let far = self.peers.copies(&at.caller()).ensure_remote_copy(request.clone()).await?;
            let EnsureRemoteCopyResponse { done, progress_percent: percent, seconds_left } =
                far.into_inner();
            if done {
                return Ok(());
            }
            // Only a courtesy, so a failure is no matter.
            if percent > shown && pending.show_percent(percent.min(99)).await.is_ok() {
                shown = percent;
            }
            if Instant::now() >= end {
                let why = format!("{percent} % is copied, about {seconds_left} s are left");
                return Err(StepError::Retryable(Status::unavailable(why)));
            }
            sleep(LOOK).await;
        }
    }
}

#[tonic::async_trait]
impl Kind for Fetch {
    type Step = Step;
    type Request = FetchPlan;
    type Memo = FetchMemo;

    const NAME: &'static str = "copy-from-region";
    const STEPS: &'static [Step] = &[Step::Record, Step::Own, Step::Disks, Step::Available];
    const PIVOT: usize = 3;
    /// The other region may be away for as long.
    const PATIENCE: Duration = Duration::from_hours(24);

    fn name(step: Step) -> &'static str {
        match step {
            Step::Record => "record",
            Step::Own => "own",
            Step::Disks => "disks",
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
        plan: &FetchPlan,
        memo: &mut FetchMemo,
    ) -> Result<(), StepError> {
        let image = plan.image.clone().unwrap_or_default();
        let pending = PendingImage { peers: &self.peers, at, id: &image.image_id };
        match step {
            Step::Record => memo.image = Some(pending.record(&image).await?),
            Step::Own => {
                pending.own(&at.account).await?;
                memo.owned = true;
            }
            Step::Disks => self.fetched(at, plan, &pending).await?,
            Step::Available => {
                let ids = plan.disks.iter().map(|disk| disk.snapshot_id.clone());
                let encrypted = pending.encrypted(ids.collect()).await?;
                drop(pending.available(&image.product_codes, encrypted).await?);
            }
        }
        Ok(())
    }

    async fn undo(
        &self,
        step: Step,
        at: &At,
        plan: &FetchPlan,
        memo: &FetchMemo,
    ) -> Result<(), StepError> {
        let id = plan.image.as_ref().map_or("", |image| image.image_id.as_str());
        let pending = PendingImage { peers: &self.peers, at, id };
        match step {
            Step::Record => pending.unrecord(memo.owned).await,
            Step::Own => pending.unown(memo.owned).await,
            Step::Disks => {
                let ids = plan.disks.iter().map(|disk| disk.snapshot_id.clone());
                pending.drop_snapshots(ids.collect()).await
            }
            Step::Available => Ok(()),
        }
    }
}
