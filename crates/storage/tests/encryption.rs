//! Encrypted snapshots and volumes, and keys that go.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;

use std::{collections::HashSet, fs, path::Path};

use harness::{
    ANN, BOB, MIB, Place, Running, assert_same, from, image,
    nbd::Nbd,
    noise, reason, saga,
    sealed::{copy, new_key},
    snap, sparse, volume, volumes,
};
use vmint_api::storage::v1 as pb;

async fn unused(running: &mut Running, image_number: u64) {
    let request = pb::ReleaseSnapshotUseRequest {
        saga: saga(1),
        image_id: image(image_number),
        delete_snapshots: false,
        dry_run: false,
    };
    running.internal.release_snapshot_use(request).await.unwrap();
}

/// Every file under `dir`.
fn files(dir: &Path, all: &mut Vec<Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, all);
        } else if path.is_file() {
            all.push(fs::read(path).unwrap());
        }
    }
}

fn on_disk(dir: &Path, secret: &[u8]) -> bool {
    let windows: HashSet<&[u8]> = secret.windows(32).collect();
    // A look at three bytes spares most of the hashing.
    let start = |w: &[u8]| usize::from(w[0]) << 16 | usize::from(w[1]) << 8 | usize::from(w[2]);
    let mut starts = vec![false; 1 << 24];
    windows.iter().for_each(|window| starts[start(window)] = true);
    let mut all = Vec::new();
    files(dir, &mut all);
    all.iter().any(|file| file.windows(32).any(|w| starts[start(w)] && windows.contains(w)))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_to_an_encrypted_volume_is_nowhere_readable() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = sparse(1, 4);
    let source = running.import(&disk).await;
    assert!(!source.encrypted && source.kms_key_id.is_empty());
    let key = new_key(&mut running, ANN).await;
    let made = copy(&mut running, ANN, &source.snapshot_id, 1, &key).await.unwrap();
    assert_eq!((made.encrypted, &made.kms_key_id), (true, &key));
    assert_same(&running.content(&snap(1)).await, &disk);

    let exported = running.attach(7, &snap(1), false).await;
    let shown = exported.volume.unwrap();
    assert_eq!((shown.encrypted, &shown.kms_key_id), (true, &key));
    let secret = noise(77, 300_000);
    let mut machine = Nbd::connect(&exported.export_path);
    machine.write(MIB as u64 + 512, &secret);
    machine.flush();
    let frozen = running.freeze(7, 2).await;
    assert_eq!((frozen.encrypted, &frozen.kms_key_id), (true, &key));
    machine.write(2 * MIB as u64 + 512, &secret);
    machine.flush();
    assert!(!on_disk(&place.data(), &secret));
    // The import itself lies there: the search finds what there is.
    assert!(on_disk(&place.data(), &disk[..MIB]));
    drop(machine);
    running.stop().await;

    // After a restart, with the key read from its file.
    let mut running = place.start().await;
    let mut wanted = disk.clone();
    wanted[MIB + 512..MIB + 512 + secret.len()].copy_from_slice(&secret);
    assert_same(&running.content(&snap(2)).await, &wanted);
    let at = running.attach(7, &snap(1), false).await;
    wanted[2 * MIB + 512..2 * MIB + 512 + secret.len()].copy_from_slice(&secret);
    assert_same(&Nbd::connect(&at.export_path).read_all(), &wanted);
    assert!(!on_disk(&place.data(), &secret));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_anothers_is_under_ones_own_key() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = sparse(1, 4);
    let source = running.import(&disk).await.snapshot_id;
    let ann = copy(&mut running, ANN, &source, 1, "").await.unwrap();
    let bob = copy(&mut running, BOB, &snap(1), 2, "").await.unwrap();
    assert!(bob.encrypted && bob.kms_key_id != ann.kms_key_id);
    let default = |account| from(account, pb::GetDefaultKeyRequest {});
    let key = running.keys.get_default_key(default(BOB)).await.unwrap().into_inner().key.unwrap();
    assert!(key.default_key && key.kms_key_id == bob.kms_key_id);
    // Ann's own copy costs nothing; another key of hers makes another lineage.
    let before = running.stats().stored_bytes;
    let same = copy(&mut running, ANN, &snap(1), 3, "").await.unwrap();
    assert_eq!((same.kms_key_id, running.stats().stored_bytes), (ann.kms_key_id.clone(), before));
    let other = new_key(&mut running, ANN).await;
    let anew = copy(&mut running, ANN, &snap(1), 4, &other).await.unwrap();
    assert_eq!(anew.kms_key_id, other);
    assert!(running.stats().stored_bytes > before + MIB as u64);
    let foreign = copy(&mut running, BOB, &source, 5, &other).await.unwrap_err();
    assert_eq!(reason(&foreign), "KEY_NOT_FOUND");
    let request = pb::GetKeyRequest { kms_key_id: other };
    let hidden = running.keys.get_key(from(BOB, request)).await.unwrap_err();
    assert_eq!(reason(&hidden), "KEY_NOT_FOUND");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_key_begins_nothing_and_ends_nothing() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = sparse(1, 4);
    let source = running.import(&disk).await.snapshot_id;
    let key = new_key(&mut running, ANN).await;
    copy(&mut running, ANN, &source, 1, &key).await.unwrap();
    let exported = running.attach(7, &snap(1), true).await;
    let disable = pb::DisableKeyRequest { kms_key_id: key.clone(), request_id: String::new() };
    let off = running.keys.disable_key(from(ANN, disable)).await.unwrap().into_inner().key;
    assert_eq!(off.unwrap().state(), pb::KeyState::Disabled);
    let refused = running.internal.ensure_volumes(volumes(8, &snap(1))).await.unwrap_err();
    assert_eq!(reason(&refused), "KEY_NOT_USABLE");
    let refused = copy(&mut running, ANN, &source, 2, &key).await.unwrap_err();
    assert_eq!(reason(&refused), "KEY_NOT_USABLE");
    assert_same(&Nbd::connect(&exported.export_path).read_all(), &disk);
    // Collecting and a restart need no leave either.
    running.collect().await;
    running.stop().await;
    let mut running = place.start().await;
    let exported = running.attach(7, &snap(1), true).await;
    assert_same(&Nbd::connect(&exported.export_path).read_all(), &disk);
    let enable = pb::EnableKeyRequest { kms_key_id: key, request_id: String::new() };
    running.keys.enable_key(from(ANN, enable)).await.unwrap();
    running.attach(8, &snap(1), true).await;
    running.stop().await;
}

