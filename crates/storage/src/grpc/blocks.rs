//! Snapshots written and read block by block.

use prost::Message;
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};
use vmint_api::storage::v1 as pb;
use vmint_api::storage::v1::block_service_server::BlockService;
use vmint_ids::AccountId;
use vmint_rpc::{Caller, PageToken, to_status};

use super::{
    asks,
    convert::{account_of, id, optional_id, snapshot, time, wish},
    public::asked,
};
use crate::{
    BlockError, Result as Done, Storage, StorageError,
    ops::{BlockPage, MOST_BLOCKS, NewBlock, Sink, Start},
    sent::BLOCK,
    snapshot::gib,
};

/// Blocks of a stream that are put on disk together.
const BATCH: usize = 16;

/// Serves those who read and write blocks.
#[derive(Debug)]
pub struct Blocks(pub Storage);

type Answer<T> = Result<Response<T>, Status>;

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn status(error: StorageError) -> Status {
    to_status(&error)
}

fn block_size() -> i32 {
    i32::try_from(BLOCK).unwrap_or_default()
}

fn new_block(block: Option<pb::SnapshotBlock>) -> Done<NewBlock> {
    let block = block.unwrap_or_default();
    if block.content.is_empty() {
        return Err(BlockError::Length { bytes: 0 }.into());
    }
    let (index, content, checksum) = (block.block_index, block.content, block.checksum);
    Ok(NewBlock { index, content, checksum })
}

/// Where a page begins and how much it holds.
fn span(
    start: i32,
    size: i32,
    page_token: &str,
    canonical: &impl Message,
    account: AccountId,
) -> Done<(u32, usize)> {
    let after = PageToken::read(page_token, canonical, &account.to_string())?;
    let from = match after {
        Some(key) => u32::from_be_bytes(key.try_into().map_err(|_| StorageError::Damaged)?),
        None => u32::try_from(start).map_err(|_| StorageError::Invalid {
            field: "starting_block_index",
            what: "index",
            value: start.to_string(),
            rule: "count from 0".to_owned(),
        })?,
    };
    let most = match usize::try_from(size) {
        Ok(0) | Err(_) => MOST_BLOCKS,
        Ok(size) => size.min(MOST_BLOCKS),
    };
    Ok((from, most))
}

fn next(page: &BlockPage, canonical: &impl Message, account: AccountId) -> String {
    let token = |at: u32| PageToken::new(&at.to_be_bytes(), canonical, &account.to_string());
    page.next.map(|at| token(at).to_text()).unwrap_or_default()
}

impl Blocks {
    /// Takes a stream of blocks in, some at a time.
    async fn take(
        &self,
        account: AccountId,
        mut blocks: Streaming<pb::PutSnapshotBlocksRequest>,
    ) -> Result<i32, Status> {
        let mut sink: Option<(String, Sink)> = None;
        let (mut batch, mut taken) = (Vec::with_capacity(BATCH), 0);
        loop {
            let message = blocks.next().await.transpose()?;
            let ended = message.is_none();
            if let Some(message) = message {
                let named = message.snapshot_id;
                if sink.is_none() {
                    let wanted = id("snapshot_id", &named).map_err(status)?;
                    let opened = self.0.sink(wanted, account).map_err(status)?;
                    sink = Some((named, opened));
                } else if sink.as_ref().is_some_and(|(one, _)| !named.is_empty() && *one != named) {
                    return Err(status(StorageError::Sequence("a stream has one snapshot")));
                }
                batch.push(new_block(message.block).map_err(status)?);
            }
            if (ended || batch.len() == BATCH)
                && let Some((_, sink)) = &sink
            {
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                let put = self.0.put_blocks(sink.clone(), account, full).await;
                taken += i32::try_from(put.map_err(status)?.len()).unwrap_or_default();
            }
            if ended {
                return Ok(taken);
            }
        }
    }
}

#[tonic::async_trait]
impl BlockService for Blocks {
    async fn start_snapshot(
        &self,
        request: Request<pb::StartSnapshotRequest>,
    ) -> Answer<pb::StartSnapshotResponse> {
        let caller = Caller::of_account(&request)?.clone();
        let account = account_of(&caller).map_err(status)?;
        let body = request.into_inner();
        let asked = asked(&caller, "StartSnapshot", &body.request_id, &body);
        let start = Start {
            size_gib: body.volume_size_gib,
            parent: optional_id("parent_snapshot_id", &body.parent_snapshot_id).map_err(status)?,
            labels: asks::labels(body.description, body.tags).map_err(status)?,
            timeout_minutes: body.timeout_minutes,
            wish: wish(body.encrypted, &body.kms_key_id).map_err(status)?,
        };
        let made = self.0.start_snapshot(account, start, asked).await.map_err(status)?;
        Ok(Response::new(pb::StartSnapshotResponse {
            snapshot: Some(snapshot(&made)),
            block_size_bytes: block_size(),
            parent_snapshot_id: body.parent_snapshot_id,
        }))
    }

