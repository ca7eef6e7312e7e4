//! What is asked of copies between regions.

use std::pin::Pin;

use futures::Stream;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};
use vmint_api::storage::v1 as pb;
use vmint_api::storage::v1::copy_internal_service_server::CopyInternalService;
use vmint_blocks::{Leaf, Names};
use vmint_rpc::to_status;

use super::{
    asks,
    convert::{codes, id, nobody, number, page_start, step, wish},
    public::token,
};
use crate::{
    Result, Storage, StorageError,
    ops::{LEAVES, Pull, PullDisk},
};

/// Serves the gateway, for another region or for a copy from one.
#[derive(Debug)]
pub struct Copies(pub Storage);

type Answer<T> = Result<Response<T>, Status>;

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn status(error: StorageError) -> Status {
    to_status(&error)
}

fn invalid(field: &'static str, rule: &str) -> StorageError {
    let (what, value, rule) = ("value", String::new(), rule.to_owned());
    StorageError::Invalid { field, what, value, rule }
}

fn names(bytes: &[u8]) -> Result<Names> {
    let bytes = bytes.try_into().map_err(|_| invalid("names", "give 64 bytes"))?;
    Ok(Names::from_bytes(bytes))
}

fn leaf(region: u64, leaf: &Leaf, whole: bool) -> pb::SourceLeaf {
    let places = leaf.places.iter().filter(|_| whole).map(|place| pb::SourcePlace {
        start_block: i32::from(place.start),
        blocks: i32::from(place.blocks),
        chunk_id: place.id.to_vec().into(),
    });
    pb::SourceLeaf {
        region: number(region),
        leaf_id: leaf.id.to_vec().into(),
        places: places.collect(),
    }
}

#[tonic::async_trait]
impl CopyInternalService for Copies {
    async fn list_leaves(
        &self,
        request: Request<pb::ListLeavesRequest>,
    ) -> Answer<pb::ListLeavesResponse> {
        let request = request.into_inner();
        let snapshot = id("snapshot_id", &request.snapshot_id).map_err(status)?;
        let wanted = names(&request.names).map_err(status)?;
        let canonical =
            pb::ListLeavesRequest { snapshot_id: request.snapshot_id, ..Default::default() };
        let first: Option<u64> =
            page_start(&request.page_token, &canonical, nobody()).map_err(status)?;
        let size = usize::try_from(request.page_size).ok().filter(|n| (1..LEAVES).contains(n));
        let page =
            self.0.leaves(snapshot, wanted, first.unwrap_or_default(), size.unwrap_or(LEAVES));
        let (named, more) = page.await.map_err(status)?;
        let next = named.last().filter(|_| more).map(|(region, _)| region + 1);
        let boot = if first.is_none() { self.0.boot_numbers(snapshot).await } else { Ok(None) };
        let boot = boot.map_err(status)?.unwrap_or_default();
        Ok(Response::new(pb::ListLeavesResponse {
            leaves: named.iter().map(|(region, found)| leaf(*region, found, false)).collect(),
            next_page_token: token(next, &canonical, nobody()),
            boot_stretches: boot.into_iter().map(number).collect(),
        }))
    }

    async fn batch_get_leaves(
        &self,
        request: Request<pb::BatchGetLeavesRequest>,
    ) -> Answer<pb::BatchGetLeavesResponse> {
        let request = request.into_inner();
        let snapshot = id("snapshot_id", &request.snapshot_id).map_err(status)?;
        let wanted = names(&request.names).map_err(status)?;
        let regions = request.regions.iter().map(|n| u64::try_from(*n).unwrap_or(u64::MAX));
        let found = self.0.whole_leaves(snapshot, wanted, regions.collect()).await;
        let found = found.map_err(status)?;
        Ok(Response::new(pb::BatchGetLeavesResponse {
            leaves: found.iter().map(|(region, found)| leaf(*region, found, true)).collect(),
        }))
    }

    type ReadChunksStream =
        Pin<Box<dyn Stream<Item = Result<pb::ReadChunksResponse, Status>> + Send>>;

    async fn read_chunks(
        &self,
        request: Request<pb::ReadChunksRequest>,
    ) -> Answer<Self::ReadChunksStream> {
        let request = request.into_inner();
        let snapshot = id("snapshot_id", &request.snapshot_id).map_err(status)?;
        let region = u64::try_from(request.region).unwrap_or(u64::MAX);
        let starts = request.start_blocks.iter().map(|n| u16::try_from(*n).unwrap_or(u16::MAX));
        let chunks = self.0.chunks(snapshot, region, starts.collect()).await.map_err(status)?;
        let chunks = ReceiverStream::new(chunks).map(|chunk| {
            let (start, content, zstd) = chunk.map_err(status)?;
            let start_block = i32::from(start);
            let chunk = pb::SourceChunk { start_block, content: content.into(), zstd };
            Ok(pb::ReadChunksResponse { chunk: Some(chunk) })
        });
        Ok(Response::new(Box::pin(chunks)))
    }

    async fn get_remote_image(
        &self,
        request: Request<pb::GetRemoteImageRequest>,
    ) -> Answer<pb::GetRemoteImageResponse> {
        let request = request.into_inner();
        let account = id("account_id", &request.account_id).map_err(status)?;
        let image = id("image_id", &request.image_id).map_err(status)?;
        let found = self.0.remote_image(&request.region, account, image).await;
        let found = found.map_err(status)?;
        Ok(Response::new(pb::GetRemoteImageResponse {
            image: found.image,
            disk_bytes: found.disk_bytes,
            disk_encrypted: found.disk_encrypted,
        }))
    }

    async fn ensure_remote_copy(
        &self,
        request: Request<pb::EnsureRemoteCopyRequest>,
    ) -> Answer<pb::EnsureRemoteCopyResponse> {
        let request = request.into_inner();
        let disks = request.disks.iter().map(|disk| {
            let size = u64::try_from(disk.size_bytes);
            Ok(PullDisk {
                source: id("disks.source_snapshot_id", &disk.source_snapshot_id)?,
                id: id("disks.snapshot_id", &disk.snapshot_id)?,
                size_bytes: size.map_err(|_| invalid("disks.size_bytes", "give the exact size"))?,
                encrypted: disk.encrypted,
            })
        });
        let pull = Pull {
            account: id("account_id", &request.account_id).map_err(status)?,
            source_image: id("source_image_id", &request.source_image_id).map_err(status)?,
            image: id("image_id", &request.image_id).map_err(status)?,
            disks: disks.collect::<Result<_>>().map_err(status)?,
            product_codes: codes(&request.product_codes).map_err(status)?,
            wish: wish(request.encrypted, &request.kms_key_id).map_err(status)?,
            region: request.region,
            description: request.description,
            tags: asks::tags(request.tags).map_err(status)?,
        };
        let far = self.0.ensure_pull(step(request.saga.as_ref()), pull).await.map_err(status)?;
        Ok(Response::new(pb::EnsureRemoteCopyResponse {
            done: far.done,
            progress_percent: i32::try_from(far.percent).unwrap_or_default(),
            seconds_left: number(far.seconds_left),
        }))
    }
}
