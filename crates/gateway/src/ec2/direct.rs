//! EBS direct: snapshots block by block.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tonic::{Code as GrpcCode, Status};
use vmint_api::{
    storage::v1::{
        CompleteSnapshotRequest, GetSnapshotBlockRequest, ListChangedBlocksRequest,
        ListSnapshotBlocksRequest, PutSnapshotBlockRequest, Snapshot, SnapshotBlock, SnapshotState,
        StartSnapshotRequest, StorageErrorReason,
    },
    types::v1::Tag,
};
use vmint_ec2::{
    Reply,
    ebs::{
        BLOCK_BYTES, Block, BlockTag, ChangedBlock, ChangedBlocks, Completed, EbsError, EbsKind,
        Route, SnapshotBlocks, StartSnapshot, StartedSnapshot,
    },
};
use vmint_rpc::{Caller, Fault, Observer as _};

use super::{Asked, Front, code_of, replay};

impl Front {
    /// Answers a request for blocks, whose signature is verified.
    pub(super) async fn direct(
        self: &Arc<Self>,
        asked: Asked<'_>,
        request_id: &str,
        source: &str,
    ) -> Reply {
        let parts = &asked.head.parts;
        let query = parts.uri.query().unwrap_or_default();
        let header = |name: &str| asked.head.header(name);
        let route = match Route::parse(parts.method.as_str(), parts.uri.path(), query, header) {
            Ok(route) => route,
            Err(error) => {
                self.unknown(asked.service, parts.method.as_str());
                return Reply::ebs_error(&error, request_id);
            }
        };
        let (action, mutates) = action(&route);
        if mutates && asked.who.read_only {
            let text = "The access key may only read.";
            let error = EbsError::new(EbsKind::AccessDenied, "UNAUTHORIZED_ACCOUNT", text);
            return Reply::ebs_error(&error, request_id);
        }
        let path = format!("ebs:{action}");
        self.metrics.started(&path);
        let begun = std::time::Instant::now();
        let caller = asked.who.caller(request_id, source);
        let token = replay::request_id(
            &asked.who.key_id,
            &asked.signature,
            header("amz-sdk-invocation-id"),
            0,
        );
        let answer = self.blocks(&route, &asked, &caller, token, request_id).await;
        let reply = answer.unwrap_or_else(|error| Reply::ebs_error(&error, request_id));
        self.metrics.handled(&path, code_of(reply.status), begun.elapsed());
        reply
    }

