//! Files on their way in and out.

use tokio_stream::StreamExt as _;
use vmint_api::storage::v1::{
    self as pb, download_export_response::Holds, upload_piece::Holds as Sent,
    write_upload_request::Part,
};

use super::{MIB, Running, from};

/// Uploads a whole file; the upload's id.
pub async fn upload(running: &mut Running, account: &str, file: &[u8]) -> String {
    let request = pb::StartUploadRequest { file_bytes: file.len() as i64, ..Default::default() };
    let made = running.transfer.start_upload(from(account, request)).await.unwrap();
    let upload = made.into_inner().upload.unwrap().upload_id;
    let first = pb::WriteUploadRequest { part: Some(Part::UploadId(upload.clone())) };
    let pieces = file.chunks(MIB).enumerate().map(|(n, part)| {
        let holds = Some(Sent::Content(part.to_vec().into()));
        let piece = pb::UploadPiece { offset_bytes: (n * MIB) as i64, holds };
        pb::WriteUploadRequest { part: Some(Part::Piece(piece)) }
    });
    let parts: Vec<_> = [first].into_iter().chain(pieces).collect();
    let parts = from(account, tokio_stream::iter(parts));
    running.transfer.write_upload(parts).await.unwrap();
    upload
}

/// An export at its end, which must be a good one, and its file.
pub async fn exported(
    running: &mut Running,
    account: &str,
    task_id: String,
) -> (pb::ExportTask, Vec<u8>) {
    let watch = pb::WatchExportTaskRequest { task_id: task_id.clone() };
    let changes = running.exports.watch_export_task(from(account, watch)).await.unwrap();
    let last = changes.into_inner().collect::<Vec<_>>().await.pop().unwrap();
    let task = last.unwrap().task.unwrap();
    assert_eq!(task.state(), pb::TransferState::Completed, "{}", task.status_message);
    let request = pb::DownloadExportRequest { task_id, offset_bytes: 0 };
    let pieces = running.exports.download_export(from(account, request)).await.unwrap();
    let mut pieces = pieces.into_inner();
    let mut file = Vec::new();
    while let Some(piece) = pieces.next().await {
        match piece.unwrap().holds.unwrap() {
            Holds::Content(content) => file.extend_from_slice(&content),
            Holds::ZeroBytes(count) => file.resize(file.len() + count as usize, 0),
        }
    }
    (task, file)
}
