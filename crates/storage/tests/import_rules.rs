//! What imports keep to: the account's encryption by default, and its quota.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;

use harness::{ANN, MIB, Place, Running, assert_same, from, noise};
use vmint_api::storage::v1::{
    self as pb, disk_source::Source, upload_piece::Holds, write_upload_request::Part,
};
use vmint_storage::Quota;

/// Sends a whole file; the upload's id.
async fn sent(running: &mut Running, disk: &[u8], base: &str) -> String {
    let request = pb::StartUploadRequest {
        file_bytes: disk.len() as i64,
        base_snapshot_id: base.to_owned(),
        request_id: String::new(),
    };
    let made = running.transfer.start_upload(from(ANN, request)).await.unwrap();
    let id = made.into_inner().upload.unwrap().upload_id;
    let mut parts = vec![pb::WriteUploadRequest { part: Some(Part::UploadId(id.clone())) }];
    for (n, piece) in disk.chunks(MIB).enumerate() {
        // Of the base its second MiB.
        let holds = match n {
            1 if !base.is_empty() => Holds::BaseBytes(piece.len() as i64),
            _ => Holds::Content(piece.to_vec().into()),
        };
        let piece = pb::UploadPiece { offset_bytes: (n * MIB) as i64, holds: Some(holds) };
        parts.push(pb::WriteUploadRequest { part: Some(Part::Piece(piece)) });
    }
    running.transfer.write_upload(from(ANN, tokio_stream::iter(parts))).await.unwrap();
    id
}

fn ask(upload: String, encrypted: bool) -> pb::StartSnapshotImportRequest {
    let source = Some(Source::UploadId(upload));
    let source = Some(pb::DiskSource { source, format: "raw".to_owned(), disk_index: None });
    pb::StartSnapshotImportRequest { source, encrypted, ..Default::default() }
}

async fn ended(running: &mut Running, task: &str) -> pb::ImportTask {
    loop {
        let request = pb::GetImportTaskRequest { task_id: task.to_owned() };
        let found = running.transfer.get_import_task(from(ANN, request)).await.unwrap();
        let found = found.into_inner().task.unwrap();
        if found.state() != pb::TransferState::Active {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Imports; the snapshot.
async fn import(running: &mut Running, upload: String, encrypted: bool) -> pb::Snapshot {
    let task = running.transfer.start_snapshot_import(from(ANN, ask(upload, encrypted))).await;
    let task = ended(running, &task.unwrap().into_inner().task.unwrap().task_id).await;
    assert_eq!(task.state(), pb::TransferState::Completed, "{}", task.status_message);
    let made = running.settled(ANN, &task.disks[0].snapshot_id).await;
    assert_eq!((task.encrypted, &task.kms_key_id), (made.encrypted, &made.kms_key_id));
    made
}

async fn always(running: &mut Running, enabled: bool) {
    let request = pb::SetEncryptionByDefaultRequest { enabled, ..Default::default() };
    running.keys.set_encryption_by_default(from(ANN, request)).await.unwrap();
    let request = pb::GetEncryptionByDefaultRequest {};
    let seen = running.keys.get_encryption_by_default(from(ANN, request)).await.unwrap();
    assert_eq!(seen.into_inner().enabled, enabled);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_is_encrypted_where_the_account_wants_it_so() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = noise(3, 3 * MIB);
    let plain = running.import(&disk).await;
    assert!(!plain.encrypted);
    // Asked for outright.
    let upload = sent(&mut running, &disk, "").await;
    let sealed = import(&mut running, upload, true).await;
    assert!(sealed.encrypted && !sealed.kms_key_id.is_empty());
    assert_same(&running.content(&sealed.snapshot_id).await, &disk);

    // By default, also through a restart; the default key stays what it was.
    always(&mut running, true).await;
    running.stop().await;
    let mut running = place.start().await;
    let streamed = running.import(&disk).await;
    assert_eq!(streamed.kms_key_id, sealed.kms_key_id);
    assert_same(&running.content(&streamed.snapshot_id).await, &disk);
    let upload = sent(&mut running, &disk, &plain.snapshot_id).await;
    let based = import(&mut running, upload, false).await;
    assert!(based.encrypted, "a base that is not encrypted does not make it so");
    assert_same(&running.content(&based.snapshot_id).await, &disk);
    let request = pb::CopySnapshotRequest {
        source_snapshot_id: plain.snapshot_id.clone(),
        ..Default::default()
    };
    let copied = running.snapshots.copy_snapshot(from(ANN, request)).await.unwrap();
    assert!(copied.into_inner().snapshot.unwrap().encrypted);
    let request = pb::CreateVolumeRequest { size_gib: 1, ..Default::default() };
    let made = running.volumes.create_volume(from(ANN, request)).await.unwrap();
    assert!(made.into_inner().volume.unwrap().encrypted);

    always(&mut running, false).await;
    assert!(!running.import(&disk).await.encrypted);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_holds_for_imports_however_many_there_are() {
    let place = Place::new();
    let mut running = place.start_with(Quota { snapshots: 3, ..Quota::default() }).await;
    let mut uploads = Vec::new();
    for n in 0..7 {
        uploads.push(sent(&mut running, &noise(n, MIB), "").await);
    }
    let starts = uploads.into_iter().map(|upload| {
        let mut transfer = running.transfer.clone();
        async move { transfer.start_snapshot_import(from(ANN, ask(upload, false))).await }
    });
    let mut tasks = tokio::task::JoinSet::new();
    starts.for_each(|start| drop(tasks.spawn(start)));
    let (mut made, mut refused) = (0, 0);
    while let Some(task) = tasks.join_next().await {
        let task = task.unwrap().unwrap().into_inner().task.unwrap();
        let task = ended(&mut running, &task.task_id).await;
        match task.state() {
            pb::TransferState::Completed => made += 1,
            _ => {
                assert_eq!(task.failure_reason, "QUOTA_EXCEEDED", "{}", task.status_message);
                refused += 1;
            }
        }
    }
    assert_eq!((made, refused), (3, 4));
    running.stop().await;
}