    async fn blocks(
        &self,
        route: &Route,
        asked: &Asked<'_>,
        caller: &Caller,
        token: String,
        request_id: &str,
    ) -> Result<Reply, EbsError> {
        let mut storage = self.gateway.peers.blocks(caller);
        match route {
            Route::StartSnapshot => {
                let wanted = StartSnapshot::read(&asked.body)?;
                let request = start(wanted, token)?;
                let answer = storage.start_snapshot(request).await.map_err(refused)?.into_inner();
                let parent = Some(answer.parent_snapshot_id).filter(|id| !id.is_empty());
                let made = answer.snapshot.unwrap_or_default();
                Ok(route.reply(request_id, &started(made, parent)))
            }
            Route::PutSnapshotBlock { snapshot, index, checksum, progress } => {
                let block = SnapshotBlock {
                    block_index: number(*index),
                    content: asked.body.clone(),
                    checksum: checksum.to_vec().into(),
                };
                let request = PutSnapshotBlockRequest {
                    snapshot_id: snapshot.to_string(),
                    block: Some(block),
                    progress_percent: progress.map_or(0, i32::from),
                    request_id: request_id.to_owned(),
                };
                let stored = storage.put_snapshot_block(request).await.map_err(refused)?;
                let sum = BASE64_STANDARD.encode(&stored.into_inner().checksum);
                Ok(Reply::ebs_stored(request_id, sum))
            }
            Route::CompleteSnapshot { snapshot, changed_blocks, checksum } => {
                let request = CompleteSnapshotRequest {
                    snapshot_id: snapshot.to_string(),
                    changed_blocks_count: number(*changed_blocks),
                    checksum: checksum.map(|sum| sum.to_vec().into()).unwrap_or_default(),
                    request_id: token,
                };
                let done = storage.complete_snapshot(request).await.map_err(refused)?;
                let snapshot = done.into_inner().snapshot.unwrap_or_default();
                Ok(route.reply(request_id, &Completed { status: status(&snapshot).to_owned() }))
            }
            Route::ListSnapshotBlocks { snapshot, paging } => {
                let request = ListSnapshotBlocksRequest {
                    snapshot_id: snapshot.to_string(),
                    starting_block_index: number(paging.starting_index),
                    page_size: number(paging.max_results),
                    page_token: paging.page_token.clone().unwrap_or_default(),
                };
                let page = storage.list_snapshot_blocks(request).await.map_err(refused)?;
                let page = page.into_inner();
                let blocks = page.blocks.into_iter().map(|block| Block {
                    block_index: block.block_index.unsigned_abs(),
                    block_token: block.block_token,
                });
                let answer = SnapshotBlocks {
                    blocks: blocks.collect(),
                    expiry_time: seconds(page.expire_time.as_ref()),
                    volume_size: page.volume_size_gib.into(),
                    block_size: page.block_size_bytes.into(),
                    next_token: filled(page.next_page_token),
                };
                Ok(route.reply(request_id, &answer))
            }
            Route::GetSnapshotBlock { snapshot, index, token } => {
                let request = GetSnapshotBlockRequest {
                    snapshot_id: snapshot.to_string(),
                    block_index: number(*index),
                    block_token: token.clone(),
                };
                let block = storage.get_snapshot_block(request).await.map_err(refused)?;
                let block = block.into_inner();
                let sum = BASE64_STANDARD.encode(&block.checksum);
                Ok(Reply::ebs_block(request_id, sum, block.content.to_vec()))
            }
            Route::ListChangedBlocks { first, second, paging } => {
                let request = ListChangedBlocksRequest {
                    first_snapshot_id: first.map(|id| id.to_string()).unwrap_or_default(),
                    second_snapshot_id: second.to_string(),
                    starting_block_index: number(paging.starting_index),
                    page_size: number(paging.max_results),
                    page_token: paging.page_token.clone().unwrap_or_default(),
                };
                let page = storage.list_changed_blocks(request).await.map_err(refused)?;
                let page = page.into_inner();
                let changed = page.blocks.into_iter().map(|block| ChangedBlock {
                    block_index: block.block_index.unsigned_abs(),
                    first_block_token: filled(block.first_block_token),
                    second_block_token: filled(block.second_block_token),
                });
                let answer = ChangedBlocks {
                    changed_blocks: changed.collect(),
                    expiry_time: seconds(page.expire_time.as_ref()),
                    volume_size: page.volume_size_gib.into(),
                    block_size: page.block_size_bytes.into(),
                    next_token: filled(page.next_page_token),
                };
                Ok(route.reply(request_id, &answer))
            }
        }
    }
}

/// How metrics name what is asked for, and whether it changes anything.
fn action(route: &Route) -> (&'static str, bool) {
    match route {
        Route::StartSnapshot => ("StartSnapshot", true),
        Route::PutSnapshotBlock { .. } => ("PutSnapshotBlock", true),
        Route::CompleteSnapshot { .. } => ("CompleteSnapshot", true),
        Route::ListSnapshotBlocks { .. } => ("ListSnapshotBlocks", false),
        Route::GetSnapshotBlock { .. } => ("GetSnapshotBlock", false),
        Route::ListChangedBlocks { .. } => ("ListChangedBlocks", false),
    }
}

fn start(wanted: StartSnapshot, token: String) -> Result<StartSnapshotRequest, EbsError> {
    let token = match wanted.client_token {
        Some(given) if given.len() > 255 || given.is_empty() => {
            let text = "ClientToken must have 1 to 255 characters.";
            return Err(EbsError::validation("INVALID_PARAMETER_VALUE", text));
        }
        Some(given) => given,
        None => token,
    };
    // A key's ARN ends with its id.
    let key = wanted.kms_key_arn.unwrap_or_default();
    let key = key.rsplit('/').next().unwrap_or_default().to_owned();
    let tags = wanted.tags.into_iter().map(|tag| Tag { key: tag.key, value: tag.value });
    Ok(StartSnapshotRequest {
        volume_size_gib: i32::try_from(wanted.volume_size).unwrap_or(i32::MAX),
        parent_snapshot_id: wanted.parent_snapshot_id.unwrap_or_default(),
        description: wanted.description,
        tags: tags.collect(),
        timeout_minutes: wanted.timeout.and_then(|n| i32::try_from(n).ok()).unwrap_or_default(),
        request_id: token,
        encrypted: wanted.encrypted.unwrap_or(false),
        kms_key_id: key,
    })
}

