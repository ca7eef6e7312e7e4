//! What accounts may ask of instance-store bundles.

use std::pin::Pin;

use futures::Stream;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};
use vmint_api::storage::v1 as pb;
use vmint_api::storage::v1::instance_bundle_service_server::InstanceBundleService;
use vmint_ids::AccountId;
use vmint_images::instance_bundle::{Manifest, Mapping};
use vmint_rpc::{Caller, to_status};

use super::{
    convert::{account_of, id, number, page_size, page_start, time},
    follow::{Watch, follow},
    object_convert::bucket_name,
    public::{asked, token},
};
use crate::{
    Result, Storage, StorageError,
    instance_bundle::{BundleState, BundleTask, Location, Machine, Origin},
    ops::NewBundle,
};

/// Serves accounts that make and read bundles.
#[derive(Debug)]
pub struct InstanceBundles(pub Storage);

type Answer<T> = Result<Response<T>, Status>;

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn status(error: StorageError) -> Status {
    to_status(&error)
}

fn of<T>(request: &Request<T>) -> Result<AccountId, Status> {
    account_of(Caller::of_account(request)?).map_err(status)
}

/// Where a bundle lies, by its manifest.
pub(super) fn location_of(field: &'static str, text: &str) -> Result<Location> {
    text.parse().map_err(|error| invalid(field, text, &error))
}

fn invalid(field: &'static str, value: &str, rule: &impl ToString) -> StorageError {
    let value = value.chars().take(64).collect();
    StorageError::Invalid { field, what: "text", value, rule: rule.to_string() }
}

fn new_bundle(asked: &pb::CreateInstanceBundleRequest) -> Result<NewBundle> {
    let origin = match (asked.snapshot_id.as_str(), asked.volume_id.as_str()) {
        (snapshot, "") => Origin::Snapshot(id("snapshot_id", snapshot)?),
        ("", volume) => Origin::Volume(id("volume_id", volume)?),
        (_, volume) => {
            return Err(invalid("volume_id", volume, &"name a snapshot or a volume, not both"));
        }
    };
    let location = Location::new(bucket_name(&asked.bucket)?, &asked.prefix);
    let mapping = |name: &str, device: &str| Mapping {
        virtual_name: name.to_owned(),
        device_name: device.to_owned(),
    };
    let mut mappings: Vec<Mapping> =
        asked.mappings.iter().map(|it| mapping(&it.virtual_name, &it.device_name)).collect();
    if mappings.is_empty() {
        mappings = vec![mapping("ami", "sda1"), mapping("root", "/dev/sda1")];
    }
    let architecture = match asked.architecture.as_str() {
        "" => "x86_64".to_owned(),
        other => other.to_owned(),
    };
    let key = match asked.kms_key_id.as_str() {
        "" => None,
        key => Some(id("kms_key_id", key)?),
    };
    Ok(NewBundle {
        origin,
        location: location.map_err(|error| invalid("prefix", &asked.prefix, &error))?,
        machine: Machine { architecture, platform: asked.platform.clone(), mappings },
        key,
    })
}

fn task(storage: &Storage, task: &BundleTask) -> pb::InstanceBundleTask {
    let state = match task.state {
        BundleState::Pending => pb::InstanceBundleState::Pending,
        BundleState::Bundling => pb::InstanceBundleState::Bundling,
        BundleState::Storing => pb::InstanceBundleState::Storing,
        BundleState::Cancelling => pb::InstanceBundleState::Cancelling,
        BundleState::Complete => pb::InstanceBundleState::Complete,
        BundleState::Failed => pb::InstanceBundleState::Failed,
    };
    let (snapshot_id, volume_id) = match task.origin {
        Origin::Snapshot(id) => (id.to_string(), String::new()),
        Origin::Volume(id) => (String::new(), id.to_string()),
    };
    let percent = storage.instance_bundle_percent(task);
    pb::InstanceBundleTask {
        task_id: task.id.to_string(),
        account_id: task.account.to_string(),
        state: state.into(),
        status_message: task.message.clone(),
        failure_reason: task.reason.clone(),
        progress_percent: i32::try_from(percent).unwrap_or_default(),
        snapshot_id,
        volume_id,
        bucket: task.location.bucket.to_string(),
        prefix: task.location.prefix(),
        manifest_location: task.location.to_string(),
        bundled_bytes: number(task.bundled_bytes),
        parts: i32::try_from(task.parts).unwrap_or_default(),
        create_time: Some(time(task.created_ms)),
        end_time: (task.ended_ms > 0).then(|| time(task.ended_ms)),
        kms_key_id: task.key.to_string(),
    }
}

fn bundle(at: &Location, it: &Manifest) -> pb::InstanceBundle {
    let mapping = |it: &Mapping| pb::InstanceBundleMapping {
        virtual_name: it.virtual_name.clone(),
        device_name: it.device_name.clone(),
    };
    pb::InstanceBundle {
        manifest_location: at.to_string(),
        bundle_id: it.id.clone(),
        account_id: it.account.clone(),
        architecture: it.architecture.clone(),
        platform: it.platform.clone(),
        mappings: it.mappings.iter().map(mapping).collect(),
        product_codes: it.product_codes.clone(),
        encrypted: it.encrypted,
        size_bytes: number(it.size_bytes),
        bundled_bytes: number(it.bundled_bytes()),
        parts: i32::try_from(it.parts.len()).unwrap_or_default(),
        kms_key_id: it.key_id.clone(),
    }
}

