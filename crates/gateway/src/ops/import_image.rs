use std::time::Duration;

use prost::Message;
use tokio::time::{Instant, sleep};
use tonic::Status;
use vmint_api::{
    catalog::v1::Image,
    gateway::v1::{ImportImageDisk, ImportImageRequest, ImportImageResponse},
    storage::v1::{
        BatchGetSnapshotsRequest, CountDisksRequest, DiskSource, EnsureImportEndedRequest,
        EnsureImportRequest, EnsureImportResponse, ImportTask, NewImportDisk, ReleaseImportRequest,
        TransferState,
    },
    types::v1::{BlockDeviceMapping, EbsBlockDevice, Tag},
};
use vmint_ids::{ImportImageTaskId, SnapshotId};
use vmint_rpc::Caller;

use super::{
    Gateway, add_codes, asked,
    pending_image::{PendingImage, missing},
    register_image::new_image,
};
use crate::{
    GatewayError,
    peers::Peers,
    saga::{At, Kind, StepError},
};

/// Disks of one import; EC2 allows as many.
pub(super) const MAX_DISKS: usize = 21;
/// How long one attempt waits for the conversion, and between looks at it.
const ATTEMPT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(250);

impl Gateway {
    /// Begins to make an image of disk files; image and task are under way when
    /// this returns.
    pub(crate) async fn import_image(
        &self,
        caller: &Caller,
        request: ImportImageRequest,
    ) -> Result<ImportImageResponse, Status> {
        let asked = asked(caller, "ImportImage", &request.request_id, &request)?;
        let saga = match self.sagas.replayed(&asked).await? {
            Some(saga) => saga,
            None => {
                let plan = plan(caller, self.each_disk(caller, request).await?)?;
                let image = plan.image.as_ref().map(|image| image.image_id.clone());
                let subjects = vec![image.unwrap_or_default(), plan.task_id.clone()];
                self.sagas.begin::<Import>(caller, &asked, subjects, &plan).await?
            }
        };
        let memo = self.sagas.until::<Import>(saga, Step::Own as usize).await?;
        Ok(ImportImageResponse { image: memo.image, task: memo.task })
    }
}

impl Gateway {
    /// The request with every disk of its packages in it.
    async fn each_disk(
        &self,
        caller: &Caller,
        mut request: ImportImageRequest,
    ) -> Result<ImportImageRequest, Status> {
        let mut disks = Vec::new();
        // No more is asked than may be answered.
        for disk in request.disks.drain(..).take(MAX_DISKS + 1) {
            let Some(source) = disk.source.clone().filter(|it| it.disk_index.is_none()) else {
                disks.push(disk);
                continue;
            };
            let account_id = caller.account.clone();
            let count = CountDisksRequest { account_id, source: Some(source.clone()) };
            let gateway = Caller::service(vmint_rpc::GATEWAY);
            let count = self.peers.transfers(&gateway).count_disks(count).await?.into_inner().disks;
            if count <= 1 {
                disks.push(disk);
                continue;
            }
            for index in (0..count).take(MAX_DISKS + 1) {
                let source = Some(DiskSource { disk_index: Some(index), ..source.clone() });
                let first = if index == 0 { disk.device_name.clone() } else { String::new() };
                disks.push(ImportImageDisk { source, device_name: first });
            }
        }
        Ok(ImportImageRequest { disks, ..request })
    }
}