fn started(snapshot: Snapshot, parent: Option<String>) -> StartedSnapshot {
    let tags = snapshot.tags.iter();
    let tags = tags.map(|tag| BlockTag { key: tag.key.clone(), value: tag.value.clone() });
    StartedSnapshot {
        status: status(&snapshot).to_owned(),
        start_time: seconds(snapshot.create_time.as_ref()),
        volume_size: snapshot.size_gib.into(),
        block_size: i64::try_from(BLOCK_BYTES).unwrap_or_default(),
        tags: tags.collect(),
        snapshot_id: snapshot.snapshot_id,
        owner_id: snapshot.account_id,
        description: snapshot.description,
        parent_snapshot_id: parent,
    }
}

fn status(snapshot: &Snapshot) -> &'static str {
    match snapshot.state() {
        SnapshotState::Unspecified | SnapshotState::Pending => "pending",
        SnapshotState::Completed => "completed",
        SnapshotState::Error => "error",
    }
}

fn number(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn filled(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// Seconds since 1970, as JSON has times.
fn seconds(at: Option<&prost_types::Timestamp>) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "seconds fit for ages")]
    at.map_or(0.0, |at| at.seconds as f64 + f64::from(at.nanos) / 1e9)
}

/// What storage refused, in the words of EBS direct.
#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn refused(status: Status) -> EbsError {
    use StorageErrorReason as R;
    let seen = Fault::from_status(&status);
    let reason = ["STORAGE_ERROR_REASON_", &seen.reason].concat();
    let reason = R::from_str_name(&reason).unwrap_or_default();
    let (kind, reason) = match reason {
        R::SnapshotNotFound => (EbsKind::ResourceNotFound, "SNAPSHOT_NOT_FOUND"),
        R::UnauthorizedAccount => (EbsKind::AccessDenied, "UNAUTHORIZED_ACCOUNT"),
        R::InvalidBlockToken => (EbsKind::Validation, "INVALID_BLOCK_TOKEN"),
        R::InvalidBlock => (EbsKind::Validation, "INVALID_BLOCK"),
        R::ConflictingBlockUpdate => (EbsKind::Validation, "CONFLICTING_BLOCK_UPDATE"),
        R::WriteRequestTimeout => (EbsKind::Validation, "WRITE_REQUEST_TIMEOUT"),
        R::SnapshotNotPending | R::SnapshotNotCompleted => {
            (EbsKind::Validation, "INVALID_SNAPSHOT_ID")
        }
        R::VolumeSizeInvalid => (EbsKind::Validation, "INVALID_VOLUME_SIZE"),
        R::TagInvalid => (EbsKind::Validation, "INVALID_TAG"),
        R::PageTokenInvalid => (EbsKind::Validation, "INVALID_PAGE_TOKEN"),
        R::KeyNotFound | R::KeyNotUsable => (EbsKind::Validation, "INVALID_CUSTOMER_KEY"),
        R::QuotaExceeded => (EbsKind::ServiceQuotaExceeded, "DEPENDENCY_SERVICE_QUOTA_EXCEEDED"),
        R::RequestIdReused => (EbsKind::Conflict, "INVALID_PARAMETER_VALUE"),
        _ => match status.code() {
            GrpcCode::InvalidArgument | GrpcCode::FailedPrecondition => {
                (EbsKind::Validation, "INVALID_PARAMETER_VALUE")
            }
            GrpcCode::ResourceExhausted => (EbsKind::RequestThrottled, "ACCOUNT_THROTTLED"),
            _ => (EbsKind::InternalServer, "INTERNAL"),
        },
    };
    let message = match kind {
        EbsKind::InternalServer => {
            "An internal error has occurred; the request id finds it in the log.".to_owned()
        }
        _ => seen.message,
    };
    EbsError::new(kind, reason, message)
}
