//! What another region asks, over gRPC.

use tonic::{Request, Response, Status};
use vmint_api::gateway::v1 as pb;
use vmint_api::gateway::v1::region_service_server::RegionService;

use super::Grpc;
use crate::ops::Chunks;

#[tonic::async_trait]
impl RegionService for Grpc {
    async fn get_source_image(
        &self,
        request: Request<pb::GetSourceImageRequest>,
    ) -> Result<Response<pb::GetSourceImageResponse>, Status> {
        Ok(Response::new(self.gateway.source_image(request.into_inner()).await?))
    }

    async fn get_source_snapshot(
        &self,
        request: Request<pb::GetSourceSnapshotRequest>,
    ) -> Result<Response<pb::GetSourceSnapshotResponse>, Status> {
        Ok(Response::new(self.gateway.source_snapshot(request.into_inner()).await?))
    }

    async fn list_source_leaves(
        &self,
        request: Request<pb::ListSourceLeavesRequest>,
    ) -> Result<Response<pb::ListSourceLeavesResponse>, Status> {
        Ok(Response::new(self.gateway.source_leaves(request.into_inner()).await?))
    }

    async fn batch_get_source_leaves(
        &self,
        request: Request<pb::BatchGetSourceLeavesRequest>,
    ) -> Result<Response<pb::BatchGetSourceLeavesResponse>, Status> {
        Ok(Response::new(self.gateway.whole_source_leaves(request.into_inner()).await?))
    }

    type ReadSourceChunksStream = Chunks;

    async fn read_source_chunks(
        &self,
        request: Request<pb::ReadSourceChunksRequest>,
    ) -> Result<Response<Chunks>, Status> {
        Ok(Response::new(self.gateway.source_chunks(request.into_inner()).await?))
    }
}