async fn destroy(
    running: &mut Running,
    n: u64,
    dry_run: bool,
) -> Result<pb::DestroySnapshotDataResponse, tonic::Status> {
    let request = pb::DestroySnapshotDataRequest {
        snapshot_id: snap(n),
        dry_run,
        request_id: format!("{n} {dry_run}"),
    };
    Ok(running.keys.destroy_snapshot_data(from(ANN, request)).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn destroyed_data_are_never_read_again() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = sparse(1, 4);
    let source = running.import(&disk).await.snapshot_id;
    copy(&mut running, ANN, &source, 1, "").await.unwrap();
    running.attach(7, &snap(1), false).await;
    running.freeze(7, 2).await;
    let needed = destroy(&mut running, 2, true).await.unwrap_err();
    assert_eq!(reason(&needed), "SNAPSHOT_IN_USE");
    unused(&mut running, 1).await;
    unused(&mut running, 2).await;
    let attached = destroy(&mut running, 2, false).await.unwrap_err();
    assert_eq!(reason(&attached), "DATA_IN_USE");
    assert_eq!(running.release(7, false).await, [""; 0]);
    let would = destroy(&mut running, 2, true).await.unwrap();
    assert_eq!(would.snapshot_ids, [snap(1), snap(2)]);
    assert_eq!(would.volume_ids, [volume(7)]);

    // The provider fails on the way: what was decided is done at the next start.
    let data_keys = place.path().join("storage-keys").join("data");
    let file = fs::read_dir(&data_keys).unwrap().next().unwrap().unwrap().path();
    let wrapped = fs::read(&file).unwrap();
    assert!(!on_disk(&place.data(), &wrapped), "a copy of the data key is in the records");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(destroy(&mut running, 2, false).await.is_err());
    let refused = running.internal.ensure_volumes(volumes(8, &snap(1))).await.unwrap_err();
    assert_eq!(reason(&refused), "SNAPSHOT_NOT_COMPLETED");
    running.stop().await;
    fs::remove_dir(&file).unwrap();
    fs::write(&file, &wrapped).unwrap();
    let mut running = place.start().await;
    assert!(!file.exists());
    // Asked again, the same answer.
    assert_eq!(destroy(&mut running, 2, false).await.unwrap(), would);
    for n in [1, 2] {
        let request = pb::GetSnapshotRequest { snapshot_id: snap(n) };
        let found = running.users.get_snapshot(from(ANN, request)).await.unwrap().into_inner();
        let found = found.snapshot.unwrap();
        assert_eq!(found.state(), pb::SnapshotState::Error);
        assert!(found.state_reason.contains("destroyed"), "{}", found.state_reason);
    }
    assert!(running.volume(7).await.is_none());
    assert!(!place.volume_dir(7).exists());
    // Only the import is left.
    running.delete(&source).await.unwrap();
    assert_eq!(running.collect().await.chunks, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_goes_on_its_day_unless_a_machine_needs_it() {
    let place = Place::new();
    let mut running = place.start().await;
    let source = running.import(&sparse(1, 4)).await.snapshot_id;
    let key = new_key(&mut running, ANN).await;
    copy(&mut running, ANN, &source, 1, &key).await.unwrap();
    running.attach(7, &snap(1), true).await;
    let schedule = |days| {
        let request = pb::ScheduleKeyDeletionRequest {
            kms_key_id: key.clone(),
            pending_days: days,
            request_id: String::new(),
        };
        from(ANN, request)
    };
    let refused = running.keys.schedule_key_deletion(schedule(3)).await.unwrap_err();
    assert_eq!(reason(&refused), "FIELD_INVALID");
    let due = running.keys.schedule_key_deletion(schedule(7)).await.unwrap().into_inner();
    let due = due.key.unwrap();
    assert_eq!(due.state(), pb::KeyState::PendingDeletion);
    let due_ms = due.deletion_time.unwrap().seconds as u64 * 1000;
    let state = async |running: &mut Running| {
        let request = pb::GetKeyRequest { kms_key_id: key.clone() };
        let found = running.keys.get_key(from(ANN, request)).await.unwrap().into_inner();
        found.key.unwrap().state()
    };
    running.storage.tend_keys_at(due_ms - 5000).await.unwrap();
    running.storage.tend_keys_at(due_ms + 5000).await.unwrap();
    assert_eq!(state(&mut running).await, pb::KeyState::PendingDeletion);
    running.release(7, true).await;
    running.storage.tend_keys_at(due_ms + 5000).await.unwrap();
    assert_eq!(state(&mut running).await, pb::KeyState::Destroyed);
    let kept = place.path().join("storage-keys");
    for folder in ["keys", "data"] {
        let left = fs::read_dir(kept.join(folder)).unwrap().count();
        assert_eq!(left, 0, "{folder}");
    }
    let refused = running.internal.ensure_volumes(volumes(9, &snap(1))).await.unwrap_err();
    assert_eq!(reason(&refused), "SNAPSHOT_NOT_COMPLETED");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_key_goes_with_the_last_that_needs_it() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = noise(1, MIB);
    let source = running.import(&disk).await.snapshot_id;
    let keys = || {
        let mut found = Vec::new();
        let mut dirs = vec![place.path().join("storage-keys")];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    };
    let copy = |source: &str| pb::CopySnapshotRequest {
        source_snapshot_id: source.to_owned(),
        encrypted: true,
        ..Default::default()
    };
    let sealed = running.snapshots.copy_snapshot(from(ANN, copy(&source))).await.unwrap();
    let sealed = sealed.into_inner().snapshot.unwrap();
    assert!(sealed.encrypted);
    let sealed = running.settled(ANN, &sealed.snapshot_id).await.snapshot_id;
    let with = keys();
    // A second snapshot and a volume of the same lineage.
    let again = running.snapshots.copy_snapshot(from(ANN, copy(&sealed))).await.unwrap();
    let again = again.into_inner().snapshot.unwrap().snapshot_id;
    running.attach(1, &sealed, true).await;
    assert_eq!(keys(), with, "one lineage, one key");
    running.delete(&sealed).await.unwrap();
    assert_eq!(keys(), with, "another snapshot needs it");
    running.delete(&again).await.unwrap();
    assert_eq!(keys(), with, "the volume needs it");
    running.freeze(1, 5).await;
    running.settled(ANN, &snap(5)).await;
    running.release(1, false).await;
    assert_eq!(keys(), with, "a snapshot of the volume needs it");
    assert_same(&running.content(&snap(5)).await, &disk);
    assert_eq!(keys(), with, "and still does when a volume over it has gone");
    let release = pb::ReleaseSnapshotsRequest { saga: saga(1), snapshot_ids: vec![snap(5)] };
    running.internal.release_snapshots(release).await.unwrap();
    assert_eq!(keys().len(), with.len() - 1, "nothing needs it");
    assert_same(&running.content(&source).await, &disk);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_under_another_key_outlives_its_source_and_a_restart() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = noise(7, 24 * MIB);
    let plain = running.import(&disk).await.snapshot_id;
    let copy = |source: &str, key: &str| pb::CopySnapshotRequest {
        source_snapshot_id: source.to_owned(),
        encrypted: true,
        kms_key_id: key.to_owned(),
        request_id: format!("{source} {key}"),
        ..Default::default()
    };
    let begun = running.snapshots.copy_snapshot(from(ANN, copy(&plain, ""))).await.unwrap();
    let first = begun.into_inner().snapshot.unwrap().snapshot_id;
    assert_eq!(running.settled(ANN, &first).await.state(), pb::SnapshotState::Completed);
    let data_keys = || {
        let mut all = Vec::new();
        files(&place.path().join("storage-keys"), &mut all);
        all.len()
    };
    let key = new_key(&mut running, ANN).await;
    let before = data_keys();
    let begun = running.snapshots.copy_snapshot(from(ANN, copy(&first, &key))).await.unwrap();
    let second = begun.into_inner().snapshot.unwrap();
    assert_eq!((second.encrypted, &second.kms_key_id), (true, &key));
    // What it is made of goes, and the service too, wherever it is.
    running.delete(&first).await.unwrap();
    running.stop().await;
    let mut running = place.start().await;
    running.collect().await;
    // Asked again it is the same.
    let again = running.snapshots.copy_snapshot(from(ANN, copy(&first, &key))).await.unwrap();
    assert_eq!(again.into_inner().snapshot.unwrap().snapshot_id, second.snapshot_id);
    let made = running.settled(ANN, &second.snapshot_id).await;
    assert_eq!((made.state(), made.progress_percent), (pb::SnapshotState::Completed, 100));
    assert!(made.new_bytes >= 24 * MIB as i64, "{made:?}");
    assert_same(&running.content(&second.snapshot_id).await, &disk);
    // The data key of what it was made of has gone with the last that needed it.
    running.storage.tend_keys().await.unwrap();
    assert_eq!(data_keys(), before);
    // One that goes before it is made leaves nothing.
    let begun = running.snapshots.copy_snapshot(from(ANN, copy(&plain, &key))).await.unwrap();
    let third = begun.into_inner().snapshot.unwrap().snapshot_id;
    running.delete(&third).await.unwrap();
    for id in [&plain, &second.snapshot_id] {
        running.delete(id).await.unwrap();
    }
    for _ in 0..1000 {
        if running.collect().await.chunks == 0 {
            return running.stop().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("chunks are left: {:?}", running.stats());
}
