//! What nothing needs is given back, and nothing else.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use harness::{
    ANN, MIB, Place, assert_same, header, image, nbd::Nbd, noise, pieces, reason, saga, snap,
    sparse,
};
use vmint_api::storage::v1 as pb;

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_an_image_needs_stays() {
    let place = Place::new();
    let mut running = place.start().await;
    let snapshot = running.import(&sparse(1, 2)).await.snapshot_id;
    let uses = |n| pb::EnsureSnapshotUseRequest {
        saga: saga(1),
        image_id: image(n),
        snapshot_ids: vec![snapshot.clone()],
        account_id: ANN.to_owned(),
    };
    for n in [1, 2, 2] {
        running.internal.ensure_snapshot_use(uses(n)).await.unwrap();
    }
    let refused = running.delete(&snapshot).await.unwrap_err();
    assert_eq!(reason(&refused), "SNAPSHOT_IN_USE");
    assert!(refused.message().contains(&image(1)), "{}", refused.message());
    let release = |n, delete_snapshots| pb::ReleaseSnapshotUseRequest {
        saga: saga(1),
        image_id: image(n),
        delete_snapshots,
        dry_run: false,
    };
    let answer = running.internal.release_snapshot_use(release(1, true)).await.unwrap();
    assert!(answer.into_inner().deleted_snapshot_ids.is_empty(), "the other image needs it");
    assert!(running.delete(&snapshot).await.is_err());
    let answer = running.internal.release_snapshot_use(release(2, true)).await.unwrap();
    assert_eq!(answer.into_inner().deleted_snapshot_ids, std::slice::from_ref(&snapshot));
    assert_eq!(reason(&running.delete(&snapshot).await.unwrap_err()), "SNAPSHOT_NOT_FOUND");
    assert_eq!(running.collect().await.chunks, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_outlives_its_source() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = sparse(2, 8);
    let source = running.import(&disk).await;
    let doomed = running.import(&noise(99, 5 * MIB)).await;
    let copy = pb::EnsureSnapshotCopyRequest {
        saga: saga(1),
        account_id: ANN.to_owned(),
        copies: vec![pb::SnapshotCopy {
            source_snapshot_id: source.snapshot_id.clone(),
            snapshot_id: snap(1),
        }],
        image_id: image(1),
        description: "a copy".to_owned(),
        ..pb::EnsureSnapshotCopyRequest::default()
    };
    let made = running.internal.ensure_snapshot_copy(copy.clone()).await.unwrap().into_inner();
    assert_eq!(made.snapshots[0].new_bytes, 0);
    let full = running.stats();
    running.delete(&source.snapshot_id).await.unwrap();
    // Asked again without its source, it is still the one that was made.
    let again = running.internal.ensure_snapshot_copy(copy).await.unwrap().into_inner();
    assert_eq!(again, made);
    assert_eq!(running.collect().await.chunks, full.chunks, "all of it is needed");
    running.delete(&doomed.snapshot_id).await.unwrap();
    let left = running.collect().await;
    assert!(left.stored_bytes < full.stored_bytes - 4 * MIB as u64, "{left:?} of {full:?}");
    assert!(left.pack_bytes < full.pack_bytes - 4 * MIB as u64, "{left:?} of {full:?}");
    assert_eq!(left.trash_bytes, 0);
    assert_same(&running.content(&snap(1)).await, &disk);
    running.stop().await;
    // Read from the disk again, and not from memory.
    let mut running = place.start().await;
    assert_same(&running.content(&snap(1)).await, &disk);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_keeps_what_its_deleted_snapshot_held() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = noise(3, 3 * MIB);
    let snapshot = running.import(&disk).await;
    let made = running.attach(1, &snapshot.snapshot_id, true).await;
    running.delete(&snapshot.snapshot_id).await.unwrap();
    running.collect().await;
    assert_same(&Nbd::connect(&made.export_path).read_all(), &disk);
    running.stop().await;
    let mut running = place.start().await;
    running.collect().await;
    assert_same(&Nbd::connect(&made.export_path).read_all(), &disk);
    running.release(1, false).await;
    assert_eq!(running.collect().await.chunks, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn collecting_takes_nothing_from_who_is_at_work() {
    let place = Place::new();
    let mut running = place.start().await;
    let made = {
        let first = running.import(&noise(1, MIB)).await;
        running.attach(1, &first.snapshot_id, true).await
    };
    let collecting = running.storage.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let collector = tokio::spawn(async move {
        let mut rounds = 0;
        while !stopped.load(Ordering::Acquire) {
            collecting.collect().await.unwrap();
            rounds += 1;
        }
        rounds
    });
    let mut kept = Vec::new();
    let mut machine = Nbd::connect(&made.export_path);
    for n in 1..=8_u64 {
        // Two at once, one of which will go; the third is frozen.
        let (stays, goes) = (noise(100 + n, 2 * MIB), noise(200 + n, 2 * MIB));
        let parts = pieces(header("raw", goes.len()), &goes);
        let mut users = running.users.clone();
        let request = harness::from(ANN, tokio_stream::iter(parts));
        let other = tokio::spawn(async move { users.import_snapshot(request).await.unwrap() });
        let snapshot = running.import(&stays).await;
        let other = other.await.unwrap().into_inner().snapshot.unwrap();
        running.delete(&other.snapshot_id).await.unwrap();
        kept.push((snapshot.snapshot_id, stays));
        machine.write(0, &noise(300 + n, 64 << 10));
        let frozen = running.freeze(1, n).await;
        let mut content = noise(1, MIB);
        content[..64 << 10].copy_from_slice(&noise(300 + n, 64 << 10));
        kept.push((frozen.snapshot_id, content));
    }
    stop.store(true, Ordering::Release);
    assert!(collector.await.unwrap() > 0);
    running.collect().await;
    for (snapshot, content) in &kept {
        assert_same(&running.content(snapshot).await, content);
    }
    assert_eq!(running.stats().damaged, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_one_commit_holds_are_released_by_one_call() {
    let place = Place::new();
    let mut running = place.start().await;
    let source = running.import(&sparse(3, 2)).await.snapshot_id;
    let copies = |range: std::ops::Range<u64>| pb::EnsureSnapshotCopyRequest {
        saga: saga(1),
        account_id: ANN.to_owned(),
        copies: range
            .map(|n| pb::SnapshotCopy { source_snapshot_id: source.clone(), snapshot_id: snap(n) })
            .collect(),
        image_id: image(1),
        ..Default::default()
    };
    let refused = running.internal.ensure_snapshot_copy(copies(0..31)).await.unwrap_err();
    assert_eq!(reason(&refused), "FIELD_INVALID");
    for n in 0..5 {
        running.internal.ensure_snapshot_copy(copies(n * 30..n * 30 + 30)).await.unwrap();
    }
    let ids: Vec<_> = (0..150).map(snap).collect();
    let needed = pb::EnsureSnapshotUseRequest {
        saga: saga(1),
        image_id: image(2),
        snapshot_ids: ids.clone(),
        account_id: ANN.to_owned(),
    };
    let needed = running.internal.ensure_snapshot_use(needed).await.unwrap().into_inner();
    assert_eq!(needed.snapshots.len(), ids.len());
    let sold = pb::EnsureSnapshotProductCodesRequest {
        saga: saga(1),
        snapshot_ids: ids.clone(),
        product_codes: vec!["abcdefghijklmnopqrstuvwxy".to_owned()],
    };
    running.internal.ensure_snapshot_product_codes(sold).await.unwrap();
    let marked = running.settled(ANN, &snap(149)).await;
    assert_eq!(marked.product_codes.len(), 1);

    // One image lets go of all; the other takes all but the last ones with it.
    let release = |n, delete_snapshots| pb::ReleaseSnapshotUseRequest {
        saga: saga(1),
        image_id: image(n),
        delete_snapshots,
        dry_run: false,
    };
    running.internal.release_snapshot_use(release(1, false)).await.unwrap();
    let some =
        |ids: &[String]| pb::ReleaseSnapshotsRequest { saga: saga(1), snapshot_ids: ids.to_vec() };
    for _ in 0..2 {
        // The second time most of them are gone already.
        running.internal.release_snapshots(some(&ids[..120])).await.unwrap();
    }
    let deleted = running.internal.release_snapshot_use(release(2, true)).await.unwrap();
    let mut deleted = deleted.into_inner().deleted_snapshot_ids;
    deleted.sort_unstable();
    assert_eq!(deleted, ids[120..]);

    // And one instance of all its volumes.
    let mut wanted = harness::volumes(0, &source);
    for round in 0..2 {
        let one = &harness::volumes(0, &source).volumes[0];
        wanted.volumes = (round * 20..round * 20 + 20)
            .map(|n| pb::NewVolume {
                volume_id: harness::volume(n),
                device_name: format!("/dev/sd{n}"),
                boot: n == 0,
                ..one.clone()
            })
            .collect();
        running.internal.ensure_volumes(wanted.clone()).await.unwrap();
    }
    assert_eq!(running.release(0, true).await.len(), 40);
    running.delete(&source).await.unwrap();
    assert_eq!(running.collect().await.chunks, 0);
    running.stop().await;
}
