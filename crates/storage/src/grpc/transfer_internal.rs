//! What sagas ask of imports.

use tonic::{Request, Response, Status};
use vmint_api::storage::v1 as pb;
use vmint_api::storage::v1::transfer_internal_service_server::TransferInternalService;
use vmint_rpc::to_status;

use super::{
    asks,
    convert::{id, step, wish},
    transfer_convert::{description, new_disk, task},
};
use crate::{
    Storage, StorageError,
    ops::{NewDisk, NewImage},
};

/// Serves sagas that bring disks in.
#[derive(Debug)]
pub struct TransferInternal(pub Storage);

type Answer<T> = Result<Response<T>, Status>;

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn status(error: StorageError) -> Status {
    to_status(&error)
}

fn disk(new: &pb::NewImportDisk) -> Result<NewDisk, StorageError> {
    Ok(NewDisk {
        device: new.device_name.clone(),
        snapshot: Some(id("disks.snapshot_id", &new.snapshot_id)?),
        ..new_disk(new.source.as_ref())?
    })
}

#[tonic::async_trait]
impl TransferInternalService for TransferInternal {
    async fn ensure_import(
        &self,
        request: Request<pb::EnsureImportRequest>,
    ) -> Answer<pb::EnsureImportResponse> {
        let request = request.into_inner();
        let disks = request.disks.iter().map(disk).collect::<Result<_, _>>();
        let new = NewImage {
            image: id("image_id", &request.image_id).map_err(status)?,
            description: description(request.description).map_err(status)?,
            disks: disks.map_err(status)?,
            wish: wish(request.encrypted, &request.kms_key_id).map_err(status)?,
            tags: asks::tags(request.tags).map_err(status)?,
            snapshot_tags: asks::tags(request.snapshot_tags).map_err(status)?,
        };
        let ensured = self.0.ensure_import(
            step(request.saga.as_ref()),
            id("task_id", &request.task_id).map_err(status)?,
            id("account_id", &request.account_id).map_err(status)?,
            new,
        );
        let found = ensured.await.map_err(status)?;
        Ok(Response::new(pb::EnsureImportResponse {
            task: Some(task(&self.0, &found)),
            converted: found.is_converted(),
        }))
    }

    async fn count_disks(
        &self,
        request: Request<pb::CountDisksRequest>,
    ) -> Answer<pb::CountDisksResponse> {
        let request = request.into_inner();
        let account = id("account_id", &request.account_id).map_err(status)?;
        let source = new_disk(request.source.as_ref()).map_err(status)?.source;
        let disks = self.0.count_disks(account, &source).await.map_err(status)?;
        Ok(Response::new(pb::CountDisksResponse { disks: disks.try_into().unwrap_or(i32::MAX) }))
    }

    async fn ensure_import_ended(
        &self,
        request: Request<pb::EnsureImportEndedRequest>,
    ) -> Answer<pb::EnsureImportEndedResponse> {
        let request = request.into_inner();
        let wanted = id("task_id", &request.task_id).map_err(status)?;
        let step = step(request.saga.as_ref());
        self.0.ensure_import_ended(step, wanted).await.map_err(status)?;
        Ok(Response::new(pb::EnsureImportEndedResponse {}))
    }

    async fn release_import(
        &self,
        request: Request<pb::ReleaseImportRequest>,
    ) -> Answer<pb::ReleaseImportResponse> {
        let request = request.into_inner();
        let wanted = id("task_id", &request.task_id).map_err(status)?;
        let step = step(request.saga.as_ref());
        let why = request.reason.chars().take(255).collect();
        self.0.release_import(step, wanted, why).await.map_err(status)?;
        Ok(Response::new(pb::ReleaseImportResponse {}))
    }
}