fn plan(caller: &Caller, request: ImportImageRequest) -> Result<ImportPlan, GatewayError> {
    if request.disks.is_empty() || request.disks.len() > MAX_DISKS {
        let why = format!("give 1 to {MAX_DISKS} disks, the root disk first");
        return Err(GatewayError::invalid("disks", why));
    }
    let mut image = request.image.ok_or_else(|| GatewayError::invalid("image", "must be set"))?;
    let mut disks = Vec::new();
    image.block_device_mappings.clear();
    for (n, ImportImageDisk { source, device_name }) in request.disks.into_iter().enumerate() {
        let device_name = if device_name.is_empty() { device(n) } else { device_name };
        let snapshot_id = SnapshotId::random().to_string();
        let ebs = EbsBlockDevice { snapshot_id: snapshot_id.clone(), ..Default::default() };
        image.block_device_mappings.push(BlockDeviceMapping {
            device_name: device_name.clone(),
            ebs: Some(ebs),
            no_device: false,
        });
        disks.push(NewImportDisk { source, device_name, snapshot_id });
    }
    image.root_device_name.clone_from(&disks[0].device_name);
    let task_id = ImportImageTaskId::random().to_string();
    if image.name.is_empty() {
        image.name.clone_from(&task_id);
    }
    let image = Some(new_image(caller, Some(image))?);
    let (encrypted, kms_key_id, tags) = (request.encrypted, request.kms_key_id, request.task_tags);
    Ok(ImportPlan { image, disks, task_id, encrypted, kms_key_id, tags, snapshot_tags: Vec::new() })
}

/// What the `n`th disk is called unless it is said.
fn device(n: usize) -> String {
    match u8::try_from(n) {
        Ok(n @ 1..) => format!("/dev/sd{}", char::from(b'a' + n)),
        _ => "/dev/sda1".to_owned(),
    }
}

