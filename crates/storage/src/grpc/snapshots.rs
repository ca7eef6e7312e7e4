//! Snapshots made, copied and labelled.

use tonic::{Request, Response, Status};
use vmint_api::storage::v1 as pb;
use vmint_api::storage::v1::snapshot_service_server::SnapshotService;
use vmint_rpc::{Caller, to_status};

use super::{
    asks,
    convert::{account_of, id, ids, snapshot, wish},
    public::asked,
};
use crate::{Remote, Storage, StorageError, ops::Selection};

/// Serves those who make snapshots.
#[derive(Debug)]
pub struct Snapshots(pub Storage);

type Answer<T> = Result<Response<T>, Status>;

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn status(error: StorageError) -> Status {
    to_status(&error)
}

#[tonic::async_trait]
impl SnapshotService for Snapshots {
    async fn create_snapshot(
        &self,
        request: Request<pb::CreateSnapshotRequest>,
    ) -> Answer<pb::CreateSnapshotResponse> {
        let caller = Caller::of_account(&request)?.clone();
        let account = account_of(&caller).map_err(status)?;
        let body = request.into_inner();
        let asked = asked(&caller, "CreateSnapshot", &body.request_id, &body);
        let volume = id("volume_id", &body.volume_id).map_err(status)?;
        let labels = asks::labels(body.description, body.tags).map_err(status)?;
        let made = self.0.create_snapshot(account, volume, labels, asked).await;
        let made = made.map_err(status)?;
        Ok(Response::new(pb::CreateSnapshotResponse { snapshot: Some(snapshot(&made)) }))
    }

    async fn create_snapshots(
        &self,
        request: Request<pb::CreateSnapshotsRequest>,
    ) -> Answer<pb::CreateSnapshotsResponse> {
        let caller = Caller::of_account(&request)?.clone();
        let account = account_of(&caller).map_err(status)?;
        let body = request.into_inner();
        let asked = asked(&caller, "CreateSnapshots", &body.request_id, &body);
        let selection = Selection {
            instance: id("instance_id", &body.instance_id).map_err(status)?,
            exclude_boot: body.exclude_boot_volume,
            exclude: ids("exclude_data_volume_ids", &body.exclude_data_volume_ids)
                .map_err(status)?,
        };
        let mut labels = asks::labels(body.description, body.tags).map_err(status)?;
        labels.copy_tags = body.copy_tags_from_source;
        let made = self.0.create_snapshots(account, selection, labels, asked).await;
        let snapshots = made.map_err(status)?.iter().map(snapshot).collect();
        Ok(Response::new(pb::CreateSnapshotsResponse { snapshots }))
    }

    async fn copy_snapshot(
        &self,
        request: Request<pb::CopySnapshotRequest>,
    ) -> Answer<pb::CopySnapshotResponse> {
        let caller = Caller::of_account(&request)?.clone();
        let account = account_of(&caller).map_err(status)?;
        let body = request.into_inner();
        let asked = asked(&caller, "CopySnapshot", &body.request_id, &body);
        let source = id("source_snapshot_id", &body.source_snapshot_id).map_err(status)?;
        let wish = wish(body.encrypted, &body.kms_key_id).map_err(status)?;
        let labels = asks::labels(body.description, body.tags).map_err(status)?;
        let made = match body.source_region {
            region if region.is_empty() => {
                self.0.copy_snapshot(account, source, wish, labels, asked).await
            }
            region => {
                let remote = Remote { region, image: None, snapshot: source };
                self.0.copy_from_region(account, remote, wish, labels, asked).await
            }
        };
        let made = made.map_err(status)?;
        Ok(Response::new(pb::CopySnapshotResponse { snapshot: Some(snapshot(&made)) }))
    }

    async fn tag_resources(
        &self,
        request: Request<pb::TagResourcesRequest>,
    ) -> Answer<pb::TagResourcesResponse> {
        let caller = Caller::of_account(&request)?.clone();
        let account = account_of(&caller).map_err(status)?;
        let body = request.into_inner();
        let asked = asked(&caller, "TagResources", &body.request_id, &body);
        let resources = asks::resources(&body.resource_ids).map_err(status)?;
        let change = asks::put_tags(body.tags).map_err(status)?;
        self.0.change_tags(account, resources, change, asked).await.map_err(status)?;
        Ok(Response::new(pb::TagResourcesResponse {}))
    }

    async fn untag_resources(
        &self,
        request: Request<pb::UntagResourcesRequest>,
    ) -> Answer<pb::UntagResourcesResponse> {
        let caller = Caller::of_account(&request)?.clone();
        let account = account_of(&caller).map_err(status)?;
        let body = request.into_inner();
        let asked = asked(&caller, "UntagResources", &body.request_id, &body);
        let resources = asks::resources(&body.resource_ids).map_err(status)?;
        let change = asks::remove_tags(body.tags).map_err(status)?;
        self.0.change_tags(account, resources, change, asked).await.map_err(status)?;
        Ok(Response::new(pb::UntagResourcesResponse {}))
    }
}
