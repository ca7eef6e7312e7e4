//! What sagas ask.

use tonic::{Request, Response, Status};
use vmint_api::storage::v1 as pb;
use vmint_api::storage::v1::storage_internal_service_server::StorageInternalService;
use vmint_ids::AccountId;
use vmint_rpc::to_status;

use super::{
    asks,
    convert::{
        codes, few, id, ids, new_volume, number, page_size, page_start, snapshot, step, volume,
        wish,
    },
};
use crate::{Storage, StorageError, ops::Shape};

/// Serves sagas and joins.
#[derive(Debug)]
pub struct Internal(pub Storage);

type Answer<T> = Result<Response<T>, Status>;

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn status(error: StorageError) -> Status {
    to_status(&error)
}

#[tonic::async_trait]
impl StorageInternalService for Internal {
    async fn ensure_snapshot_use(
        &self,
        request: Request<pb::EnsureSnapshotUseRequest>,
    ) -> Answer<pb::EnsureSnapshotUseResponse> {
        let request = request.into_inner();
        let used = self.0.ensure_use(
            step(request.saga.as_ref()),
            id("image_id", &request.image_id).map_err(status)?,
            ids("snapshot_ids", &request.snapshot_ids).map_err(status)?,
            id("account_id", &request.account_id).map_err(status)?,
        );
        let snapshots = used.await.map_err(status)?.iter().map(snapshot).collect();
        Ok(Response::new(pb::EnsureSnapshotUseResponse { snapshots }))
    }

    async fn release_snapshot_use(
        &self,
        request: Request<pb::ReleaseSnapshotUseRequest>,
    ) -> Answer<pb::ReleaseSnapshotUseResponse> {
        let request = request.into_inner();
        let image = id("image_id", &request.image_id).map_err(status)?;
        let delete = request.delete_snapshots;
        let (deleted, freed) = if request.dry_run {
            self.0.preview_release(image, delete).await.map_err(status)?
        } else {
            let step = step(request.saga.as_ref());
            (self.0.release_use(step, image, delete).await.map_err(status)?, 0)
        };
        Ok(Response::new(pb::ReleaseSnapshotUseResponse {
            deleted_snapshot_ids: deleted.iter().map(ToString::to_string).collect(),
            freed_bytes: number(freed),
        }))
    }

    async fn ensure_snapshot_copy(
        &self,
        request: Request<pb::EnsureSnapshotCopyRequest>,
    ) -> Answer<pb::EnsureSnapshotCopyResponse> {
        let request = request.into_inner();
        few("copies", &request.copies).map_err(status)?;
        let pairs = request.copies.iter().map(|copy| {
            Ok((
                id("copies.source_snapshot_id", &copy.source_snapshot_id)?,
                id("copies.snapshot_id", &copy.snapshot_id)?,
            ))
        });
        let copies = self.0.ensure_copies(
            step(request.saga.as_ref()),
            id("account_id", &request.account_id).map_err(status)?,
            id("image_id", &request.image_id).map_err(status)?,
            pairs.collect::<Result<_, StorageError>>().map_err(status)?,
            (request.description, asks::tags(request.tags).map_err(status)?),
            wish(request.encrypted, &request.kms_key_id).map_err(status)?,
        );
        let snapshots = copies.await.map_err(status)?.iter().map(snapshot).collect();
        Ok(Response::new(pb::EnsureSnapshotCopyResponse { snapshots }))
    }

    async fn ensure_volume_snapshots(
        &self,
        request: Request<pb::EnsureVolumeSnapshotsRequest>,
    ) -> Answer<pb::EnsureVolumeSnapshotsResponse> {
        let request = request.into_inner();
        few("snapshots", &request.snapshots).map_err(status)?;
        let pairs = request.snapshots.iter().map(|wanted| {
            Ok((
                id("snapshots.volume_id", &wanted.volume_id)?,
                id("snapshots.snapshot_id", &wanted.snapshot_id)?,
            ))
        });
        let made = self.0.ensure_volume_snapshots(
            step(request.saga.as_ref()),
            id("account_id", &request.account_id).map_err(status)?,
            id("image_id", &request.image_id).map_err(status)?,
            pairs.collect::<Result<_, StorageError>>().map_err(status)?,
            Shape {
                description: request.description,
                tags: asks::tags(request.tags).map_err(status)?,
                machine_off: request.machine_off,
            },
        );
        let snapshots = made.await.map_err(status)?.iter().map(snapshot).collect();
        Ok(Response::new(pb::EnsureVolumeSnapshotsResponse { snapshots }))
    }