/// task → record → owner → conversion → **available** → task's end.
#[derive(Debug)]
pub(super) struct Import {
    pub(super) peers: Peers,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    Begin,
    Record,
    Own,
    Convert,
    Available,
    End,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ImportPlan {
    #[prost(message, optional, tag = "1")]
    pub(super) image: Option<Image>,
    #[prost(message, repeated, tag = "2")]
    pub(super) disks: Vec<NewImportDisk>,
    #[prost(string, tag = "3")]
    pub(super) task_id: String,
    #[prost(bool, tag = "4")]
    pub(super) encrypted: bool,
    #[prost(string, tag = "5")]
    pub(super) kms_key_id: String,
    /// Of the task.
    #[prost(message, repeated, tag = "70")]
    pub(super) tags: Vec<Tag>,
    #[prost(message, repeated, tag = "71")]
    pub(super) snapshot_tags: Vec<Tag>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ImportMemo {
    #[prost(message, optional, tag = "1")]
    pub(super) image: Option<Image>,
    #[prost(message, optional, tag = "2")]
    pub(super) task: Option<ImportTask>,
    #[prost(string, repeated, tag = "3")]
    product_codes: Vec<String>,
    /// The image may have been answered.
    #[prost(bool, tag = "4")]
    owned: bool,
}

impl Import {
    /// Begins the import, or looks at it.
    async fn ensure(&self, at: &At, plan: &ImportPlan) -> Result<EnsureImportResponse, StepError> {
        let image = plan.image.as_ref();
        let request = EnsureImportRequest {
            saga: at.saga_step(),
            task_id: plan.task_id.clone(),
            account_id: at.account.clone(),
            image_id: image.map(|image| image.image_id.clone()).unwrap_or_default(),
            description: image.map(|image| image.description.clone()).unwrap_or_default(),
            disks: plan.disks.clone(),
            encrypted: plan.encrypted,
            kms_key_id: plan.kms_key_id.clone(),
            tags: plan.tags.clone(),
            snapshot_tags: plan.snapshot_tags.clone(),
        };
        Ok(self.peers.transfers(&at.caller()).ensure_import(request).await?.into_inner())
    }

    /// Waits until the disks are snapshots; for a while, so that no step takes
    /// hours.
    async fn converted(
        &self,
        at: &At,
        plan: &ImportPlan,
        pending: &PendingImage<'_>,
    ) -> Result<(), StepError> {
        let (end, mut shown) = (Instant::now() + ATTEMPT, 0);
        loop {
            let EnsureImportResponse { task, converted } = self.ensure(at, plan).await?;
            let task = task.ok_or_else(|| missing("storage"))?;
            if task.state() != TransferState::Active {
                let status = Status::failed_precondition(task.status_message);
                return Err(StepError::Permanent(status));
            }
            if converted {
                return Ok(());
            }
            let percent = task.progress_percent;
            // Only a courtesy, so a failure is no matter.
            if percent > shown && pending.show_percent(percent.min(99)).await.is_ok() {
                shown = percent;
            }
            if Instant::now() >= end {
                let why = format!("{} is {}, {percent} %", task.task_id, task.status_message);
                return Err(StepError::Retryable(Status::unavailable(why)));
            }
            sleep(LOOK).await;
        }
    }

    /// The products that the disks' data are sold under.
    async fn codes(&self, at: &At, plan: &ImportPlan) -> Result<Vec<String>, StepError> {
        let snapshot_ids = plan.disks.iter().map(|disk| disk.snapshot_id.clone()).collect();
        let request = BatchGetSnapshotsRequest { snapshot_ids };
        let found = self.peers.storage(&at.caller()).batch_get_snapshots(request).await?;
        Ok(found.into_inner().snapshots.into_iter().flat_map(|s| s.product_codes).collect())
    }
}

#[tonic::async_trait]
impl Kind for Import {
    type Step = Step;
    type Request = ImportPlan;
    type Memo = ImportMemo;

    const NAME: &'static str = "import-image";
    const STEPS: &'static [Step] =
        &[Step::Begin, Step::Record, Step::Own, Step::Convert, Step::Available, Step::End];
    const PIVOT: usize = 4;
    /// A terabyte may take its time.
    const PATIENCE: Duration = Duration::from_hours(24);

    fn name(step: Step) -> &'static str {
        match step {
            Step::Begin => "begin",
            Step::Record => "record",
            Step::Own => "own",
            Step::Convert => "convert",
            Step::Available => "available",
            Step::End => "end",
        }
    }

    fn logged(step: Step) -> bool {
        step == Step::Own
    }

    async fn run(
        &self,
        step: Step,
        at: &At,
        plan: &ImportPlan,
        memo: &mut ImportMemo,
    ) -> Result<(), StepError> {
        let image = plan.image.clone().unwrap_or_default();
        let pending = PendingImage { peers: &self.peers, at, id: &image.image_id };
        match step {
            Step::Begin => memo.task = self.ensure(at, plan).await?.task,
            Step::Record => memo.image = Some(pending.record(&image).await?),
            Step::Own => {
                pending.own(&at.account).await?;
                memo.owned = true;
            }
            Step::Convert => {
                self.converted(at, plan, &pending).await?;
                let codes = self.codes(at, plan).await?;
                add_codes(&mut memo.product_codes, codes);
            }
            // What was answered is what is answered again.
            Step::Available => {
                let ids = plan.disks.iter().map(|disk| disk.snapshot_id.clone());
                let encrypted = pending.encrypted(ids.collect()).await?;
                drop(pending.available(&memo.product_codes, encrypted).await?);
            }
            Step::End => {
                let request = EnsureImportEndedRequest {
                    saga: at.saga_step(),
                    task_id: plan.task_id.clone(),
                };
                self.peers.transfers(&at.caller()).ensure_import_ended(request).await?;
            }
        }
        Ok(())
    }

    async fn undo(
        &self,
        step: Step,
        at: &At,
        plan: &ImportPlan,
        memo: &ImportMemo,
    ) -> Result<(), StepError> {
        let id = plan.image.as_ref().map_or("", |image| image.image_id.as_str());
        let pending = PendingImage { peers: &self.peers, at, id };
        match step {
            Step::Begin => {
                let request = ReleaseImportRequest {
                    saga: at.saga_step(),
                    task_id: plan.task_id.clone(),
                    reason: at.failure.clone().unwrap_or_default(),
                };
                self.peers.transfers(&at.caller()).release_import(request).await?;
                Ok(())
            }
            Step::Record => pending.unrecord(memo.owned).await,
            Step::Own => pending.unown(memo.owned).await,
            // Its snapshots go with the task.
            Step::Convert | Step::Available | Step::End => Ok(()),
        }
    }
}
