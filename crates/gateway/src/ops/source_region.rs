//! What another region may read of an image or a snapshot: looked at anew with
//! each call.

use futures::StreamExt as _;
use futures::stream::BoxStream;
use tonic::Status;
use vmint_api::{
    catalog::v1::{Image, ImageState},
    gateway::v1 as pb,
    storage::v1 as storage,
};
use vmint_rpc::Caller;

use super::{Gateway, find_image::state_name, register_image::snapshot_ids};
use crate::{DiskError, GatewayError};

/// What is sent of chunks.
pub(crate) type Chunks = BoxStream<'static, Result<pb::ReadSourceChunksResponse, Status>>;

impl Gateway {
    /// An image that `account` may copy, and the sizes of its disks.
    pub(crate) async fn source_image(
        &self,
        request: pb::GetSourceImageRequest,
    ) -> Result<pb::GetSourceImageResponse, Status> {
        let image = self.copyable(&request.account_id, &request.image_id).await?;
        let snapshot_ids: Vec<_> = disks(&image).collect();
        let asked = storage::BatchGetSnapshotsRequest { snapshot_ids };
        let found = self.peers.storage(&gateway()).batch_get_snapshots(asked).await?.into_inner();
        let (mut disk_bytes, mut disk_encrypted) = (Vec::new(), Vec::new());
        for id in disks(&image) {
            let disk = found.snapshots.iter().find(|found| found.snapshot_id == id);
            disk_bytes.push(disk.map_or(0, |disk| disk.size_bytes));
            disk_encrypted.push(disk.is_some_and(|disk| disk.encrypted));
        }
        Ok(pb::GetSourceImageResponse { image: Some(image), disk_bytes, disk_encrypted })
    }

    /// A snapshot that `account` may copy.
    pub(crate) async fn source_snapshot(
        &self,
        request: pb::GetSourceSnapshotRequest,
    ) -> Result<pb::GetSourceSnapshotResponse, Status> {
        let snapshot = self.copyable_snapshot(&request.account_id, request.snapshot_id).await?;
        Ok(pb::GetSourceSnapshotResponse { snapshot: Some(snapshot) })
    }

    pub(crate) async fn source_leaves(
        &self,
        request: pb::ListSourceLeavesRequest,
    ) -> Result<pb::ListSourceLeavesResponse, Status> {
        let disk = self.readable(request.disk).await?;
        let asked = storage::ListLeavesRequest {
            snapshot_id: disk.snapshot_id,
            names: disk.names,
            page_size: request.page_size,
            page_token: request.page_token,
        };
        let page = self.peers.copies(&gateway()).list_leaves(asked).await?.into_inner();
        Ok(pb::ListSourceLeavesResponse {
            leaves: page.leaves,
            next_page_token: page.next_page_token,
            boot_stretches: page.boot_stretches,
        })
    }

    pub(crate) async fn whole_source_leaves(
        &self,
        request: pb::BatchGetSourceLeavesRequest,
    ) -> Result<pb::BatchGetSourceLeavesResponse, Status> {
        let disk = self.readable(request.disk).await?;
        let asked = storage::BatchGetLeavesRequest {
            snapshot_id: disk.snapshot_id,
            names: disk.names,
            regions: request.regions,
        };
        let found = self.peers.copies(&gateway()).batch_get_leaves(asked).await?.into_inner();
        Ok(pb::BatchGetSourceLeavesResponse { leaves: found.leaves })
    }

    pub(crate) async fn source_chunks(
        &self,
        request: pb::ReadSourceChunksRequest,
    ) -> Result<Chunks, Status> {
        let disk = self.readable(request.disk).await?;
        let asked = storage::ReadChunksRequest {
            snapshot_id: disk.snapshot_id,
            region: request.region,
            start_blocks: request.start_blocks,
        };
        let chunks = self.peers.copies(&gateway()).read_chunks(asked).await?.into_inner();
        let pass = |answer: Result<storage::ReadChunksResponse, Status>| {
            answer.map(|answer| pb::ReadSourceChunksResponse { chunk: answer.chunk })
        };
        Ok(chunks.map(pass).boxed())
    }

    /// The disk, if its account may copy it now.
    async fn readable(&self, disk: Option<pb::SourceDisk>) -> Result<pb::SourceDisk, Status> {
        let disk = disk.ok_or_else(|| GatewayError::invalid("disk", "must be set"))?;
        if disk.image_id.is_empty() {
            let id = disk.snapshot_id.clone();
            self.copyable_snapshot(&disk.account_id, id).await?;
            return Ok(disk);
        }
        let image = self.copyable(&disk.account_id, &disk.image_id).await?;
        if snapshot_ids(&image).contains(&disk.snapshot_id) {
            return Ok(disk);
        }
        let why = format!("image {} has no such disk", image.image_id);
        Err(GatewayError::invalid("disk.snapshot_id", why).into())
    }

    /// The snapshot, if `account` may read it and it is complete.
    async fn copyable_snapshot(
        &self,
        account: &str,
        id: String,
    ) -> Result<storage::Snapshot, Status> {
        let caller = Caller::account(account, "another region");
        let asked = storage::GetSnapshotRequest { snapshot_id: id.clone() };
        let found = self.peers.disks(&caller).get_snapshot(asked).await?.into_inner().snapshot;
        let found = found.unwrap_or_default();
        if found.state() == storage::SnapshotState::Completed {
            return Ok(found);
        }
        Err(DiskError::SnapshotNotCompleted { id }.into())
    }

    /// The image, if `account` may copy it and it is there.
    async fn copyable(&self, account: &str, image: &str) -> Result<Image, Status> {
        let image = self.copyable_image(&Caller::account(account, "another region"), image).await?;
        if image.state() == ImageState::Available {
            return Ok(image);
        }
        let (state, id) = (state_name(image.state()), image.image_id);
        Err(GatewayError::NotAvailable { id, state }.into())
    }
}

fn gateway() -> Caller {
    Caller::service(vmint_rpc::GATEWAY)
}

/// The snapshots of an image's disks, in their order.
fn disks(image: &Image) -> impl Iterator<Item = String> + '_ {
    let ebs = image.block_device_mappings.iter().filter_map(|disk| disk.ebs.as_ref());
    ebs.map(|ebs| ebs.snapshot_id.clone()).filter(|id| !id.is_empty())
}
