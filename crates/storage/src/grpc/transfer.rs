//! What accounts may ask of uploads and imports.

use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};
use vmint_api::storage::v1 as pb;
use vmint_api::storage::v1::{
    transfer_service_server::TransferService, upload_piece::Holds as Piece,
    write_upload_request::Part,
};
use vmint_rpc::{Caller, Refusal, to_status};

use super::{
    asks,
    convert::{account_of, id, number, page_size, page_start, wish},
    follow::{Watch, follow},
    public::{asked, token},
    transfer_convert::{description, new_disk, task, upload},
};
use crate::{
    Storage, StorageError,
    import_task::TaskState,
    ops::{Digests, Holds, Sending},
    upload::{DIGEST, DIGEST_BLOCK, Upload},
};

/// Digests in one answer at most.
const DIGESTS: usize = 2048;

/// Serves accounts that bring disks in.
#[derive(Debug)]
pub struct Transfer(pub Storage);

type Answer<T> = Result<Response<T>, Status>;

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn status(error: StorageError) -> Status {
    to_status(&error)
}

fn sequence(why: &'static str) -> Status {
    status(StorageError::Sequence(why))
}

#[tonic::async_trait]
impl TransferService for Transfer {
    async fn start_upload(
        &self,
        request: Request<pb::StartUploadRequest>,
    ) -> Answer<pb::StartUploadResponse> {
        let caller = Caller::of_account(&request)?;
        let account = account_of(caller).map_err(status)?;
        let body = request.get_ref();
        let asked = asked(caller, "StartUpload", &body.request_id, body);
        let base = match body.base_snapshot_id.as_str() {
            "" => None,
            base => Some(id("base_snapshot_id", base).map_err(status)?),
        };
        let made = self.0.start_upload(account, body.file_bytes, base, asked).await;
        let made = Some(upload(&made.map_err(status)?));
        Ok(Response::new(pb::StartUploadResponse { upload: made }))
    }

