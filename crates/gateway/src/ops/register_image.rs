use std::{collections::HashMap, time::Duration};

use prost::Message;
use tonic::Status;
use vmint_api::{
    catalog::v1::{Architecture, BatchGetImagesRequest, Image, ImageState},
    gateway::v1::{RegisterImageRequest, RegisterImageResponse},
    storage::v1::{EnsureSnapshotUseRequest, ReleaseSnapshotUseRequest, Snapshot},
};
use vmint_ids::{ImageId, SnapshotId};
use vmint_rpc::Caller;

use super::{Gateway, add_codes, asked, pending_image::PendingImage, performance};
use crate::{
    GatewayError,
    peers::Peers,
    saga::{At, Kind, StepError},
};

/// As many disks as a machine takes.
pub(super) const MAX_DISKS: usize = 27;

impl Gateway {
    /// Registers an image over snapshots of the caller's own.
    pub(crate) async fn register_image(
        &self,
        caller: &Caller,
        request: RegisterImageRequest,
    ) -> Result<RegisterImageResponse, Status> {
        let asked = asked(caller, "RegisterImage", &request.request_id, &request)?;
        let image = new_image(caller, request.image)?;
        // Nothing was asked of anybody yet, so a repeated request can be told here.
        let subjects = vec![image.image_id.clone()];
        let request = RegisterRequest { image: Some(image) };
        let saga = self.sagas.begin::<Register>(caller, &asked, subjects, &request).await?;
        let memo = self.sagas.to_end::<Register>(saga).await?;
        Ok(RegisterImageResponse { image: memo.image })
    }
}

/// The image as asked for, with what the server assigns.
pub(super) fn new_image(caller: &Caller, image: Option<Image>) -> Result<Image, GatewayError> {
    let invalid = |field: &str, why: String| GatewayError::invalid(format!("image.{field}"), why);
    let mut image = image.ok_or_else(|| GatewayError::invalid("image", "must be set"))?;
    let disks = &image.block_device_mappings;
    if disks.is_empty() || disks.len() > MAX_DISKS {
        let why = format!("give 1 to {MAX_DISKS} disks, the root among them");
        return Err(invalid("block_device_mappings", why));
    }
    if image.root_device_name.is_empty() && disks.len() == 1 {
        image.root_device_name.clone_from(&disks[0].device_name);
    }
    for (at, disk) in image.block_device_mappings.iter().enumerate() {
        let field = format!("block_device_mappings[{at}]");
        if disk.device_name.is_empty() {
            return Err(invalid(&field, "name its device, for example `/dev/sda1`".to_owned()));
        }
        let earlier = &image.block_device_mappings[..at];
        if earlier.iter().any(|other| other.device_name == disk.device_name) {
            return Err(invalid(&field, format!("`{}` is there twice", disk.device_name)));
        }
        let Some(ebs) = disk.ebs.as_ref().filter(|_| !disk.no_device) else {
            return Err(invalid(&field, "an image's disk must have `ebs`".to_owned()));
        };
        if !ebs.snapshot_id.is_empty() && ebs.snapshot_id.parse::<SnapshotId>().is_err() {
            let why = format!("`{}` is no snapshot's id", ebs.snapshot_id);
            return Err(invalid(&format!("{field}.ebs.snapshot_id"), why));
        }
        let performance = performance::check(ebs, ebs.size_gib);
        performance.map_err(|(what, why)| invalid(&format!("{field}.ebs.{what}"), why))?;
        if ebs.snapshot_id.is_empty() && ebs.size_gib < 1 {
            let why = "an empty disk needs a size of at least 1".to_owned();
            return Err(invalid(&format!("{field}.ebs.size_gib"), why));
        }
    }
    let root = &image.root_device_name;
    let root = image.block_device_mappings.iter().find(|disk| disk.device_name == *root);
    if root.and_then(|disk| disk.ebs.as_ref()).is_none_or(|ebs| ebs.snapshot_id.is_empty()) {
        let why = "must name a disk that has a snapshot".to_owned();
        return Err(invalid("root_device_name", why));
    }
    if image.architecture() == Architecture::Unspecified {
        image.set_architecture(Architecture::X8664);
    }
    for ebs in image.block_device_mappings.iter_mut().filter_map(|disk| disk.ebs.as_mut()) {
        ebs.encrypted = false;
        ebs.kms_key_id.clear();
    }
    image.image_id = ImageId::random().to_string();
    image.owner_id.clone_from(&caller.account);
    image.set_state(ImageState::Pending);
    image.state_reason.clear();
    image.state_reason_code.clear();
    image.product_codes.clear();
    image.source_image_id.clear();
    image.source_instance_id.clear();
    image.public = false;
    (image.create_time, image.deregister_time) = (None, None);
    image.etag.clear();
    Ok(image)
}

