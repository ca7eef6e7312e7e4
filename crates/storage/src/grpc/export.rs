//! What accounts may ask of exports.

use std::pin::Pin;

use futures::Stream;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};
use vmint_api::storage::v1 as pb;
use vmint_api::storage::v1::{
    download_export_response::Holds, export_service_server::ExportService,
};
use vmint_rpc::{Caller, to_status};

use super::{
    convert::{account_of, id, number, page_size, page_start, tags, time},
    follow::{Watch, follow},
    public::{asked, token},
};
use crate::{Storage, StorageError, export_task::ExportTask, import_task::TaskState, ops::Piece};

/// Serves accounts that take disks out.
#[derive(Debug)]
pub struct Exports(pub Storage);

type Answer<T> = Result<Response<T>, Status>;

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn status(error: StorageError) -> Status {
    to_status(&error)
}

pub(super) fn task(storage: &Storage, task: &ExportTask) -> pb::ExportTask {
    let state = match task.state {
        TaskState::Active => pb::TransferState::Active,
        TaskState::Completed => pb::TransferState::Completed,
        TaskState::Deleting => pb::TransferState::Deleting,
        TaskState::Deleted => pb::TransferState::Deleted,
    };
    let bucket = task.to.as_ref().map(|to| to.bucket.to_string()).unwrap_or_default();
    let object = |key| pb::ObjectName { bucket: bucket.clone(), key };
    pb::ExportTask {
        task_id: task.name().to_string(),
        account_id: task.account.to_string(),
        state: state.into(),
        status_message: task.message.clone(),
        progress_percent: i32::try_from(storage.export_percent(task)).unwrap_or_default(),
        snapshot_id: task.snapshot.to_string(),
        format: task.format.to_string(),
        image_id: task.image.as_ref().map(|image| image.id.to_string()).unwrap_or_default(),
        content_roots: task.roots.iter().map(ToString::to_string).collect(),
        file_bytes: number(task.file_bytes),
        create_time: Some(time(task.created_ms)),
        end_time: (task.ended_ms > 0).then(|| time(task.ended_ms)),
        expire_time: (task.expires_ms > 0).then(|| time(task.expires_ms)),
        objects: task.keys().into_iter().map(object).collect(),
        description: task.to.as_ref().map(|to| to.description.clone()).unwrap_or_default(),
        tags: tags(&task.tags),
    }
}

#[tonic::async_trait]
impl ExportService for Exports {
    async fn start_export(
        &self,
        request: Request<pb::StartExportRequest>,
    ) -> Answer<pb::StartExportResponse> {
        let caller = Caller::of_account(&request)?;
        let account = account_of(caller).map_err(status)?;
        let body = request.get_ref();
        let asked = asked(caller, "StartExport", &body.request_id, body);
        let snapshot = id("snapshot_id", &body.snapshot_id).map_err(status)?;
        let format = id("format", &body.format).map_err(status)?;
        let begun = self.0.start_export(account, snapshot, format, asked).await;
        let begun = task(&self.0, &begun.map_err(status)?);
        Ok(Response::new(pb::StartExportResponse { task: Some(begun) }))
    }

    async fn get_export_task(
        &self,
        request: Request<pb::GetExportTaskRequest>,
    ) -> Answer<pb::GetExportTaskResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let wanted = id("task_id", &request.get_ref().task_id).map_err(status)?;
        let found = self.0.export(wanted, account).map_err(status)?;
        Ok(Response::new(pb::GetExportTaskResponse { task: Some(task(&self.0, &found)) }))
    }

    async fn list_export_tasks(
        &self,
        request: Request<pb::ListExportTasksRequest>,
    ) -> Answer<pb::ListExportTasksResponse> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let request = request.into_inner();
        let canonical = pb::ListExportTasksRequest::default();
        let after = page_start(&request.page_token, &canonical, account).map_err(status)?;
        let size = page_size(request.page_size);
        let page = self.0.list_exports(account, after, size).map_err(status)?;
        let last = page.items.last().filter(|_| page.more).map(|found| found.id);
        Ok(Response::new(pb::ListExportTasksResponse {
            tasks: page.items.iter().map(|found| task(&self.0, found)).collect(),
            next_page_token: token(last, &canonical, account),
        }))
    }

    type WatchExportTaskStream = Watch<pb::WatchExportTaskResponse>;

    async fn watch_export_task(
        &self,
        request: Request<pb::WatchExportTaskRequest>,
    ) -> Answer<Self::WatchExportTaskStream> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let wanted = id("task_id", &request.get_ref().task_id).map_err(status)?;
        self.0.export(wanted, account).map_err(status)?;
        Ok(Response::new(follow(self.0.clone(), move |storage| {
            let found = storage.export(wanted, account)?;
            let over = matches!(found.state, TaskState::Completed | TaskState::Deleted);
            Ok((pb::WatchExportTaskResponse { task: Some(task(storage, &found)) }, over))
        })))
    }

    async fn cancel_export_task(
        &self,
        request: Request<pb::CancelExportTaskRequest>,
    ) -> Answer<pb::CancelExportTaskResponse> {
        let caller = Caller::of_account(&request)?;
        let account = account_of(caller).map_err(status)?;
        let body = request.get_ref();
        let asked = asked(caller, "CancelExportTask", &body.request_id, body);
        let wanted = id("task_id", &body.task_id).map_err(status)?;
        let now = self.0.cancel_export(wanted, account, asked).await.map_err(status)?;
        Ok(Response::new(pb::CancelExportTaskResponse { task: Some(task(&self.0, &now)) }))
    }

    type DownloadExportStream =
        Pin<Box<dyn Stream<Item = Result<pb::DownloadExportResponse, Status>> + Send>>;

    async fn download_export(
        &self,
        request: Request<pb::DownloadExportRequest>,
    ) -> Answer<Self::DownloadExportStream> {
        let account = account_of(Caller::of_account(&request)?).map_err(status)?;
        let request = request.into_inner();
        let wanted = id("task_id", &request.task_id).map_err(status)?;
        let pieces = self.0.download(wanted, account, request.offset_bytes).await;
        let pieces = ReceiverStream::new(pieces.map_err(status)?).map(|piece| {
            let (at, holds) = match piece.map_err(status)? {
                Piece::Content(at, bytes) => (at, Holds::Content(bytes.into())),
                Piece::Zeros(at, count) => (at, Holds::ZeroBytes(number(count))),
            };
            Ok(pb::DownloadExportResponse { offset_bytes: number(at), holds: Some(holds) })
        });
        Ok(Response::new(Box::pin(pieces)))
    }
}
