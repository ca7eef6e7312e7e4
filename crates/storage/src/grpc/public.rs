//! What accounts may ask.

use prost::Message;
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};
use vmint_api::storage::v1 as pb;
use vmint_api::storage::v1::{
    import_snapshot_request::Part, storage_service_server::StorageService,
};
use vmint_ids::AccountId;
use vmint_rpc::{Caller, PageToken, to_status};
use vmint_store::Asked;

use super::{
    asks,
    convert::{account_of, id, number, page_size, page_start, snapshot},
    volumes::shown,
};
use crate::{Storage, StorageError};

/// Serves accounts.
#[derive(Debug)]
pub struct Public(pub Storage);

type Answer<T> = Result<Response<T>, Status>;

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
pub(super) fn status(error: StorageError) -> Status {
    to_status(&error)
}

/// A mutation as the ledger knows it.
pub(super) fn asked(caller: &Caller, method: &str, request_id: &str, body: &impl Message) -> Asked {
    Asked {
        account: caller.account.clone(),
        method: method.to_owned(),
        request_id: request_id.to_owned(),
        digest: *blake3::hash(&body.encode_to_vec()).as_bytes(),
    }
}

pub(super) fn token<K: vmint_store::Key>(
    last: Option<K>,
    canonical: &impl Message,
    of: AccountId,
) -> String {
    last.map(|key| PageToken::new(&key.encode(), canonical, &of.to_string()).to_text())
        .unwrap_or_default()
}

#[tonic::async_trait]
impl StorageService for Public {
    async fn import_snapshot(
        &self,
        request: Request<Streaming<pb::ImportSnapshotRequest>>,
    ) -> Answer<pb::ImportSnapshotResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let mut parts = request.into_inner();
        let first = parts.next().await.transpose()?.and_then(|message| message.part);
        let Some(Part::Header(header)) = first else {
            return Err(status(StorageError::Sequence("the first message is no header")));
        };
        let begun = self.0.begin_import(
            account,
            header.description,
            &header.format,
            header.file_bytes,
            header.request_id,
        );
        let mut import = begun.await.map_err(status)?;
        while let Some(message) = parts.next().await.transpose()? {
            match message.part {
                Some(Part::Data(data)) => {
                    import.write(data.offset, data.content).await.map_err(status)?;
                }
                Some(Part::Header(_)) => {
                    return Err(status(StorageError::Sequence("there is a second header")));
                }
                None => return Err(status(StorageError::Sequence("a message is empty"))),
            }
        }
        let imported = self.0.finish_import(import).await.map_err(status)?;
        let answer = pb::ImportSnapshotResponse {
            snapshot: Some(snapshot(&imported.snapshot)),
            format: imported.format,
        };
        Ok(Response::new(answer))
    }

    async fn get_snapshot(
        &self,
        request: Request<pb::GetSnapshotRequest>,
    ) -> Answer<pb::GetSnapshotResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let wanted = id("snapshot_id", &request.get_ref().snapshot_id).map_err(status)?;
        let found = self.0.snapshot(wanted, account).map_err(status)?;
        Ok(Response::new(pb::GetSnapshotResponse { snapshot: Some(snapshot(&found)) }))
    }

    async fn list_snapshots(
        &self,
        request: Request<pb::ListSnapshotsRequest>,
    ) -> Answer<pb::ListSnapshotsResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let request = request.into_inner();
        let (query, canonical) = asks::snapshots(account, &request).map_err(status)?;
        let after = page_start(&request.page_token, &canonical, account).map_err(status)?;
        let size = page_size(request.page_size);
        let (page, last) = self.0.list_snapshots(&query, after, size).map_err(status)?;
        Ok(Response::new(pb::ListSnapshotsResponse {
            snapshots: page.iter().map(snapshot).collect(),
            next_page_token: token(last, &canonical, account),
        }))
    }

    async fn delete_snapshot(
        &self,
        request: Request<pb::DeleteSnapshotRequest>,
    ) -> Answer<pb::DeleteSnapshotResponse> {
        let caller = Caller::of_account(&request)?;
        let account = account_of(caller).map_err(status)?;
        let body = request.get_ref();
        let asked = asked(caller, "DeleteSnapshot", &body.request_id, body);
        let wanted = id("snapshot_id", &body.snapshot_id).map_err(status)?;
        if body.dry_run {
            let freed = self.0.preview_deletion(wanted, account).await.map_err(status)?;
            return Ok(Response::new(pb::DeleteSnapshotResponse { freed_bytes: number(freed) }));
        }
        self.0.delete_snapshot(wanted, account, asked).await.map_err(status)?;
        Ok(Response::new(pb::DeleteSnapshotResponse::default()))
    }

    async fn list_volumes(
        &self,
        request: Request<pb::ListVolumesRequest>,
    ) -> Answer<pb::ListVolumesResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let request = request.into_inner();
        let (query, canonical) = asks::volumes(account, &request).map_err(status)?;
        let after = page_start(&request.page_token, &canonical, account).map_err(status)?;
        let size = page_size(request.page_size);
        let (page, last) = self.0.list_volumes(&query, after, size).map_err(status)?;
        Ok(Response::new(pb::ListVolumesResponse {
            volumes: shown(&self.0, &page).await?,
            next_page_token: token(last, &canonical, account),
        }))
    }

    async fn get_usage(
        &self,
        request: Request<pb::GetUsageRequest>,
    ) -> Answer<pb::GetUsageResponse> {
        let caller = Caller::of_account(&request)?;
        let account = account_of(caller).map_err(status)?;
        let usage = self.0.usage(account, caller.is_operator()).map_err(status)?;
        let quota = self.0.config.quota;
        Ok(Response::new(pb::GetUsageResponse {
            logical_bytes: number(usage.logical_bytes),
            stored_bytes: number(usage.stored_bytes),
            chunks: number(usage.chunks),
            snapshots: number(usage.snapshots),
            volumes: number(usage.volumes),
            volume_bytes: number(usage.volume_bytes),
            upload_bytes: number(usage.upload_bytes),
            quota: Some(pb::Quota {
                snapshots: number(quota.snapshots),
                snapshot_bytes: number(quota.snapshot_bytes),
                volumes: number(quota.volumes),
                volume_bytes: number(quota.volume_bytes),
                object_bytes: number(quota.object_bytes),
                upload_bytes: number(quota.upload_bytes),
            }),
        }))
    }
}
