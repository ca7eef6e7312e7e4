//! Another region's gateway, as far as a repair asks it: passes on to its
//! storage without asking for rights.
#![allow(unreachable_pub, reason = "a test's own")]

use std::pin::Pin;

use tokio::net::TcpListener;
use tokio_stream::{Stream, StreamExt as _, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, transport::Server};
use vmint_api::{
    gateway::v1 as peer,
    gateway::v1::region_service_server::{RegionService, RegionServiceServer},
    storage::v1 as pb,
    storage::v1::copy_internal_service_server::CopyInternalService as _,
};
use vmint_storage::{Copies, Storage};

struct Far(Copies);

/// Serves a storage as a region; answers where.
pub async fn serve(storage: Storage) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let service = RegionServiceServer::new(Far(Copies(storage)));
    let server = Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

#[tonic::async_trait]
impl RegionService for Far {
    async fn get_source_image(
        &self,
        _: Request<peer::GetSourceImageRequest>,
    ) -> Result<Response<peer::GetSourceImageResponse>, Status> {
        Err(Status::unimplemented("a repair does not ask"))
    }

    async fn get_source_snapshot(
        &self,
        _: Request<peer::GetSourceSnapshotRequest>,
    ) -> Result<Response<peer::GetSourceSnapshotResponse>, Status> {
        Err(Status::unimplemented("a repair does not ask"))
    }

    async fn list_source_leaves(
        &self,
        _: Request<peer::ListSourceLeavesRequest>,
    ) -> Result<Response<peer::ListSourceLeavesResponse>, Status> {
        Err(Status::unimplemented("a repair does not ask"))
    }

    async fn batch_get_source_leaves(
        &self,
        request: Request<peer::BatchGetSourceLeavesRequest>,
    ) -> Result<Response<peer::BatchGetSourceLeavesResponse>, Status> {
        let request = request.into_inner();
        let disk = request.disk.unwrap();
        let onward = pb::BatchGetLeavesRequest {
            snapshot_id: disk.snapshot_id,
            names: disk.names,
            regions: request.regions,
        };
        let leaves = self.0.batch_get_leaves(Request::new(onward)).await?.into_inner().leaves;
        Ok(Response::new(peer::BatchGetSourceLeavesResponse { leaves }))
    }

    type ReadSourceChunksStream =
        Pin<Box<dyn Stream<Item = Result<peer::ReadSourceChunksResponse, Status>> + Send>>;

    async fn read_source_chunks(
        &self,
        request: Request<peer::ReadSourceChunksRequest>,
    ) -> Result<Response<Self::ReadSourceChunksStream>, Status> {
        let request = request.into_inner();
        let onward = pb::ReadChunksRequest {
            snapshot_id: request.disk.unwrap().snapshot_id,
            region: request.region,
            start_blocks: request.start_blocks,
        };
        let chunks = self.0.read_chunks(Request::new(onward)).await?.into_inner();
        let chunks = chunks.map(|chunk| {
            let chunk = chunk?.chunk;
            Ok(peer::ReadSourceChunksResponse { chunk })
        });
        Ok(Response::new(Box::pin(chunks)))
    }
}
