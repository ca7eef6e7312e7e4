//! The service is killed at any moment, a hundred times: what it answered is
//! there afterwards, and nothing else is.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::Path,
    process::Child,
    time::Duration,
};

use harness::{
    ANN, MIB, Place, assert_same,
    child::{announced, child},
    from, image, noise, saga, snap, volume,
};
use tonic::{Status, transport::Channel};
use vmint_api::storage::v1::{
    self as pb, disk_source::Source, export_service_client::ExportServiceClient,
    storage_internal_service_client::StorageInternalServiceClient,
    storage_service_client::StorageServiceClient, transfer_service_client::TransferServiceClient,
    upload_piece::Holds, write_upload_request::Part,
};

const CHILD: &str = "VMINT_STORAGE_TO_BE_KILLED";
const KILLS: u64 = 100;
/// Of the volume that snapshots are made of.
const VOLUME: u64 = 7;

/// The service in a process of its own, collecting all the time.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs for ever; the test below starts and kills it"]
async fn serves_until_it_is_killed() {
    let place = env::var(CHILD).expect("run by the test below");
    let running = announced(Path::new(&place)).await;
    loop {
        running.storage.collect().await.unwrap();
        running.storage.expire_transfers().await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

struct Service {
    child: Child,
    channel: Channel,
}

impl Service {
    async fn start(place: &Path) -> Self {
        let (child, channel) = child(place, CHILD, "serves_until_it_is_killed").await;
        Self { child, channel }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What must be there, what may be, and what must not.
#[derive(Default)]
struct Book {
    /// By id: the seed of the content.
    there: BTreeMap<String, u64>,
    maybe: BTreeSet<String>,
    gone: BTreeSet<String>,
}

/// One thing that is asked, and what it made or took away.
enum Did {
    Made(String, u64),
    Gone(String),
    Nothing,
}

fn disk(seed: u64) -> Vec<u8> {
    // Half of it is the same in all, so that chunks are shared.
    [noise(1, MIB / 2), noise(1000 + seed, MIB / 2)].concat()
}

/// By upload, in pieces, and a task that is waited for.
async fn import(channel: Channel, seed: u64) -> Result<Did, Status> {
    let mut transfer = TransferServiceClient::new(channel);
    let disk = disk(seed);
    let request = pb::StartUploadRequest { file_bytes: disk.len() as i64, ..Default::default() };
    let made = transfer.start_upload(from(ANN, request)).await?.into_inner();
    let upload_id = made.upload.unwrap().upload_id;
    let first = pb::WriteUploadRequest { part: Some(Part::UploadId(upload_id.clone())) };
    let piece = |(n, part): (usize, &[u8])| {
        let holds = Some(Holds::Content(part.to_vec().into()));
        let piece = pb::UploadPiece { offset_bytes: (n * MIB / 4) as i64, holds };
        pb::WriteUploadRequest { part: Some(Part::Piece(piece)) }
    };
    let parts = disk.chunks(MIB / 4).enumerate().map(piece);
    let parts = tokio_stream::iter([first].into_iter().chain(parts).collect::<Vec<_>>());
    transfer.write_upload(from(ANN, parts)).await?;
    let source = pb::DiskSource {
        source: Some(Source::UploadId(upload_id)),
        format: "raw".to_owned(),
        disk_index: None,
    };
    let request = pb::StartSnapshotImportRequest { source: Some(source), ..Default::default() };
    let task = transfer.start_snapshot_import(from(ANN, request)).await?.into_inner();
    let task_id = task.task.unwrap().task_id;
    loop {
        let request = pb::GetImportTaskRequest { task_id: task_id.clone() };
        let task = transfer.get_import_task(from(ANN, request)).await?.into_inner().task.unwrap();
        match task.state() {
            pb::TransferState::Completed => {
                return Ok(Did::Made(task.disks[0].snapshot_id.clone(), seed));
            }
            pb::TransferState::Active => tokio::time::sleep(Duration::from_millis(2)).await,
            other => panic!("{other:?}: {}", task.status_message),
        }
    }
}

async fn copy(channel: Channel, source: (String, u64), id: String) -> Result<Did, Status> {
    let request = pb::EnsureSnapshotCopyRequest {
        saga: saga(1),
        account_id: ANN.to_owned(),
        copies: vec![pb::SnapshotCopy { source_snapshot_id: source.0, snapshot_id: id.clone() }],
        image_id: image(1),
        ..Default::default()
    };
    StorageInternalServiceClient::new(channel).ensure_snapshot_copy(request).await?;
    Ok(Did::Made(id, source.1))
}

async fn freeze(channel: Channel, id: String, seed: u64) -> Result<Did, Status> {
    let mut request = harness::freeze(&[(VOLUME, 1)]);
    request.snapshots[0].snapshot_id.clone_from(&id);
    StorageInternalServiceClient::new(channel).ensure_volume_snapshots(request).await?;
    Ok(Did::Made(id, seed))
}

async fn delete(channel: Channel, id: String) -> Result<Did, Status> {
    let request = pb::ReleaseSnapshotsRequest { saga: saga(1), snapshot_ids: vec![id.clone()] };
    StorageInternalServiceClient::new(channel).release_snapshots(request).await?;
    Ok(Did::Gone(id))
}

async fn export(channel: Channel, id: String) -> Result<Did, Status> {
    let mut exports = ExportServiceClient::new(channel);
    let request = pb::StartExportRequest {
        snapshot_id: id,
        format: "qcow2".to_owned(),
        request_id: String::new(),
    };
    let task_id = exports.start_export(from(ANN, request)).await?.into_inner().task.unwrap();
    let request =
        pb::CancelExportTaskRequest { task_id: task_id.task_id, request_id: String::new() };
    tokio::time::sleep(Duration::from_millis(5)).await;
    exports.cancel_export_task(from(ANN, request)).await?;
    Ok(Did::Nothing)
}

async fn snapshots(channel: &Channel) -> BTreeMap<String, pb::Snapshot> {
    let mut users = StorageServiceClient::new(channel.clone());
    let request = pb::ListSnapshotsRequest { page_size: 900, ..Default::default() };
    let page = users.list_snapshots(from(ANN, request)).await.unwrap().into_inner();
    page.snapshots.into_iter().map(|found| (found.snapshot_id.clone(), found)).collect()
}

/// Holds the service to the book.
async fn check(channel: &Channel, book: &mut Book) {
    let found = snapshots(channel).await;
    for id in book.there.keys() {
        let found = found.get(id).unwrap_or_else(|| panic!("{id} was answered and is lost"));
        assert_eq!(found.state(), pb::SnapshotState::Completed, "{id}");
    }
    for id in &book.gone {
        assert!(!found.contains_key(id), "{id} was deleted and is back");
    }
    book.maybe.retain(|id| found.contains_key(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_kills_lose_nothing_and_leave_nothing() {
    let place = Place::new();
    let mut book = Book::default();
    let service = Service::start(place.path()).await;
    let Did::Made(base, seed) = import(service.channel.clone(), 0).await.unwrap() else { panic!() };
    let mut internal = StorageInternalServiceClient::new(service.channel.clone());
    internal.ensure_volumes(harness::volumes(VOLUME, &base)).await.unwrap();
    book.there.insert(base.clone(), seed);
    let mut service = Some(service);
    let mut cut = 0;
    for round in 1..=KILLS {
        let now = match service.take() {
            Some(now) => now,
            None => Service::start(place.path()).await,
        };
        check(&now.channel, &mut book).await;
        let channel = now.channel.clone();
        let id = snap(1000 + round);
        let last = book.there.keys().rev().find(|id| **id != base).cloned();
        let work = match round % 5 {
            0 => tokio::spawn(import(channel, round)),
            1 => tokio::spawn(copy(channel, (base.clone(), seed), id.clone())),
            2 => tokio::spawn(freeze(channel, id.clone(), seed)),
            3 if last.is_some() => {
                let last = last.unwrap();
                book.maybe.insert(last.clone());
                book.there.remove(&last);
                tokio::spawn(delete(channel, last))
            }
            _ => tokio::spawn(export(channel, base.clone())),
        };
        // From at once to well after the end, spread evenly.
        let moment = Duration::from_millis(round.wrapping_mul(37) % 97);
        tokio::time::sleep(moment).await;
        let over = work.is_finished();
        now.kill();
        match work.await.unwrap() {
            Ok(Did::Made(id, seed)) => drop(book.there.insert(id, seed)),
            Ok(Did::Gone(id)) => {
                book.maybe.remove(&id);
                book.gone.insert(id);
            }
            Ok(Did::Nothing) => {}
            Err(_) => {
                assert!(!over, "refused, and not by the kill");
                cut += 1;
                book.maybe.insert(id);
            }
        }
    }
    println!("{KILLS} kills, {cut} of them in the middle of a call");
    assert!(cut > KILLS / 10, "hardly any kill met a call: {cut}");

    // All that was answered is there, byte for byte.
    let mut running = place.start().await;
    for (id, seed) in book.there.clone() {
        assert_same(&running.content(&id).await, &disk(seed));
    }
    // Imports that were begun have gone on to their end.
    let tasks = pb::ListImportTasksRequest { page_size: 900, ..Default::default() };
    loop {
        let page = running.transfer.list_import_tasks(from(ANN, tasks.clone())).await.unwrap();
        let page = page.into_inner().tasks;
        let open = page.iter().filter(|task| task.state() == pb::TransferState::Active).count();
        if open == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // With everything given back nothing is left.
    let uploads = pb::ListUploadsRequest { page_size: 900, ..Default::default() };
    let uploads = running.transfer.list_uploads(from(ANN, uploads)).await.unwrap().into_inner();
    for upload in uploads.uploads {
        let request =
            pb::DeleteUploadRequest { upload_id: upload.upload_id, request_id: String::new() };
        running.transfer.delete_upload(from(ANN, request)).await.unwrap();
    }
    let exports = pb::ListExportTasksRequest { page_size: 900, ..Default::default() };
    let exports = running.exports.list_export_tasks(from(ANN, exports)).await.unwrap();
    for task in exports.into_inner().tasks {
        let request =
            pb::CancelExportTaskRequest { task_id: task.task_id, request_id: String::new() };
        running.exports.cancel_export_task(from(ANN, request)).await.unwrap();
    }
    assert_eq!(running.release(VOLUME, true).await, [volume(VOLUME)]);
    let request = pb::ListSnapshotsRequest { page_size: 900, ..Default::default() };
    let left = running.users.list_snapshots(from(ANN, request)).await.unwrap().into_inner();
    let snapshot_ids = left.snapshots.into_iter().map(|found| found.snapshot_id).collect();
    let request = pb::ReleaseSnapshotsRequest { saga: saga(1), snapshot_ids };
    running.internal.release_snapshots(request).await.unwrap();
    assert_eq!(running.collect().await.chunks, 0, "chunks that nothing needs");
    for dir in ["uploads", "fetches", "exports", "staging", "volumes"] {
        let left = fs::read_dir(place.data().join(dir)).into_iter().flatten().count();
        assert_eq!(left, 0, "files are left in {dir}");
    }
    running.stop().await;
}
