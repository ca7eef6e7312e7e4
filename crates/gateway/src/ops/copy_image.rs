use std::time::Duration;

use prost::Message;
use prost_types::Duration as Lease;
use tonic::{Code, Status};
use vmint_api::{
    catalog::v1::{Image, ImageState, PinImageRequest, UnpinImageRequest},
    gateway::v1::{CopyImageRequest, CopyImageResponse},
    permissions::v1::ImageAction,
    storage::v1::{EnsureSnapshotCopyRequest, GetSnapshotRequest, SnapshotCopy},
    types::v1::Tag,
};
use vmint_ids::{ImageId, SnapshotId};
use vmint_rpc::Caller;

use super::{
    Gateway, add_codes, asked,
    find_image::state_name,
    pending_image::{PendingImage, missing},
    register_image::snapshot_ids,
};
use crate::{
    GatewayError,
    peers::Peers,
    saga::{At, Kind, StepError},
};

impl Gateway {
    /// Copies an image of the caller's own, or one whose storage is shared with
    /// it; the copy is pending when this returns.
    pub(crate) async fn copy_image(
        &self,
        caller: &Caller,
        request: CopyImageRequest,
    ) -> Result<CopyImageResponse, Status> {
        if !request.source_region.is_empty() {
            return self.copy_from_region(caller, request).await;
        }
        let asked = asked(caller, "CopyImage", &request.request_id, &request)?;
        let saga = match self.sagas.replayed(&asked).await? {
            Some(saga) => saga,
            None => {
                let source = self.copyable_image(caller, &request.source_image_id).await?;
                if source.state() != ImageState::Available {
                    let state = state_name(source.state());
                    let id = source.image_id;
                    return Err(GatewayError::NotAvailable { id, state }.into());
                }
                let plan = plan(caller, request, source);
                let subjects =
                    vec![plan.image.as_ref().map(|i| i.image_id.clone()).unwrap_or_default()];
                self.sagas.begin::<Duplicate>(caller, &asked, subjects, &plan).await?
            }
        };
        let memo = self.sagas.until::<Duplicate>(saga, Step::Own as usize).await?;
        Ok(CopyImageResponse { image: memo.image })
    }

    /// An image that the caller may copy. A launch permission on another's is not
    /// enough: each of its snapshots must be shared too, and nothing of it sold.
    pub(super) async fn copyable_image(
        &self,
        caller: &Caller,
        reference: &str,
    ) -> Result<Image, Status> {
        let (image, check) = self.find_image(caller, reference, ImageAction::Launch).await?;
        if image.owner_id == caller.account {
            return Ok(image);
        }
        let refused = |why| GatewayError::NotCopyable { id: image.image_id.clone(), why };
        if !check.allowed {
            return Err(refused("it is not shared with you").into());
        }
        let sold = "it is sold under a product";
        if !image.product_codes.is_empty() {
            return Err(refused(sold).into());
        }
        for snapshot_id in snapshot_ids(&image) {
            // Storage shows nobody what is not shared with it.
            let request = GetSnapshotRequest { snapshot_id };
            match self.peers.disks(caller).get_snapshot(request).await {
                Ok(found) => {
                    let codes = found.into_inner().snapshot.map(|it| it.product_codes);
                    if codes.is_some_and(|codes| !codes.is_empty()) {
                        return Err(refused(sold).into());
                    }
                }
                Err(status) if status.code() == Code::NotFound => {
                    return Err(refused("its snapshots are not shared with you").into());
                }
                Err(status) => return Err(status),
            }
        }
        Ok(image)
    }
}

fn plan(caller: &Caller, request: CopyImageRequest, source: Image) -> CopyPlan {
    let mut copies: Vec<SnapshotCopy> = Vec::new();
    let mut disks = source.block_device_mappings.clone();
    for ebs in disks.iter_mut().filter_map(|disk| disk.ebs.as_mut()) {
        if ebs.snapshot_id.is_empty() {
            continue;
        }
        // Two disks of one snapshot stay two disks of one snapshot.
        let known = copies.iter().find(|copy| copy.source_snapshot_id == ebs.snapshot_id);
        let id = known.map(|copy| copy.snapshot_id.clone());
        let id = id.unwrap_or_else(|| {
            let snapshot_id = SnapshotId::random().to_string();
            let source_snapshot_id = ebs.snapshot_id.clone();
            copies.push(SnapshotCopy { source_snapshot_id, snapshot_id: snapshot_id.clone() });
            snapshot_id
        });
        ebs.snapshot_id = id;
    }
    let (encrypted, kms_key_id) = (request.encrypted, request.kms_key_id.clone());
    let snapshot_tags = request.snapshot_tags.clone();
    let image = Image { block_device_mappings: disks, ..copied(caller, request, source) };
    CopyPlan { image: Some(image), copies, encrypted, kms_key_id, snapshot_tags }
}

/// The copy as it is to be, but for its disks.
pub(super) fn copied(caller: &Caller, request: CopyImageRequest, source: Image) -> Image {
    let name = match request.name {
        name if name.is_empty() => format!("{}-copy", source.name),
        name => name,
    };
    let description = match request.description {
        text if text.is_empty() => source.description.clone(),
        text => text,
    };
    let mut tags = request.tags;
    if request.copy_tags.unwrap_or(true) {
        let named = |key: &String| tags.iter().any(|tag| tag.key == *key);
        let more = source.tags.iter().filter(|tag| !named(&tag.key)).cloned().collect::<Vec<_>>();
        tags.extend(more);
    }
    Image {
        tags,
        image_id: ImageId::random().to_string(),
        name,
        description,
        owner_id: caller.account.clone(),
        state: ImageState::Pending.into(),
        source_image_id: source.image_id.clone(),
        source_instance_id: String::new(),
        public: false,
        create_time: None,
        deregister_time: None,
        etag: String::new(),
        progress_percent: 0,
        ..source
    }
}

