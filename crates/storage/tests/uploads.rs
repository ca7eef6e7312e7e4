//! Files that come in pieces become snapshots, whatever cuts in between.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;

use std::fs;

use harness::{
    ANN, BOB, MIB, Place, Running, assert_same, from, image, noise, reason, saga, snap, sparse,
};
use tokio_stream::StreamExt as _;
use tonic::Status;
use vmint_api::storage::v1::{
    self as pb, disk_source::Source, upload_piece::Holds, write_upload_request::Part,
};

fn piece(offset: usize, holds: Holds) -> pb::WriteUploadRequest {
    let piece = pb::UploadPiece { offset_bytes: offset as i64, holds: Some(holds) };
    pb::WriteUploadRequest { part: Some(Part::Piece(piece)) }
}

/// What a stretch of a file holds: content in pieces, zeros in one.
fn stretch(file: &[u8], start: usize, end: usize) -> Vec<pb::WriteUploadRequest> {
    let mut pieces = Vec::new();
    for at in (start..end).step_by(MIB) {
        let part = &file[at..end.min(at + MIB)];
        pieces.push(if part.iter().all(|byte| *byte == 0) {
            piece(at, Holds::ZeroBytes(part.len() as i64))
        } else {
            piece(at, Holds::Content(part.to_vec().into()))
        });
    }
    pieces
}

async fn start(running: &mut Running, bytes: usize, base: &str) -> pb::Upload {
    let request = pb::StartUploadRequest {
        file_bytes: bytes as i64,
        base_snapshot_id: base.to_owned(),
        request_id: String::new(),
    };
    let made = running.transfer.start_upload(from(ANN, request)).await.unwrap();
    made.into_inner().upload.unwrap()
}

async fn write(
    running: &mut Running,
    account: &str,
    upload: &str,
    pieces: Vec<pb::WriteUploadRequest>,
) -> Result<pb::Upload, Status> {
    let first = pb::WriteUploadRequest { part: Some(Part::UploadId(upload.to_owned())) };
    let parts = tokio_stream::iter([first].into_iter().chain(pieces));
    let answer = running.transfer.write_upload(from(account, parts)).await?;
    Ok(answer.into_inner().upload.unwrap())
}

async fn upload(running: &mut Running, id: &str) -> pb::Upload {
    let request = pb::GetUploadRequest { upload_id: id.to_owned() };
    running.transfer.get_upload(from(ANN, request)).await.unwrap().into_inner().upload.unwrap()
}

fn source(upload: &str, format: &str) -> Option<pb::DiskSource> {
    let source = Some(Source::UploadId(upload.to_owned()));
    Some(pb::DiskSource { source, format: format.to_owned(), disk_index: None })
}

fn importing(upload: &str, format: &str, request_id: &str) -> pb::StartSnapshotImportRequest {
    pb::StartSnapshotImportRequest {
        source: source(upload, format),
        description: "brought in".to_owned(),
        request_id: request_id.to_owned(),
        ..Default::default()
    }
}

async fn import(running: &mut Running, upload: &str, format: &str) -> Result<String, Status> {
    let request = from(ANN, importing(upload, format, ""));
    let task = running.transfer.start_snapshot_import(request).await?.into_inner().task.unwrap();
    assert_eq!(task.state(), pb::TransferState::Active);
    Ok(task.task_id)
}

/// Follows a task to its end.
async fn ended(running: &mut Running, task: &str) -> pb::ImportTask {
    let request = pb::WatchImportTaskRequest { task_id: task.to_owned() };
    let changes = running.transfer.watch_import_task(from(ANN, request)).await.unwrap();
    let mut changes = changes.into_inner();
    let mut last = None;
    while let Some(change) = changes.next().await {
        last = change.unwrap().task;
    }
    last.expect("what there is is told first")
}