    async fn put_snapshot_block(
        &self,
        request: Request<pb::PutSnapshotBlockRequest>,
    ) -> Answer<pb::PutSnapshotBlockResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let body = request.into_inner();
        let wanted = id("snapshot_id", &body.snapshot_id).map_err(status)?;
        let block = new_block(body.block).map_err(status)?;
        let put = self.0.put_block(wanted, account, block, body.progress_percent).await;
        let checksum = put.map_err(status)?.to_vec().into();
        Ok(Response::new(pb::PutSnapshotBlockResponse { checksum }))
    }

    async fn put_snapshot_blocks(
        &self,
        request: Request<Streaming<pb::PutSnapshotBlocksRequest>>,
    ) -> Answer<pb::PutSnapshotBlocksResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let blocks = self.take(account, request.into_inner()).await?;
        Ok(Response::new(pb::PutSnapshotBlocksResponse { blocks }))
    }

    async fn complete_snapshot(
        &self,
        request: Request<pb::CompleteSnapshotRequest>,
    ) -> Answer<pb::CompleteSnapshotResponse> {
        let caller = Caller::of_account(&request)?.clone();
        let account = account_of(&caller).map_err(status)?;
        let body = request.into_inner();
        let asked = asked(&caller, "CompleteSnapshot", &body.request_id, &body);
        let wanted = id("snapshot_id", &body.snapshot_id).map_err(status)?;
        let (count, checksum) = (body.changed_blocks_count, body.checksum);
        let made = self.0.complete_snapshot(wanted, account, count, checksum, asked).await;
        let made = made.map_err(status)?;
        Ok(Response::new(pb::CompleteSnapshotResponse { snapshot: Some(snapshot(&made)) }))
    }

    async fn list_snapshot_blocks(
        &self,
        request: Request<pb::ListSnapshotBlocksRequest>,
    ) -> Answer<pb::ListSnapshotBlocksResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let request = request.into_inner();
        let wanted = id("snapshot_id", &request.snapshot_id).map_err(status)?;
        let (start, size) = (request.starting_block_index, request.page_size);
        let page_token = String::new();
        let canonical =
            pb::ListSnapshotBlocksRequest { page_size: 0, page_token, ..request.clone() };
        let (from, most) =
            span(start, size, &request.page_token, &canonical, account).map_err(status)?;
        let page = self.0.list_blocks(wanted, account, from, most).await.map_err(status)?;
        let block = |index: &u32| pb::Block {
            block_index: i32::try_from(*index).unwrap_or(i32::MAX),
            block_token: self.0.token(account, wanted, *index, page.until_ms),
        };
        Ok(Response::new(pb::ListSnapshotBlocksResponse {
            blocks: page.indexes.iter().map(block).collect(),
            next_page_token: next(&page, &canonical, account),
            expire_time: Some(time(page.until_ms)),
            volume_size_gib: gib(page.size_bytes),
            block_size_bytes: block_size(),
        }))
    }

    async fn get_snapshot_block(
        &self,
        request: Request<pb::GetSnapshotBlockRequest>,
    ) -> Answer<pb::GetSnapshotBlockResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let body = request.into_inner();
        let wanted = id("snapshot_id", &body.snapshot_id).map_err(status)?;
        let read = self.0.get_block(wanted, account, body.block_index, &body.block_token).await;
        let (content, checksum) = read.map_err(status)?;
        let checksum = checksum.to_vec().into();
        Ok(Response::new(pb::GetSnapshotBlockResponse { content, checksum }))
    }

    async fn list_changed_blocks(
        &self,
        request: Request<pb::ListChangedBlocksRequest>,
    ) -> Answer<pb::ListChangedBlocksResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let request = request.into_inner();
        let first = optional_id("first_snapshot_id", &request.first_snapshot_id).map_err(status)?;
        let second = id("second_snapshot_id", &request.second_snapshot_id).map_err(status)?;
        let (start, size) = (request.starting_block_index, request.page_size);
        let page_token = String::new();
        let canonical =
            pb::ListChangedBlocksRequest { page_size: 0, page_token, ..request.clone() };
        let (from, most) =
            span(start, size, &request.page_token, &canonical, account).map_err(status)?;
        let listed = self.0.list_changed(first, second, account, from, most).await;
        let (page, first_bytes) = listed.map_err(status)?;
        let token = |id, index: u32, bytes: u64| {
            let inside = u64::from(index) * BLOCK < bytes;
            if inside { self.0.token(account, id, index, page.until_ms) } else { String::new() }
        };
        let block = |index: &u32| pb::ChangedBlock {
            block_index: i32::try_from(*index).unwrap_or(i32::MAX),
            first_block_token: first.map(|id| token(id, *index, first_bytes)).unwrap_or_default(),
            second_block_token: token(second, *index, page.size_bytes),
        };
        Ok(Response::new(pb::ListChangedBlocksResponse {
            blocks: page.indexes.iter().map(block).collect(),
            next_page_token: next(&page, &canonical, account),
            expire_time: Some(time(page.until_ms)),
            volume_size_gib: gib(page.size_bytes),
            block_size_bytes: block_size(),
        }))
    }
}