/// pin the source → record → owner → snapshots → **available** → unpin.
#[derive(Debug)]
pub(super) struct Duplicate {
    pub(super) peers: Peers,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    Pin,
    Record,
    Own,
    Snapshots,
    Available,
    Unpin,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CopyPlan {
    #[prost(message, optional, tag = "1")]
    image: Option<Image>,
    #[prost(message, repeated, tag = "2")]
    copies: Vec<SnapshotCopy>,
    #[prost(bool, tag = "40")]
    encrypted: bool,
    #[prost(string, tag = "41")]
    kms_key_id: String,
    #[prost(message, repeated, tag = "42")]
    snapshot_tags: Vec<Tag>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CopyMemo {
    #[prost(message, optional, tag = "1")]
    image: Option<Image>,
    #[prost(string, repeated, tag = "2")]
    product_codes: Vec<String>,
    #[prost(bool, tag = "3")]
    owned: bool,
}

impl CopyPlan {
    fn snapshot_ids(&self) -> Vec<String> {
        self.copies.iter().map(|copy| copy.snapshot_id.clone()).collect()
    }
}

impl Duplicate {
    async fn unpin(&self, at: &At, image_id: &str) -> Result<(), StepError> {
        let request = UnpinImageRequest { saga: at.saga_step(), image_id: image_id.to_owned() };
        self.peers.catalog(&at.caller()).unpin_image(request).await?;
        Ok(())
    }
}

#[tonic::async_trait]
impl Kind for Duplicate {
    type Step = Step;
    type Request = CopyPlan;
    type Memo = CopyMemo;

    const NAME: &'static str = "copy-image";
    const STEPS: &'static [Step] =
        &[Step::Pin, Step::Record, Step::Own, Step::Snapshots, Step::Available, Step::Unpin];
    const PIVOT: usize = 4;
    const PATIENCE: Duration = Duration::from_hours(1);

    fn name(step: Step) -> &'static str {
        match step {
            Step::Pin => "pin",
            Step::Record => "record",
            Step::Own => "own",
            Step::Snapshots => "snapshots",
            Step::Available => "available",
            Step::Unpin => "unpin",
        }
    }

    fn logged(step: Step) -> bool {
        step == Step::Own
    }

    async fn run(
        &self,
        step: Step,
        at: &At,
        plan: &CopyPlan,
        memo: &mut CopyMemo,
    ) -> Result<(), StepError> {
        let image = plan.image.clone().unwrap_or_default();
        let pending = PendingImage { peers: &self.peers, at, id: &image.image_id };
        match step {
            Step::Pin => {
                let request = PinImageRequest {
                    saga: at.saga_step(),
                    image_id: image.source_image_id.clone(),
                    lease: Some(Lease { seconds: 3600 * 2, nanos: 0 }),
                };
                let pinned = self.peers.catalog(&at.caller()).pin_image(request).await?;
                let pinned = pinned.into_inner().image.ok_or_else(|| missing("catalog"))?;
                add_codes(&mut memo.product_codes, pinned.product_codes);
            }
            Step::Record => {
                let product_codes = memo.product_codes.clone();
                let image = Image { product_codes, ..image.clone() };
                memo.image = Some(pending.record(&image).await?);
            }
            Step::Own => {
                pending.own(&at.account).await?;
                memo.owned = true;
            }
            Step::Snapshots => {
                let ensure = EnsureSnapshotCopyRequest {
                    saga: at.saga_step(),
                    account_id: at.account.clone(),
                    copies: plan.copies.clone(),
                    image_id: image.image_id.clone(),
                    description: format!(
                        "Copied for DestinationAmi {} from SourceAmi {}",
                        image.image_id, image.source_image_id
                    ),
                    tags: plan.snapshot_tags.clone(),
                    encrypted: plan.encrypted,
                    kms_key_id: plan.kms_key_id.clone(),
                };
                let ids = plan.snapshot_ids();
                let mut storage = self.peers.storage(&at.caller());
                let work = storage.ensure_snapshot_copy(ensure);
                let made = pending.showing_progress(&ids, work).await?.into_inner().snapshots;
                let codes = made.into_iter().flat_map(|snapshot| snapshot.product_codes);
                add_codes(&mut memo.product_codes, codes);
                pending.put_codes(ids, &memo.product_codes).await?;
            }
            Step::Available => {
                let encrypted = pending.encrypted(plan.snapshot_ids()).await?;
                drop(pending.available(&memo.product_codes, encrypted).await?);
            }
            Step::Unpin => self.unpin(at, &image.source_image_id).await?,
        }
        Ok(())
    }

    async fn undo(
        &self,
        step: Step,
        at: &At,
        plan: &CopyPlan,
        memo: &CopyMemo,
    ) -> Result<(), StepError> {
        let image = plan.image.as_ref();
        let id = image.map_or("", |image| image.image_id.as_str());
        let pending = PendingImage { peers: &self.peers, at, id };
        match step {
            Step::Pin => self.unpin(at, image.map_or("", |i| i.source_image_id.as_str())).await,
            Step::Record => pending.unrecord(memo.owned).await,
            Step::Own => pending.unown(memo.owned).await,
            Step::Snapshots => pending.drop_snapshots(plan.snapshot_ids()).await,
            Step::Available | Step::Unpin => Ok(()),
        }
    }
}