fn files(place: &Place) -> Vec<String> {
    let mut found = Vec::new();
    for dir in ["uploads", "fetches"] {
        let Ok(entries) = fs::read_dir(place.data().join(dir)) else { continue };
        found.extend(entries.map(|e| e.unwrap().file_name().into_string().unwrap()));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_pieces_becomes_a_snapshot() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = sparse(1, 12);
    let made = start(&mut running, disk.len(), "").await;
    let id = made.upload_id.as_str();
    assert_eq!(made.durable, []);

    // The end before the beginning, and a stretch twice.
    let half = disk.len() / 2;
    let now = write(&mut running, ANN, id, stretch(&disk, half, disk.len())).await.unwrap();
    let there = pb::ByteRange { start_bytes: half as i64, end_bytes: disk.len() as i64 };
    assert_eq!(now.durable, [there]);
    let refused = import(&mut running, id, "raw").await.unwrap_err();
    assert_eq!(reason(&refused), "UPLOAD_INCOMPLETE");
    let refused = write(&mut running, BOB, id, stretch(&disk, 0, half)).await.unwrap_err();
    assert_eq!(reason(&refused), "UPLOAD_NOT_FOUND");
    let now = write(&mut running, ANN, id, stretch(&disk, 0, half + MIB)).await.unwrap();
    assert_eq!(now.durable.len(), 1);

    let request = importing(id, "", "0af7651916cd43dd8448eb211c80319c");
    let begin = |running: &Running, request| {
        let mut transfer = running.transfer.clone();
        async move { transfer.start_snapshot_import(from(ANN, request)).await }
    };
    let task = begin(&running, request.clone()).await.unwrap().into_inner().task.unwrap();
    assert!(task.task_id.starts_with("import-snap-"), "{}", task.task_id);
    let again = begin(&running, request.clone()).await.unwrap().into_inner().task.unwrap();
    assert_eq!(again.task_id, task.task_id, "asked twice, done once");
    let other = pb::StartSnapshotImportRequest { description: "other".into(), ..request };
    assert_eq!(reason(&begin(&running, other).await.unwrap_err()), "REQUEST_ID_REUSED");

    let done = ended(&mut running, &task.task_id).await;
    assert_eq!(done.state(), pb::TransferState::Completed, "{}", done.status_message);
    assert_eq!((done.status_message.as_str(), done.progress_percent), ("completed", 100));
    assert_eq!(done.disks[0].detected_format, "raw");
    assert_same(&running.content(&done.disks[0].snapshot_id).await, &disk);
    assert_eq!(files(&place), [""; 0], "an import uses its upload up");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_goes_on_where_it_was() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = noise(2, 6 * MIB);
    let id = start(&mut running, disk.len(), "").await.upload_id;
    // The client goes away in the middle.
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let mut transfer = running.transfer.clone();
    let parts = tokio_stream::wrappers::ReceiverStream::new(receive);
    let sending = tokio::spawn(async move { transfer.write_upload(from(ANN, parts)).await });
    send.send(pb::WriteUploadRequest { part: Some(Part::UploadId(id.clone())) }).await.unwrap();
    for part in stretch(&disk, 0, 3 * MIB) {
        send.send(part).await.unwrap();
    }
    // Of what it sent some is there; the service says how much.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    sending.abort();
    drop(send);
    let mut there = upload(&mut running, &id).await;
    while there.durable.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        there = upload(&mut running, &id).await;
    }
    running.stop().await;

    let mut running = place.start().await;
    let there = upload(&mut running, &id).await;
    let (start, end) = (there.durable[0].start_bytes, there.durable[0].end_bytes as usize);
    assert!(start == 0 && (MIB..=3 * MIB).contains(&end), "{there:?}");
    write(&mut running, ANN, &id, stretch(&disk, end, disk.len())).await.unwrap();
    let task = import(&mut running, &id, "raw").await.unwrap();
    // Stopped at once: it goes on at the next start, unless it was faster.
    running.stop().await;
    let mut running = place.start().await;
    let done = ended(&mut running, &task).await;
    assert_eq!(done.state(), pb::TransferState::Completed, "{}", done.status_message);
    assert_same(&running.content(&done.disks[0].snapshot_id).await, &disk);
    assert_eq!(files(&place), [""; 0]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_differs_from_a_base_is_sent() {
    let place = Place::new();
    let mut running = place.start().await;
    let old = noise(3, 20 * MIB);
    let base = running.import(&old).await;
    let mut disk = old.clone();
    disk[5 * MIB..5 * MIB + 4096].copy_from_slice(&noise(33, 4096));
    disk[9 * MIB..10 * MIB].fill(0);
    disk.extend(noise(34, MIB));

    let id = start(&mut running, disk.len(), &base.snapshot_id).await.upload_id;
    let mut request = pb::ListBaseDigestsRequest { upload_id: id.clone(), ..Default::default() };
    request.page_size = 7;
    let (mut pieces, mut sent) = (Vec::new(), 0);
    let mut covered = 0;
    loop {
        let asked = from(ANN, request.clone());
        let page = running.transfer.list_base_digests(asked).await.unwrap().into_inner();
        let key: [u8; 32] = page.key[..].try_into().unwrap();
        let block = page.block_bytes as usize;
        for (n, digest) in page.digests.chunks(16).enumerate() {
            let at = (page.first_block as usize + n) * block;
            let part = &disk[at..at + block];
            covered = at + block;
            if &blake3::keyed_hash(&key, part).as_bytes()[..16] == digest {
                pieces.push(piece(at, Holds::BaseBytes(block as i64)));
            } else {
                sent += part.len();
                pieces.extend(stretch(&disk, at, at + block));
            }
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(covered, old.len());
    assert_eq!(sent, 3 * (512 << 10), "three blocks differ");
    pieces.extend(stretch(&disk, covered, disk.len()));
    write(&mut running, ANN, &id, pieces).await.unwrap();
    // The base goes on being there although nothing else needs it.
    running.collect().await;
    let task = import(&mut running, &id, "raw").await.unwrap();
    let done = ended(&mut running, &task).await;
    assert_eq!(done.state(), pb::TransferState::Completed, "{}", done.status_message);
    assert_same(&running.content(&done.disks[0].snapshot_id).await, &disk);
    // Equal content, equal blocks: brought in whole it is known.
    assert_eq!(running.import(&disk).await.new_bytes, 0);

    // Nobody else's snapshot may be compared with.
    let request = pb::StartUploadRequest {
        file_bytes: 1,
        base_snapshot_id: base.snapshot_id.clone(),
        request_id: String::new(),
    };
    let refused = running.transfer.start_upload(from(BOB, request)).await.unwrap_err();
    assert_eq!(reason(&refused), "SNAPSHOT_NOT_FOUND");
    // Two uploads' digests of one content say nothing of one another.
    let mut keys = Vec::new();
    for _ in 0..2 {
        let id = start(&mut running, MIB, &base.snapshot_id).await.upload_id;
        let request = pb::ListBaseDigestsRequest { upload_id: id, ..Default::default() };
        let page = running.transfer.list_base_digests(from(ANN, request)).await.unwrap();
        keys.push(page.into_inner().digests);
    }
    assert_ne!(keys[0], keys[1]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_disk_fails_and_says_why() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = noise(4, MIB);
    let id = start(&mut running, disk.len(), "").await.upload_id;
    write(&mut running, ANN, &id, stretch(&disk, 0, disk.len())).await.unwrap();
    let task = import(&mut running, &id, "qcow2").await.unwrap();
    let done = ended(&mut running, &task).await;
    assert_eq!(done.state(), pb::TransferState::Deleted);
    assert!(done.status_message.contains("qcow2"), "{}", done.status_message);
    assert_eq!(done.failure_reason, "IMAGE_FORMAT_INVALID");
    assert_eq!(done.disks[0].snapshot_id, "");
    // Nothing of the file is lost: told right, it is taken.
    let task = import(&mut running, &id, "raw").await.unwrap();
    assert_eq!(ended(&mut running, &task).await.state(), pb::TransferState::Completed);

    for (name, bad) in [
        ("nothing", pb::StartSnapshotImportRequest::default()),
        ("upload-0123456789abcdef0", importing("upload-0123456789abcdef0", "raw", "")),
        ("floppy", importing(&id, "floppy", "")),
    ] {
        let refused = running.transfer.start_snapshot_import(from(ANN, bad)).await.unwrap_err();
        let seen = reason(&refused);
        assert!(["FIELD_INVALID", "UPLOAD_NOT_FOUND"].contains(&seen.as_str()), "{name}: {seen}");
    }
    for url in ["http://example.org/x", "file:///etc/passwd", "https://127.1/"] {
        let source = pb::DiskSource {
            source: Some(Source::Url(url.into())),
            format: "".into(),
            disk_index: None,
        };
        let request = pb::StartSnapshotImportRequest { source: Some(source), ..Default::default() };
        let request = from(ANN, request);
        let refused = running.transfer.start_snapshot_import(request).await.unwrap_err();
        assert_eq!(reason(&refused), "URL_REFUSED", "{url}");
    }
    // An address inside is only known as such when it is gone to.
    let url = Source::Url("https://10.0.0.1/disk.raw".into());
    let source = pb::DiskSource { source: Some(url), format: String::new(), disk_index: None };
    let request = pb::StartSnapshotImportRequest { source: Some(source), ..Default::default() };
    let task = running.transfer.start_snapshot_import(from(ANN, request)).await.unwrap();
    let done = ended(&mut running, &task.into_inner().task.unwrap().task_id).await;
    assert_eq!(done.state(), pb::TransferState::Deleted);
    assert!(done.status_message.contains("public internet"), "{}", done.status_message);
    assert_eq!(files(&place), [""; 0]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_s_import_waits_for_its_saga() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = noise(5, MIB);
    let mut request = pb::EnsureImportRequest {
        saga: saga(1),
        task_id: "import-ami-00000000000000001".into(),
        account_id: ANN.into(),
        image_id: image(1),
        description: "two disks".into(),
        disks: Vec::new(),
        ..Default::default()
    };
    for n in 0..2 {
        let id = start(&mut running, disk.len(), "").await.upload_id;
        write(&mut running, ANN, &id, stretch(&disk, 0, disk.len())).await.unwrap();
        request.disks.push(pb::NewImportDisk {
            source: source(&id, ""),
            device_name: format!("/dev/sd{n}"),
            snapshot_id: snap(n),
        });
    }
    let ensure = async |running: &mut Running| {
        let asked = running.transfer_internal.ensure_import(request.clone()).await;
        asked.unwrap().into_inner()
    };
    while !ensure(&mut running).await.converted {
        tokio::task::yield_now().await;
    }
    let task = ensure(&mut running).await.task.unwrap();
    assert_eq!((task.state(), &*task.status_message), (pb::TransferState::Active, "preparing ami"));
    let made =
        running.users.get_snapshot(from(ANN, pb::GetSnapshotRequest { snapshot_id: snap(1) }));
    let made = made.await.unwrap().into_inner().snapshot.unwrap();
    assert_eq!(made.image_ids, [image(1)]);

    // Cancelled, it waits until the saga has taken its image away.
    let cancel = pb::CancelImportTaskRequest {
        task_id: task.task_id.clone(),
        reason: "changed my mind".into(),
        request_id: String::new(),
    };
    let now = running.transfer.cancel_import_task(from(ANN, cancel)).await.unwrap().into_inner();
    assert_eq!(now.task.unwrap().state(), pb::TransferState::Deleting);
    let release = pb::ReleaseImportRequest {
        saga: saga(1),
        task_id: task.task_id.clone(),
        reason: "undone".into(),
    };
    running.transfer_internal.release_import(release).await.unwrap();
    let done = ended(&mut running, &task.task_id).await;
    assert_eq!(done.state(), pb::TransferState::Deleted);
    assert_eq!(done.status_message, "cancelled: changed my mind");
    let request = pb::ListSnapshotsRequest::default();
    let left = running.users.list_snapshots(from(ANN, request)).await.unwrap().into_inner();
    assert_eq!(left.snapshots, []);
    assert_eq!(running.collect().await.chunks, 0);
    running.stop().await;
}
