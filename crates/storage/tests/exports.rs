//! Snapshots become files that other tools read as the same disk.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;

use std::{fs, path::Path, process::Command};

use harness::{ANN, BOB, MIB, Place, Running, assert_same, from, noise, reason, saga, sparse};
use tokio_stream::StreamExt as _;
use tonic::Status;
use vmint_api::storage::v1::{self as pb, download_export_response::Holds};

const FORMATS: [&str; 6] = ["raw", "qcow2", "vmdk", "vhd", "ova", "bundle"];

async fn begin(running: &mut Running, snapshot: &str, format: &str) -> Result<String, Status> {
    let request = pb::StartExportRequest {
        snapshot_id: snapshot.to_owned(),
        format: format.to_owned(),
        request_id: String::new(),
    };
    let begun = running.exports.start_export(from(ANN, request)).await?;
    Ok(begun.into_inner().task.unwrap().task_id)
}

/// Follows an export to its end.
async fn ended(running: &mut Running, task: &str) -> pb::ExportTask {
    let request = pb::WatchExportTaskRequest { task_id: task.to_owned() };
    let changes = running.exports.watch_export_task(from(ANN, request)).await.unwrap();
    let mut changes = changes.into_inner();
    let mut last = None;
    while let Some(change) = changes.next().await {
        last = change.unwrap().task;
    }
    last.expect("what there is is told first")
}

/// The file of an export from `offset` on, or at most so many messages of it.
async fn download(running: &mut Running, task: &str, offset: usize, most: usize) -> Vec<u8> {
    let request =
        pb::DownloadExportRequest { task_id: task.to_owned(), offset_bytes: offset as i64 };
    let pieces = running.exports.download_export(from(ANN, request)).await.unwrap().into_inner();
    let mut pieces = pieces.take(most);
    let mut file = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.unwrap();
        assert_eq!(piece.offset_bytes as usize, offset + file.len());
        match piece.holds.unwrap() {
            Holds::Content(content) => file.extend_from_slice(&content),
            Holds::ZeroBytes(count) => file.resize(file.len() + count as usize, 0),
        }
    }
    file
}

async fn export(running: &mut Running, snapshot: &str, format: &str) -> Vec<u8> {
    let task = begin(running, snapshot, format).await.unwrap();
    let done = ended(running, &task).await;
    assert_eq!(done.state(), pb::TransferState::Completed, "{format}: {}", done.status_message);
    let file = download(running, &task, 0, usize::MAX).await;
    assert_eq!(file.len() as i64, done.file_bytes);
    file
}

/// What qemu-img makes of a file; none if it is not there.
fn converted(dir: &Path, file: &[u8], format: &str) -> Option<Vec<u8>> {
    let (from, to) = (dir.join("exported"), dir.join("raw"));
    fs::write(&from, file).unwrap();
    let format = if format == "vhd" { "vpc" } else { format };
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-f", format, "-O", "raw"]).args([&from, &to]);
    match convert.status() {
        Ok(status) => assert!(status.success(), "{format}"),
        Err(error) => {
            eprintln!("SKIPPED: qemu-img does not start: {error}");
            return None;
        }
    }
    Some(fs::read(to).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_is_the_same_disk() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = sparse(1, 24);
    let snapshot = running.import(&disk).await.snapshot_id;
    for format in FORMATS {
        let file = export(&mut running, &snapshot, format).await;
        // The same again, byte for byte.
        assert_same(&export(&mut running, &snapshot, format).await, &file);
        if format == "raw" {
            assert_same(&file, &disk);
        }
        if !["ova", "bundle"].contains(&format)
            && let Some(mut raw) = converted(place.path(), &file, format)
        {
            // A VHD's size is that of its geometry, rounded up.
            assert!(raw.len() >= disk.len() && raw[disk.len()..].iter().all(|byte| *byte == 0));
            raw.truncate(disk.len());
            assert_same(&raw, &disk);
        }
        // Our own reader finds nothing in it that is not known.
        let parts = harness::pieces(harness::header("", file.len()), &file);
        let again = running.send(ANN, parts).await.unwrap();
        assert_eq!(again.snapshot.unwrap().new_bytes, 0, "{format}");
        assert!(again.format == format, "{format} was read as {}", again.format);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_from_any_byte() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = noise(2, 5 * MIB);
    let snapshot = running.import(&disk).await.snapshot_id;
    let task = begin(&mut running, &snapshot, "qcow2").await.unwrap();
    // Deleted while it is written: the content stays until that is done.
    running.delete(&snapshot).await.unwrap();
    running.stop().await;

    let mut running = place.start().await;
    running.collect().await;
    let done = ended(&mut running, &task).await;
    assert_eq!(done.state(), pb::TransferState::Completed, "{}", done.status_message);
    let whole = download(&mut running, &task, 0, usize::MAX).await;
    let mut file = download(&mut running, &task, 0, 3).await;
    assert!(!file.is_empty() && file.len() < whole.len());
    running.stop().await;
    let mut running = place.start().await;
    let at = file.len() - 1000;
    file.truncate(at);
    file.extend(download(&mut running, &task, at, usize::MAX).await);
    assert_same(&file, &whole);
    assert_eq!(download(&mut running, &task, whole.len(), usize::MAX).await, b"");

    let far = pb::DownloadExportRequest { task_id: task.clone(), offset_bytes: 1 << 40 };
    let refused = running.exports.download_export(from(ANN, far)).await.unwrap_err();
    assert_eq!(reason(&refused), "FIELD_INVALID");
    let theirs = pb::DownloadExportRequest { task_id: task.clone(), offset_bytes: 0 };
    let refused = running.exports.download_export(from(BOB, theirs.clone())).await.unwrap_err();
    assert_eq!(reason(&refused), "EXPORT_TASK_NOT_FOUND");
    // Given up, it takes no room.
    let cancel = pb::CancelExportTaskRequest { task_id: task.clone(), request_id: String::new() };
    running.exports.cancel_export_task(from(ANN, cancel)).await.unwrap();
    let refused = running.exports.download_export(from(ANN, theirs)).await.unwrap_err();
    assert_eq!(reason(&refused), "TASK_ENDED");
    assert_eq!(fs::read_dir(place.data().join("exports")).unwrap().count(), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_go_out_does_not() {
    let place = Place::new();
    let mut running = place.start().await;
    let snapshot = running.import(&noise(3, MIB)).await.snapshot_id;
    let refused = begin(&mut running, &snapshot, "floppy").await.unwrap_err();
    assert_eq!(reason(&refused), "FIELD_INVALID");
    let refused = begin(&mut running, "snap-0123456789abcdef0", "raw").await.unwrap_err();
    assert_eq!(reason(&refused), "SNAPSHOT_NOT_FOUND");
    let codes = pb::EnsureSnapshotProductCodesRequest {
        saga: saga(1),
        snapshot_ids: vec![snapshot.clone()],
        product_codes: vec!["paidproduct".into()],
    };
    running.internal.ensure_snapshot_product_codes(codes).await.unwrap();
    let refused = begin(&mut running, &snapshot, "raw").await.unwrap_err();
    assert_eq!(reason(&refused), "NOT_EXPORTABLE");
    running.stop().await;
}
