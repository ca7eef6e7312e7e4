//! Volumes: served, written, frozen, given back.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;

use std::{
    fs,
    path::Path,
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use harness::{
    ANN, BOB, MIB, Place, assert_same, freeze, from, head, header, image, instance, nbd::Nbd,
    noise, piece, reason, saga, snap, sparse, volume, volumes,
};
use vmint_api::storage::v1 as pb;

const CODE: &str = "0123456789abcdefghijklmno";
const OTHER: &str = "onmlkjihgfedcba9876543210";

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_asked_for_twice_is_one_volume() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = sparse(1, 32);
    let snapshot = running.import(&disk).await;
    let first = running.attach(1, &snapshot.snapshot_id, true).await;
    let shown = first.volume.clone().unwrap();
    assert_eq!(shown.state(), pb::VolumeState::InUse);
    assert_eq!(shown.instance_id, instance(1));
    assert_eq!(shown.size_bytes, disk.len() as i64);
    let mut machine = Nbd::connect(&first.export_path);
    machine.write(MIB as u64 * 7, b"written before it is asked for again");
    let again = running.attach(1, &snapshot.snapshot_id, true).await;
    assert_eq!(again.export_path, first.export_path);
    assert_eq!(&machine.read(MIB as u64 * 7, 7), b"written");
    // A second volume over the same snapshot shows nothing of it.
    let other = running.attach(2, &snapshot.snapshot_id, true).await;
    assert_ne!(other.export_path, first.export_path);
    assert_same(&Nbd::connect(&other.export_path).read_all(), &disk);
    assert_same(&running.content(&snapshot.snapshot_id).await, &disk);

    let mut wanted = volumes(3, &snap(0xabc));
    let refused = running.internal.ensure_volumes(wanted.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "SNAPSHOT_NOT_FOUND");
    wanted.volumes[0].snapshot_id = String::new();
    let refused = running.internal.ensure_volumes(wanted.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "VOLUME_SIZE_INVALID");
    wanted.volumes[0].volume_id = "vol-1".to_owned();
    let refused = running.internal.ensure_volumes(wanted).await.unwrap_err();
    assert_eq!(reason(&refused), "FIELD_INVALID");
    assert!(running.volume(3).await.is_none());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grown_volume_reads_zero_behind_its_snapshot() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = sparse(2, 3);
    let snapshot = running.import(&disk).await;
    let mut wanted = volumes(1, &snapshot.snapshot_id);
    wanted.volumes[0].size_gib = 1;
    let made = running.internal.ensure_volumes(wanted).await.unwrap().into_inner();
    let mut machine = Nbd::connect(&made.volumes[0].export_path);
    assert_eq!(machine.size, 1 << 30);
    assert_same(&machine.read(0, disk.len()), &disk);
    assert_same(&machine.read(disk.len() as u64, MIB), &vec![0; MIB]);
    let end = (1 << 30) - 4096;
    machine.write(end, &noise(9, 4096));
    // A snapshot of it holds the whole of it.
    let frozen = running.freeze(1, 1).await;
    assert_eq!(frozen.size_bytes, 1 << 30);
    let over = running.attach(2, &frozen.snapshot_id, true).await;
    let mut second = Nbd::connect(&over.export_path);
    assert_same(&second.read(0, disk.len()), &disk);
    assert_same(&second.read(end, 4096), &noise(9, 4096));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_of_one_moment_while_writes_go_on() {
    let place = Place::new();
    let mut running = place.start().await;
    let mut disk = sparse(3, 48);
    let snapshot = running.import(&disk).await;
    let made = running.attach(1, &snapshot.snapshot_id, true).await;
    let mut machine = Nbd::connect(&made.export_path);
    let change = noise(33, 64 << 10);
    machine.write(20 * MIB as u64, &change);
    disk[20 * MIB..20 * MIB + change.len()].copy_from_slice(&change);

    // Somebody counts up in two places, always the first one first.
    let stop = Arc::new(AtomicBool::new(false));
    let (ended, path) = (stop.clone(), made.export_path.clone());
    let writer = thread::spawn(move || {
        let mut machine = Nbd::connect(path);
        let mut count = 0_u64;
        while !ended.load(Ordering::Acquire) {
            count += 1;
            machine.write(30 * MIB as u64, &count.to_be_bytes());
            machine.write(40 * MIB as u64, &count.to_be_bytes());
        }
        count
    });
    let mut frozen = Vec::new();
    for into in 1..=3 {
        frozen.push(running.freeze(1, into).await);
    }
    stop.store(true, Ordering::Release);
    let last = writer.join().unwrap();
    assert!(last > 0);
    let mut before = 0;
    for snapshot in &frozen {
        assert_eq!(snapshot.state(), pb::SnapshotState::Completed);
        assert_eq!(snapshot.consistency, "crash-consistent");
        let mut content = running.content(&snapshot.snapshot_id).await;
        let count = |at: usize| u64::from_be_bytes(content[at..at + 8].try_into().unwrap());
        let (first, second) = (count(30 * MIB), count(40 * MIB));
        assert!(first == second || first == second + 1, "{first} and {second}");
        assert!((before..=last).contains(&first), "{first} after {before}");
        before = first;
        content[30 * MIB..30 * MIB + 8].fill(0);
        content[40 * MIB..40 * MIB + 8].fill(0);
        assert_same(&content, &disk);
    }
    // The volume itself lost nothing.
    let seen = machine.read(40 * MIB as u64, 8);
    assert_eq!(seen, last.to_be_bytes());

    // What was not changed again costs nothing again.
    let quiet = running.freeze(1, 9).await;
    machine.write(25 * MIB as u64, b"a word");
    let small = running.freeze(1, 10).await;
    assert!(quiet.new_bytes < MIB as i64, "{}", quiet.new_bytes);
    assert!(small.new_bytes < MIB as i64, "{}", small.new_bytes);
    // Asked again, it is the one that was made.
    assert_eq!(running.freeze(1, 10).await, small);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_freezes_of_one_volume_at_once_agree() {
    let place = Place::new();
    let mut running = place.start().await;
    let made = {
        let mut wanted = volumes(1, "");
        wanted.volumes[0].size_gib = 1;
        running.internal.ensure_volumes(wanted).await.unwrap().into_inner().volumes.remove(0)
    };
    let mut machine = Nbd::connect(&made.export_path);
    let content = noise(77, 3 * MIB);
    machine.write(0, &content);
    let mut going = Vec::new();
    for into in 1..=6 {
        let mut internal = running.internal.clone();
        going.push(tokio::spawn(async move {
            internal.ensure_volume_snapshots(freeze(&[(1, into)])).await.unwrap()
        }));
    }
    for one in going {
        one.await.unwrap();
    }
    for into in 1..=6 {
        let request = pb::ReleaseSnapshotsRequest { saga: saga(1), snapshot_ids: vec![snap(into)] };
        running.internal.release_snapshots(request).await.unwrap();
    }
    // All snapshots are gone; what lies under the volume is not, also not for
    // a service that only has the records to go by.
    running.collect().await;
    assert_same(&machine.read(0, content.len()), &content);
    drop(machine);
    running.stop().await;
    let running = place.start().await;
    running.collect().await;
    assert_same(&Nbd::connect(&made.export_path).read(0, content.len()), &content);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn product_codes_follow_the_data() {
    let place = Place::new();
    let mut running = place.start().await;
    let snapshot = running.import(&sparse(4, 2)).await;
    let request = pb::EnsureSnapshotProductCodesRequest {
        saga: saga(1),
        snapshot_ids: vec![snapshot.snapshot_id.clone(), snap(0xdead)],
        product_codes: vec![CODE.to_owned()],
    };
    running.internal.ensure_snapshot_product_codes(request).await.unwrap();
    let mut wanted = volumes(1, &snapshot.snapshot_id);
    wanted.volumes[0].product_codes = vec![OTHER.to_owned()];
    running.internal.ensure_volumes(wanted).await.unwrap();
    let both = [CODE, OTHER];
    assert_eq!(running.volume(1).await.unwrap().product_codes, both);
    let frozen = running.freeze(1, 1).await;
    assert_eq!(frozen.product_codes, both);
    let copy = pb::EnsureSnapshotCopyRequest {
        saga: saga(1),
        account_id: BOB.to_owned(),
        copies: vec![pb::SnapshotCopy {
            source_snapshot_id: frozen.snapshot_id,
            snapshot_id: snap(2),
        }],
        image_id: image(2),
        description: String::new(),
        ..pb::EnsureSnapshotCopyRequest::default()
    };
    let copy = running.internal.ensure_snapshot_copy(copy).await.unwrap().into_inner();
    assert_eq!(copy.snapshots[0].product_codes, both);
    assert_eq!(copy.snapshots[0].account_id, BOB);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_goes_or_stays_as_was_said() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = sparse(5, 2);
    let snapshot = running.import(&disk).await;
    for (n, goes) in [(1, true), (2, false), (3, false)] {
        let made = running.attach(n, &snapshot.snapshot_id, goes).await;
        let mut machine = Nbd::connect(&made.export_path);
        machine.write(0, &[n as u8; 512]);
        let undo = n == 3;
        let deleted = running.release(n, undo).await;
        let stays = n == 2;
        assert_eq!(deleted, if stays { vec![] } else { vec![volume(n)] });
        assert!(!Path::new(&made.export_path).exists(), "its socket is gone");
        assert_eq!(place.volume_dir(n).exists(), stays);
        // Asked again, there is nothing left to do.
        assert!(running.release(n, undo).await.is_empty());
    }
    let kept = running.volume(2).await.unwrap();
    assert_eq!(kept.state(), pb::VolumeState::Available);
    assert_eq!(kept.instance_id, "");
    assert!(running.volume(1).await.is_none());
    // It holds what was written, without a machine and after a restart.
    running.stop().await;
    let mut running = place.start().await;
    let frozen = running.freeze(2, 1).await;
    assert_eq!(frozen.consistency, "stopped");
    let mut wanted = disk.clone();
    wanted[..512].fill(2);
    assert_same(&running.content(&frozen.snapshot_id).await, &wanted);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_gateway_can_do_nothing() {
    let place = Place::new();
    let mut running = place.start().await;
    let snapshot = running.import(&sparse(6, 2)).await;
    let made = running.attach(1, &snapshot.snapshot_id, true).await;
    let mut machine = Nbd::connect(&made.export_path);
    let mut newer = freeze(&[(1, 1)]);
    newer.saga = saga(5);
    running.internal.ensure_volume_snapshots(newer).await.unwrap();

    let internal = &mut running.internal;
    let release =
        pb::ReleaseVolumesRequest { saga: saga(4), instance_ids: vec![instance(1)], undo: true };
    let refused = internal.release_volumes(release).await.unwrap_err();
    assert_eq!(reason(&refused), "SAGA_FENCED");
    // Above all, it pulled no plug.
    machine.write(0, b"still there");
    assert_eq!(&machine.read(0, 11), b"still there");
    assert!(Path::new(&made.export_path).exists());
    let mut launch = volumes(2, &snapshot.snapshot_id);
    launch.saga = saga(4);
    assert_eq!(reason(&internal.ensure_volumes(launch).await.unwrap_err()), "SAGA_FENCED");
    let mut late = freeze(&[(1, 2)]);
    late.saga = saga(4);
    assert_eq!(reason(&internal.ensure_volume_snapshots(late).await.unwrap_err()), "SAGA_FENCED");
    let gone = pb::ReleaseSnapshotsRequest { saga: saga(4), snapshot_ids: vec![snap(1)] };
    assert_eq!(reason(&internal.release_snapshots(gone).await.unwrap_err()), "SAGA_FENCED");
    let found = pb::BatchGetSnapshotsRequest { snapshot_ids: vec![snap(1), snap(2)] };
    let found = internal.batch_get_snapshots(found).await.unwrap().into_inner().snapshots;
    assert_eq!(found.len(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_over_64_gib_is_made_as_one_over_1_gib() {
    let place = Place::new();
    let mut running = place.start().await;
    let (start, end) = (noise(8, MIB), noise(9, MIB));
    for (n, gib) in [(1_u64, 1_usize), (2, 64)] {
        let bytes = gib << 30;
        let mut parts = vec![head(header("raw", bytes)), piece(0, &start)];
        parts.push(piece((bytes - MIB) as i64, &end));
        let snapshot = running.send(ANN, parts).await.unwrap().snapshot.unwrap();
        assert_eq!(snapshot.size_gib, gib as i32);
        let stored = snapshot.stored_bytes;
        assert!(stored < 3 * MIB as i64, "{stored} bytes stored");
        let before = running.stats();
        let made = running.attach(n, &snapshot.snapshot_id, true).await;
        let after = running.stats();
        assert_eq!((after.chunks, after.pack_bytes), (before.chunks, before.pack_bytes));
        assert_eq!(after.cache_bytes, before.cache_bytes, "nothing was read");
        let shown = running.volume(n).await.unwrap();
        assert_eq!(shown.size_bytes, bytes as i64);
        assert_eq!(shown.written_bytes, 0);
        let on_disk = allocated(&place.volume_dir(n));
        assert!(on_disk < 2 * MIB as u64, "{gib} GiB take {on_disk} bytes");
        let mut machine = Nbd::connect(&made.export_path);
        assert_eq!(machine.size, bytes as u64);
        assert_same(&machine.read((bytes - MIB) as u64, MIB), &end);
        assert_same(&machine.read((bytes / 2) as u64, MIB), &vec![0; MIB]);
    }
    running.stop().await;
}

/// Bytes that a directory's files take.
fn allocated(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.map(|entry| entry.metadata().unwrap().blocks() * 512).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_accounts_volume_is_not_there() {
    let place = Place::new();
    let mut running = place.start().await;
    let snapshot = running.import(&sparse(10, 2)).await;
    running.attach(1, &snapshot.snapshot_id, true).await;
    let mut theirs = freeze(&[(1, 1)]);
    theirs.account_id = BOB.to_owned();
    let refused = running.internal.ensure_volume_snapshots(theirs).await.unwrap_err();
    assert_eq!(reason(&refused), "VOLUME_NOT_FOUND");
    let listed = running.users.list_volumes(from(BOB, pb::ListVolumesRequest::default())).await;
    assert!(listed.unwrap().into_inner().volumes.is_empty());
    running.stop().await;
}