/// snapshots in use, and owner → **record**.
///
/// Its data are there, so it is available from its record on, and by then it
/// has its owner.
#[derive(Debug)]
pub(super) struct Register {
    pub(super) peers: Peers,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Claim,
    Record,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RegisterRequest {
    #[prost(message, optional, tag = "1")]
    image: Option<Image>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RegisterMemo {
    #[prost(message, optional, tag = "1")]
    image: Option<Image>,
}

impl Register {
    /// Has the snapshots of `asked` kept for it; answers it as its snapshots
    /// make it: its sizes, what is encrypted, what is sold with it.
    async fn use_snapshots(&self, at: &At, asked: &Image) -> Result<Image, StepError> {
        let request = EnsureSnapshotUseRequest {
            saga: at.saga_step(),
            image_id: asked.image_id.clone(),
            snapshot_ids: snapshot_ids(asked),
            account_id: at.account.clone(),
        };
        let used = self.peers.storage(&at.caller()).ensure_snapshot_use(request).await?;
        let used = used.into_inner().snapshots;
        let image = with_sizes(asked.clone(), &used);
        let mut image = image.map_err(|error| StepError::Permanent(error.into()))?;
        for ebs in image.block_device_mappings.iter_mut().filter_map(|disk| disk.ebs.as_mut()) {
            let of = used.iter().find(|snapshot| snapshot.snapshot_id == ebs.snapshot_id);
            ebs.encrypted = of.is_some_and(|snapshot| snapshot.encrypted);
        }
        add_codes(&mut image.product_codes, used.into_iter().flat_map(|it| it.product_codes));
        Ok(image)
    }
}

#[tonic::async_trait]
impl Kind for Register {
    type Step = Step;
    type Request = RegisterRequest;
    type Memo = RegisterMemo;

    const NAME: &'static str = "register";
    const STEPS: &'static [Step] = &[Step::Claim, Step::Record];
    const PIVOT: usize = 1;
    const PATIENCE: Duration = Duration::from_secs(45);
    const ANSWERS_EARLY: bool = true;

    fn name(step: Step) -> &'static str {
        match step {
            Step::Claim => "claim",
            Step::Record => "record",
        }
    }

    async fn run(
        &self,
        step: Step,
        at: &At,
        request: &RegisterRequest,
        memo: &mut RegisterMemo,
    ) -> Result<(), StepError> {
        let asked = request.image.clone().unwrap_or_default();
        let pending = PendingImage { peers: &self.peers, at, id: &asked.image_id };
        match step {
            Step::Claim => {
                // Neither is given up half-way: what it did must be known before it is undone.
                let (used, owned) =
                    tokio::join!(self.use_snapshots(at, &asked), pending.own(&at.account));
                let image = used?;
                owned?;
                memo.image = Some(image);
            }
            Step::Record => {
                let image = memo.image.take().unwrap_or(asked.clone());
                memo.image = Some(pending.record_whole(&image).await?);
            }
        }
        Ok(())
    }

    async fn undo(
        &self,
        step: Step,
        at: &At,
        request: &RegisterRequest,
        _: &RegisterMemo,
    ) -> Result<(), StepError> {
        let id = request.image.as_ref().map_or("", |image| image.image_id.as_str());
        let pending = PendingImage { peers: &self.peers, at, id };
        match step {
            Step::Claim => {
                let release = ReleaseSnapshotUseRequest {
                    saga: at.saga_step(),
                    image_id: id.to_owned(),
                    delete_snapshots: false,
                    dry_run: false,
                };
                let mut storage = self.peers.storage(&at.caller());
                let (released, disowned) =
                    tokio::join!(storage.release_snapshot_use(release), pending.disown());
                released?;
                disowned?;
            }
            // It may be there although its answer was lost.
            Step::Record => pending.forget().await?,
        }
        Ok(())
    }

    /// The record is the last step, and tells by itself.
    async fn passed(
        &self,
        at: &At,
        request: &RegisterRequest,
    ) -> Result<Option<RegisterMemo>, StepError> {
        let image_ids = request.image.iter().map(|image| image.image_id.clone()).collect();
        let request = BatchGetImagesRequest { image_ids, account_id: String::new() };
        let found = self.peers.catalog(&at.caller()).batch_get_images(request).await?;
        let mut found = found.into_inner().images.into_iter();
        let whole = |image: &Image| {
            matches!(image.state(), ImageState::Available | ImageState::Deregistered)
        };
        Ok(found.find(whole).map(|image| RegisterMemo { image: Some(image) }))
    }
}

/// The snapshots of an image's disks, each once.
pub(super) fn snapshot_ids(image: &Image) -> Vec<String> {
    let disks = image.block_device_mappings.iter().filter_map(|disk| disk.ebs.as_ref());
    let mut ids = disks.map(|ebs| ebs.snapshot_id.clone()).collect::<Vec<_>>();
    ids.retain(|id| !id.is_empty());
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Fills in the sizes of disks that say none, and refuses what is too small.
fn with_sizes(mut image: Image, snapshots: &[Snapshot]) -> Result<Image, GatewayError> {
    let sizes = snapshots.iter().map(|s| (s.snapshot_id.as_str(), s.size_gib));
    let sizes = sizes.collect::<HashMap<_, _>>();
    for (at, disk) in image.block_device_mappings.iter_mut().enumerate() {
        let Some(ebs) = disk.ebs.as_mut() else { continue };
        let Some(least) = sizes.get(ebs.snapshot_id.as_str()) else { continue };
        if ebs.size_gib == 0 {
            ebs.size_gib = *least;
        }
        if let Err((what, why)) = performance::check(ebs, ebs.size_gib) {
            let field = format!("image.block_device_mappings[{at}].ebs.{what}");
            return Err(GatewayError::invalid(field, why));
        }
        if ebs.size_gib < *least {
            let field = format!("image.block_device_mappings[{at}].ebs.size_gib");
            let why = format!("its snapshot has {least} GiB; give 0 or at least that");
            return Err(GatewayError::invalid(field, why));
        }
    }
    Ok(image)
}
