//! What sagas ask about single volumes and snapshots.

use tonic::{Request, Response, Status};
use vmint_api::storage::v1 as pb;
use vmint_api::storage::v1::volume_internal_service_server::VolumeInternalService;
use vmint_api::types::v1::SagaStep;
use vmint_rpc::to_status;

use super::convert::{id, ids, step, volume};
use crate::{Sharing, Storage, StorageError, ops::Place, volume::Plug};

/// Serves sagas about single volumes.
#[derive(Debug)]
pub struct VolumesInternal(pub Storage);

type Answer<T> = Result<Response<T>, Status>;

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn status(error: StorageError) -> Status {
    to_status(&error)
}

#[tonic::async_trait]
impl VolumeInternalService for VolumesInternal {
    async fn batch_get_volumes(
        &self,
        request: Request<pb::BatchGetVolumesRequest>,
    ) -> Answer<pb::BatchGetVolumesResponse> {
        let wanted = ids("volume_ids", &request.get_ref().volume_ids).map_err(status)?;
        let found = self.0.volumes_by_id(&wanted).map_err(status)?;
        let show = |found| volume(found, self.0.written_bytes(found));
        let volumes = found.iter().map(show).collect();
        Ok(Response::new(pb::BatchGetVolumesResponse { volumes }))
    }

    async fn ensure_volume_attached(
        &self,
        request: Request<pb::EnsureVolumeAttachedRequest>,
    ) -> Answer<pb::EnsureVolumeAttachedResponse> {
        let request = request.into_inner();
        let account = id("account_id", &request.account_id).map_err(status)?;
        let step = step(request.saga.as_ref());
        let place = place(&request).map_err(status)?;
        let (found, path) = self.0.ensure_attached(step, account, place).await.map_err(status)?;
        Ok(Response::new(pb::EnsureVolumeAttachedResponse {
            volume: Some(volume(&found, self.0.written_bytes(&found))),
            export_path: path.to_string_lossy().into_owned(),
        }))
    }

    async fn release_volume_attachment(
        &self,
        request: Request<pb::ReleaseVolumeAttachmentRequest>,
    ) -> Answer<pb::ReleaseVolumeAttachmentResponse> {
        let request = request.into_inner();
        let wanted = id("volume_id", &request.volume_id).map_err(status)?;
        let instance = id("instance_id", &request.instance_id).map_err(status)?;
        let step = step(request.saga.as_ref());
        let only_of = request.undo.then(|| saga_id(request.saga.as_ref()));
        let released = self.0.release_attachment(step, wanted, instance, only_of).await;
        let released = released.map_err(status)?;
        let volume = released.map(|found| volume(&found, 0));
        Ok(Response::new(pb::ReleaseVolumeAttachmentResponse { volume }))
    }

    async fn ensure_snapshot_sharing(
        &self,
        request: Request<pb::EnsureSnapshotSharingRequest>,
    ) -> Answer<pb::EnsureSnapshotSharingResponse> {
        let request = request.into_inner();
        let wanted = id("snapshot_id", &request.snapshot_id).map_err(status)?;
        let accounts = ids("account_ids", &request.account_ids).map_err(status)?;
        let sharing = Sharing {
            public: request.public,
            accounts: accounts.into_iter().collect(),
            revision: request.revision,
        };
        let step = step(request.saga.as_ref());
        self.0.ensure_sharing(step, wanted, sharing).await.map_err(status)?;
        Ok(Response::new(pb::EnsureSnapshotSharingResponse {}))
    }
}

fn saga_id(saga: Option<&SagaStep>) -> String {
    saga.map(|saga| saga.saga_id.clone()).unwrap_or_default()
}

fn place(request: &pb::EnsureVolumeAttachedRequest) -> Result<Place, StorageError> {
    Ok(Place {
        volume: id("volume_id", &request.volume_id)?,
        instance: id("instance_id", &request.instance_id)?,
        device: request.device_name.clone(),
        delete_on_termination: request.delete_on_termination,
        plug: match request.state() {
            pb::AttachmentState::Attaching => Plug::Attaching,
            pb::AttachmentState::Unspecified | pb::AttachmentState::Attached => Plug::Attached,
            pb::AttachmentState::Detaching => Plug::Detaching,
        },
        saga: saga_id(request.saga.as_ref()),
    })
}