    async fn write_upload(
        &self,
        request: Request<Streaming<pb::WriteUploadRequest>>,
    ) -> Answer<pb::WriteUploadResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let mut parts = request.into_inner();
        let first = parts.next().await.transpose()?.and_then(|message| message.part);
        let Some(Part::UploadId(wanted)) = first else {
            return Err(sequence("the first message names no upload"));
        };
        let wanted = id("upload_id", &wanted).map_err(status)?;
        let sending = self.0.send(wanted, account).await.map_err(status)?;
        // A caller who goes away ends the call; what it sent is kept all the same.
        let (storage, tasks) = (self.0.clone(), &self.0.tasks);
        let received = tasks.spawn(async move { receive(&storage, sending, parts).await });
        let kept = received.await.map_err(|error| status(error.into()))??;
        Ok(Response::new(pb::WriteUploadResponse { upload: Some(upload(&kept)) }))
    }

    async fn get_upload(
        &self,
        request: Request<pb::GetUploadRequest>,
    ) -> Answer<pb::GetUploadResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let wanted = id("upload_id", &request.get_ref().upload_id).map_err(status)?;
        let found = self.0.upload(wanted, account).map_err(status)?;
        Ok(Response::new(pb::GetUploadResponse { upload: Some(upload(&found)) }))
    }

    async fn list_uploads(
        &self,
        request: Request<pb::ListUploadsRequest>,
    ) -> Answer<pb::ListUploadsResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let request = request.into_inner();
        let canonical = pb::ListUploadsRequest::default();
        let after = page_start(&request.page_token, &canonical, account).map_err(status)?;
        let size = page_size(request.page_size);
        let page = self.0.list_uploads(account, after, size).map_err(status)?;
        let last = page.items.last().filter(|_| page.more).map(|found| found.id);
        Ok(Response::new(pb::ListUploadsResponse {
            uploads: page.items.iter().map(upload).collect(),
            next_page_token: token(last, &canonical, account),
        }))
    }

    async fn delete_upload(
        &self,
        request: Request<pb::DeleteUploadRequest>,
    ) -> Answer<pb::DeleteUploadResponse> {
        let caller = Caller::of_account(&request)?;
        let account = account_of(caller).map_err(status)?;
        let body = request.get_ref();
        let asked = asked(caller, "DeleteUpload", &body.request_id, body);
        let wanted = id("upload_id", &body.upload_id).map_err(status)?;
        self.0.delete_upload(wanted, account, asked).await.map_err(status)?;
        Ok(Response::new(pb::DeleteUploadResponse {}))
    }

    async fn list_base_digests(
        &self,
        request: Request<pb::ListBaseDigestsRequest>,
    ) -> Answer<pb::ListBaseDigestsResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let request = request.into_inner();
        let wanted = id("upload_id", &request.upload_id).map_err(status)?;
        let canonical =
            pb::ListBaseDigestsRequest { upload_id: request.upload_id, ..Default::default() };
        let first: Option<u64> =
            page_start(&request.page_token, &canonical, account).map_err(status)?;
        let size = usize::try_from(request.page_size).ok().filter(|n| (1..DIGESTS).contains(n));
        let page = self.0.base_digests(
            wanted,
            account,
            first.unwrap_or_default(),
            size.unwrap_or(DIGESTS),
        );
        let Digests { key, first, listed, more } = page.await.map_err(status)?;
        let next = more.then_some(first + (listed.len() / DIGEST) as u64);
        Ok(Response::new(pb::ListBaseDigestsResponse {
            block_bytes: i32::try_from(DIGEST_BLOCK).unwrap_or_default(),
            key: key.to_vec().into(),
            first_block: number(first),
            digests: listed.into(),
            next_page_token: token(next, &canonical, account),
        }))
    }

    async fn start_snapshot_import(
        &self,
        request: Request<pb::StartSnapshotImportRequest>,
    ) -> Answer<pb::StartSnapshotImportResponse> {
        let caller = Caller::of_account(&request)?;
        let account = account_of(caller).map_err(status)?;
        let body = request.get_ref();
        let asked = asked(caller, "StartSnapshotImport", &body.request_id, body);
        let disk = new_disk(body.source.as_ref()).map_err(status)?;
        let labels = asks::labels(body.description.clone(), body.tags.clone()).map_err(status)?;
        let wish = wish(body.encrypted, &body.kms_key_id).map_err(status)?;
        let begun = self.0.start_snapshot_import(account, disk, labels, wish, asked).await;
        let begun = begun.map_err(status)?;
        let begun = Some(task(&self.0, &begun));
        Ok(Response::new(pb::StartSnapshotImportResponse { task: begun }))
    }

    async fn get_import_task(
        &self,
        request: Request<pb::GetImportTaskRequest>,
    ) -> Answer<pb::GetImportTaskResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let wanted = id("task_id", &request.get_ref().task_id).map_err(status)?;
        let found = self.0.import(wanted, account).map_err(status)?;
        Ok(Response::new(pb::GetImportTaskResponse { task: Some(task(&self.0, &found)) }))
    }

    async fn list_import_tasks(
        &self,
        request: Request<pb::ListImportTasksRequest>,
    ) -> Answer<pb::ListImportTasksResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let request = request.into_inner();
        let canonical = pb::ListImportTasksRequest::default();
        let after = page_start(&request.page_token, &canonical, account).map_err(status)?;
        let size = page_size(request.page_size);
        let page = self.0.list_imports(account, after.as_ref(), size).map_err(status)?;
        let last = page.items.last().filter(|_| page.more).map(|found| found.id.to_string());
        Ok(Response::new(pb::ListImportTasksResponse {
            tasks: page.items.iter().map(|found| task(&self.0, found)).collect(),
            next_page_token: token(last, &canonical, account),
        }))
    }

    type WatchImportTaskStream = Watch<pb::WatchImportTaskResponse>;

    async fn watch_import_task(
        &self,
        request: Request<pb::WatchImportTaskRequest>,
    ) -> Answer<Self::WatchImportTaskStream> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let wanted = id("task_id", &request.get_ref().task_id).map_err(status)?;
        self.0.import(wanted, account).map_err(status)?;
        Ok(Response::new(follow(self.0.clone(), move |storage| {
            let found = storage.import(wanted, account)?;
            let over = matches!(found.state, TaskState::Completed | TaskState::Deleted);
            Ok((pb::WatchImportTaskResponse { task: Some(task(storage, &found)) }, over))
        })))
    }

    async fn cancel_import_task(
        &self,
        request: Request<pb::CancelImportTaskRequest>,
    ) -> Answer<pb::CancelImportTaskResponse> {
        let caller = Caller::of_account(&request)?;
        let account = account_of(caller).map_err(status)?;
        let body = request.get_ref();
        let asked = asked(caller, "CancelImportTask", &body.request_id, body);
        let wanted = id("task_id", &body.task_id).map_err(status)?;
        let why = description(body.reason.clone()).map_err(status)?;
        let now = self.0.cancel_import(wanted, account, why, asked).await.map_err(status)?;
        Ok(Response::new(pb::CancelImportTaskResponse { task: Some(task(&self.0, &now)) }))
    }
}

/// Takes the pieces of an upload as they come.
async fn receive(
    storage: &Storage,
    mut sending: Sending,
    mut parts: Streaming<pb::WriteUploadRequest>,
) -> Result<Upload, Status> {
    let came = loop {
        let next = tokio::select! {
            () = storage.transfers.stop.cancelled() => break Err(stopping()),
            next = parts.next() => next.transpose(),
        };
        let piece = match next {
            Ok(Some(pb::WriteUploadRequest { part: Some(Part::Piece(piece)) })) => piece,
            Ok(Some(_)) => break Err(sequence("a message holds no piece")),
            Ok(None) => break Ok(()),
            Err(cut) => break Err(cut),
        };
        let length = |bytes: i64| u64::try_from(bytes).unwrap_or(u64::MAX);
        let holds = match piece.holds {
            Some(Piece::Content(content)) => Holds::Content(content),
            Some(Piece::ZeroBytes(bytes)) => Holds::Zeros(length(bytes)),
            Some(Piece::BaseBytes(bytes)) => Holds::Base(length(bytes)),
            None => break Err(sequence("a piece holds nothing")),
        };
        if let Err(error) = storage.take_piece(&mut sending, piece.offset_bytes, holds).await {
            break Err(status(error));
        }
    };
    // What came before a cut or a mistake need not come again.
    let kept = storage.keep(&mut sending).await.map_err(status);
    came.and(kept)?;
    Ok(sending.upload().clone())
}

fn stopping() -> Status {
    let (service, text) = ("storage".to_owned(), "it is stopping".to_owned());
    Refusal::Unreachable { service, text }.into()
}