#[tonic::async_trait]
impl InstanceBundleService for InstanceBundles {
    async fn create_instance_bundle(
        &self,
        request: Request<pb::CreateInstanceBundleRequest>,
    ) -> Answer<pb::CreateInstanceBundleResponse> {
        let (account, caller) = (of(&request)?, Caller::of_account(&request)?);
        let body = request.get_ref();
        let asked = asked(caller, "CreateInstanceBundle", &body.request_id, body);
        let new = new_bundle(body).map_err(status)?;
        let begun = self.0.start_instance_bundle(account, new, asked).await.map_err(status)?;
        let task = Some(task(&self.0, &begun));
        Ok(Response::new(pb::CreateInstanceBundleResponse { task }))
    }

    async fn get_instance_bundle_task(
        &self,
        request: Request<pb::GetInstanceBundleTaskRequest>,
    ) -> Answer<pb::GetInstanceBundleTaskResponse> {
        let wanted = id("task_id", &request.get_ref().task_id).map_err(status)?;
        let found = self.0.instance_bundle_task(wanted, of(&request)?).map_err(status)?;
        let task = Some(task(&self.0, &found));
        Ok(Response::new(pb::GetInstanceBundleTaskResponse { task }))
    }

    async fn list_instance_bundle_tasks(
        &self,
        request: Request<pb::ListInstanceBundleTasksRequest>,
    ) -> Answer<pb::ListInstanceBundleTasksResponse> {
        let account = of(&request)?;
        let request = request.into_inner();
        let canonical = pb::ListInstanceBundleTasksRequest::default();
        let after = page_start(&request.page_token, &canonical, account).map_err(status)?;
        let size = page_size(request.page_size);
        let page = self.0.list_instance_bundle_tasks(account, after, size).map_err(status)?;
        let last = page.items.last().filter(|_| page.more).map(|found| found.id);
        Ok(Response::new(pb::ListInstanceBundleTasksResponse {
            tasks: page.items.iter().map(|found| task(&self.0, found)).collect(),
            next_page_token: token(last, &canonical, account),
        }))
    }

    type WatchInstanceBundleTaskStream = Watch<pb::WatchInstanceBundleTaskResponse>;

    async fn watch_instance_bundle_task(
        &self,
        request: Request<pb::WatchInstanceBundleTaskRequest>,
    ) -> Answer<Self::WatchInstanceBundleTaskStream> {
        let account = of(&request)?;
        let wanted = id("task_id", &request.get_ref().task_id).map_err(status)?;
        self.0.instance_bundle_task(wanted, account).map_err(status)?;
        Ok(Response::new(follow(self.0.clone(), move |storage| {
            let found = storage.instance_bundle_task(wanted, account)?;
            let task = Some(task(storage, &found));
            Ok((pb::WatchInstanceBundleTaskResponse { task }, found.state.is_over()))
        })))
    }

    async fn cancel_instance_bundle_task(
        &self,
        request: Request<pb::CancelInstanceBundleTaskRequest>,
    ) -> Answer<pb::CancelInstanceBundleTaskResponse> {
        let (account, caller) = (of(&request)?, Caller::of_account(&request)?);
        let body = request.get_ref();
        let asked = asked(caller, "CancelInstanceBundleTask", &body.request_id, body);
        let wanted = id("task_id", &body.task_id).map_err(status)?;
        let now = self.0.cancel_instance_bundle(wanted, account, asked).await.map_err(status)?;
        let task = Some(task(&self.0, &now));
        Ok(Response::new(pb::CancelInstanceBundleTaskResponse { task }))
    }

    async fn describe_instance_bundle(
        &self,
        request: Request<pb::DescribeInstanceBundleRequest>,
    ) -> Answer<pb::DescribeInstanceBundleResponse> {
        let account = of(&request)?;
        let at = location_of("manifest_location", &request.get_ref().manifest_location);
        let at = at.map_err(status)?;
        let found = self.0.whole_instance_bundle(account, &at).await.map_err(status)?;
        let bundle = Some(bundle(&at, &found));
        Ok(Response::new(pb::DescribeInstanceBundleResponse { bundle }))
    }

    type VerifyInstanceBundleStream =
        Pin<Box<dyn Stream<Item = Result<pb::VerifyInstanceBundleResponse, Status>> + Send>>;

    async fn verify_instance_bundle(
        &self,
        request: Request<pb::VerifyInstanceBundleRequest>,
    ) -> Answer<Self::VerifyInstanceBundleStream> {
        let account = of(&request)?;
        let at = location_of("manifest_location", &request.get_ref().manifest_location);
        let at = at.map_err(status)?;
        let begun = self.0.verify_instance_bundle(account, at.clone()).await;
        let (manifest, checked) = begun.map_err(status)?;
        let bundle = bundle(&at, &manifest);
        let checked = ReceiverStream::new(checked).map(move |checked| {
            let checked = checked.map_err(status)?;
            Ok(pb::VerifyInstanceBundleResponse {
                checked_parts: i32::try_from(checked).unwrap_or_default(),
                bundle: Some(bundle.clone()),
            })
        });
        Ok(Response::new(Box::pin(checked)))
    }
}
