use tonic::{Request, Response, Status};
use vmint_api::storage::v1::{self as storage, copy_internal_service_server::CopyInternalService};

use super::{Fake, fake, no_such_call, once};
use crate::testing::world::IMAGE;

fake! {
    CopyInternalService, storage, "storage", "storage-internal";
    get_remote_image("GetRemoteImage" GetRemoteImageRequest) -> GetRemoteImageResponse
    |world, caller, request| {
        assert_eq!((request.region.as_str(), request.image_id.as_str()), ("far", IMAGE));
        let mut image = world.images[IMAGE].clone();
        image.name = "elsewhere".to_owned();
        image.owner_id = request.account_id;
        Ok(storage::GetRemoteImageResponse {
            image: Some(image),
            disk_bytes: vec![2 << 30],
            disk_encrypted: vec![false],
        })
    }
    ensure_remote_copy("EnsureRemoteCopy" EnsureRemoteCopyRequest) -> EnsureRemoteCopyResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        for disk in request.disks {
            assert_eq!(disk.size_bytes, 2 << 30);
            world.add_snapshot(&disk.snapshot_id, &request.account_id);
            let made = world.snapshots.get_mut(&disk.snapshot_id).unwrap();
            made.image_ids.push(request.image_id.clone());
        }
        let (progress_percent, seconds_left) = (100, 0);
        Ok(storage::EnsureRemoteCopyResponse { done: true, progress_percent, seconds_left })
    }
    ;
    async fn list_leaves(
        &self,
        _: Request<storage::ListLeavesRequest>,
    ) -> Result<Response<storage::ListLeavesResponse>, Status> {
        no_such_call()
    }

    async fn batch_get_leaves(
        &self,
        _: Request<storage::BatchGetLeavesRequest>,
    ) -> Result<Response<storage::BatchGetLeavesResponse>, Status> {
        no_such_call()
    }

    type ReadChunksStream = tokio_stream::Empty<Result<storage::ReadChunksResponse, Status>>;

    async fn read_chunks(
        &self,
        _: Request<storage::ReadChunksRequest>,
    ) -> Result<Response<Self::ReadChunksStream>, Status> {
        no_such_call()
    }
}
