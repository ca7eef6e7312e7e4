//! Disk files become snapshots, or are refused in words that help.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;

use std::{fs, process::Command};

use harness::{
    ANN, BOB, MIB, Place, assert_same, from, head, header, noise, piece, pieces, reason, sparse,
};
use vmint_api::storage::v1 as pb;

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_disk_comes_back_byte_for_byte() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = sparse(1, 40);
    let parts = pieces(header("", disk.len()), &disk);
    assert!(parts.len() < 20, "holes are not sent");
    let answer = running.send(ANN, parts).await.unwrap();
    assert_eq!(answer.format, "raw");
    let snapshot = answer.snapshot.unwrap();
    assert_eq!(snapshot.state(), pb::SnapshotState::Completed);
    assert_eq!(snapshot.size_bytes, disk.len() as i64);
    assert_eq!(snapshot.size_gib, 1);
    assert_eq!(snapshot.consistency, "imported");
    let new = snapshot.new_bytes as usize;
    assert!((2 * MIB..3 * MIB).contains(&new), "{new} bytes are new, of 2 MiB that hold data");
    assert_same(&running.content(&snapshot.snapshot_id).await, &disk);

    // Known content costs nothing, and is still a snapshot of its own.
    let again = running.import(&disk).await;
    assert_ne!(again.snapshot_id, snapshot.snapshot_id);
    assert_eq!(again.new_bytes, 0);
    // Another account shares nothing that could be told from outside.
    let parts = pieces(header("raw", disk.len()), &disk);
    let theirs = running.send(BOB, parts).await.unwrap().snapshot.unwrap();
    assert_eq!(theirs.new_bytes, snapshot.new_bytes);
    let request = pb::GetSnapshotRequest { snapshot_id: snapshot.snapshot_id };
    let refused = running.users.get_snapshot(from(BOB, request)).await.unwrap_err();
    assert_eq!(reason(&refused), "SNAPSHOT_NOT_FOUND");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qcow2_disk_comes_back_byte_for_byte() {
    let place = Place::new();
    let disk = sparse(2, 24);
    let raw = place.path().join("disk.raw");
    let qcow2 = place.path().join("disk.qcow2");
    fs::write(&raw, &disk).unwrap();
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-c", "-f", "raw", "-O", "qcow2"]).args([&raw, &qcow2]);
    match convert.status() {
        Ok(status) => assert!(status.success()),
        Err(error) => {
            eprintln!("SKIPPED: qemu-img does not start: {error}");
            return;
        }
    }
    let mut running = place.start().await;
    let file = fs::read(&qcow2).unwrap();
    let answer = running.send(ANN, pieces(header("", file.len()), &file)).await.unwrap();
    assert_eq!(answer.format, "qcow2");
    let snapshot = answer.snapshot.unwrap();
    assert_eq!(snapshot.size_bytes, disk.len() as i64);
    assert_same(&running.content(&snapshot.snapshot_id).await, &disk);
    // The same content from another format is the same blocks.
    assert_eq!(running.import(&disk).await.new_bytes, 0);

    // Declared as what it is not.
    let refused = running.send(ANN, pieces(header("raw", file.len()), &file)).await.unwrap_err();
    assert_eq!(reason(&refused), "IMAGE_FORMAT_INVALID");
    // Cut off in the middle.
    let short = &file[..file.len() / 2];
    let refused = running.send(ANN, pieces(header("", short.len()), short)).await.unwrap_err();
    assert_eq!(reason(&refused), "IMAGE_DAMAGED");
    // It names a file of the host's.
    let mut hostile = file.clone();
    hostile[8..16].copy_from_slice(&0x200_u64.to_be_bytes());
    hostile[16..20].copy_from_slice(&11_u32.to_be_bytes());
    hostile[0x200..0x20b].copy_from_slice(b"/etc/passwd");
    let refused = running.send(ANN, pieces(header("", hostile.len()), &hostile)).await.unwrap_err();
    assert_eq!(reason(&refused), "IMAGE_UNSAFE", "{refused:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_sent_again_is_the_first_one() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = sparse(3, 4);
    let ask = |request_id: &str, disk: &[u8]| {
        let header =
            pb::ImportHeader { request_id: request_id.to_owned(), ..header("raw", disk.len()) };
        pieces(header, disk)
    };
    let first = running.send(ANN, ask("one", &disk)).await.unwrap();
    assert_eq!(running.send(ANN, ask("one", &disk)).await.unwrap(), first);
    // The same id over the same sizes, but other bytes.
    let other = sparse(4, 4);
    let refused = running.send(ANN, ask("one", &other)).await.unwrap_err();
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    // Another account's ids are its own.
    let theirs = running.send(BOB, ask("one", &other)).await.unwrap();
    assert_ne!(theirs.snapshot.unwrap().snapshot_id, first.snapshot.clone().unwrap().snapshot_id);
    // A restart forgets nothing.
    running.stop().await;
    let mut running = place.start().await;
    assert_eq!(running.send(ANN, ask("one", &disk)).await.unwrap(), first);
    let request = from(ANN, pb::ListSnapshotsRequest::default());
    let listed = running.users.list_snapshots(request).await.unwrap().into_inner();
    assert_eq!(listed.snapshots, [first.snapshot.unwrap()]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_and_leaves_nothing() {
    let place = Place::new();
    let mut running = place.start().await;
    let data = noise(5, 4096);
    let whole = |bytes| head(header("raw", bytes));
    let sequences = [
        vec![],
        vec![piece(0, &data)],
        vec![whole(8192), whole(8192)],
        vec![whole(8192), piece(4096, &data), piece(0, &data)],
        vec![whole(8192), piece(0, &data), piece(4095, &data)],
        vec![whole(8192), piece(4097, &data)],
        vec![whole(8192), piece(-1, &data)],
        vec![whole(8192), piece(i64::MAX, &data)],
        vec![whole(8192), pb::ImportSnapshotRequest { part: None }],
    ];
    for (n, parts) in sequences.into_iter().enumerate() {
        let refused = running.send(ANN, parts).await.unwrap_err();
        assert_eq!(reason(&refused), "IMPORT_SEQUENCE_INVALID", "sequence {n}");
    }
    let refused = running.send(ANN, vec![whole(0)]).await.unwrap_err();
    assert_eq!(reason(&refused), "FIELD_INVALID");
    let refused = running.send(ANN, vec![head(header("iso", 4096))]).await.unwrap_err();
    assert_eq!(reason(&refused), "FIELD_INVALID");
    let refused = running.send(ANN, vec![whole(81 << 30)]).await.unwrap_err();
    assert_eq!(reason(&refused), "IMAGE_TOO_LARGE");
    let request = from(ANN, pb::ListSnapshotsRequest::default());
    let listed = running.users.list_snapshots(request).await.unwrap().into_inner();
    assert!(listed.snapshots.is_empty());
    assert_eq!(running.collect().await.chunks, 0);
    assert_eq!(fs::read_dir(place.data().join("staging")).unwrap().count(), 0);
    running.stop().await;
}