    async fn release_snapshots(
        &self,
        request: Request<pb::ReleaseSnapshotsRequest>,
    ) -> Answer<pb::ReleaseSnapshotsResponse> {
        let request = request.into_inner();
        let wanted = ids("snapshot_ids", &request.snapshot_ids).map_err(status)?;
        let step = step(request.saga.as_ref());
        self.0.release_snapshots(step, wanted).await.map_err(status)?;
        Ok(Response::new(pb::ReleaseSnapshotsResponse {}))
    }

    async fn ensure_snapshot_product_codes(
        &self,
        request: Request<pb::EnsureSnapshotProductCodesRequest>,
    ) -> Answer<pb::EnsureSnapshotProductCodesResponse> {
        let request = request.into_inner();
        let wanted = ids("snapshot_ids", &request.snapshot_ids).map_err(status)?;
        let codes = codes(&request.product_codes).map_err(status)?;
        let step = step(request.saga.as_ref());
        self.0.ensure_product_codes(step, wanted, codes).await.map_err(status)?;
        Ok(Response::new(pb::EnsureSnapshotProductCodesResponse {}))
    }

    async fn ensure_volumes(
        &self,
        request: Request<pb::EnsureVolumesRequest>,
    ) -> Answer<pb::EnsureVolumesResponse> {
        let request = request.into_inner();
        few("volumes", &request.volumes).map_err(status)?;
        let account: AccountId = id("account_id", &request.account_id).map_err(status)?;
        let wanted = request.volumes.iter().map(new_volume).collect::<Result<_, _>>();
        let step = step(request.saga.as_ref());
        let made = self.0.ensure_volumes(step, account, wanted.map_err(status)?);
        let volumes =
            made.await.map_err(status)?.into_iter().map(|(found, path)| pb::ExportedVolume {
                volume: Some(volume(&found, self.0.written_bytes(&found))),
                export_path: path.to_string_lossy().into_owned(),
            });
        Ok(Response::new(pb::EnsureVolumesResponse { volumes: volumes.collect() }))
    }

    async fn release_volumes(
        &self,
        request: Request<pb::ReleaseVolumesRequest>,
    ) -> Answer<pb::ReleaseVolumesResponse> {
        let request = request.into_inner();
        let instances = ids("instance_ids", &request.instance_ids).map_err(status)?;
        let step = step(request.saga.as_ref());
        let deleted = self.0.release_volumes(step, instances, request.undo);
        let deleted = deleted.await.map_err(status)?;
        Ok(Response::new(pb::ReleaseVolumesResponse {
            deleted_volume_ids: deleted.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn batch_get_snapshots(
        &self,
        request: Request<pb::BatchGetSnapshotsRequest>,
    ) -> Answer<pb::BatchGetSnapshotsResponse> {
        let wanted = ids("snapshot_ids", &request.get_ref().snapshot_ids).map_err(status)?;
        let found = self.0.snapshots_by_id(&wanted).map_err(status)?;
        let snapshots = found.iter().map(snapshot).collect();
        Ok(Response::new(pb::BatchGetSnapshotsResponse { snapshots }))
    }

    async fn list_attached_volumes(
        &self,
        request: Request<pb::ListAttachedVolumesRequest>,
    ) -> Answer<pb::ListAttachedVolumesResponse> {
        let request = request.into_inner();
        let canonical = pb::ListAttachedVolumesRequest::default();
        let nobody = super::convert::nobody();
        let after = page_start(&request.page_token, &canonical, nobody).map_err(status)?;
        let (page, last) =
            self.0.list_attached(after, page_size(request.page_size)).map_err(status)?;
        let next = last.filter(|_| page.more);
        Ok(Response::new(pb::ListAttachedVolumesResponse {
            volumes: page.items.iter().map(|v| volume(v, 0)).collect(),
            next_page_token: super::public::token(next, &canonical, nobody),
        }))
    }
}
