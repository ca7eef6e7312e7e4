//! Instance-store bundles are made, read back as the same disk, and refused when anything of them
//! was changed.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;
mod parcel;

use std::fs;

use harness::{ANN, BOB, MIB, Place, assert_same, from, noise, reason, saga, sparse, volume};
use parcel::{BUCKET, PREFIX, asking, at};
use tokio_stream::StreamExt as _;
use vmint_api::storage::v1::{self as pb, InstanceBundleState as State};
use vmint_storage::Quota;

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_becomes_the_same_disk_again() {
    let place = Place::new();
    let mut running = place.start().await;
    running.bucket(ANN, BUCKET).await;
    // Three parts: noise does not compress.
    let disk = [sparse(1, 22), noise(2, 22 * MIB)].concat();
    let snapshot = running.import(&disk).await;
    let request = asking(&snapshot.snapshot_id);
    let task = running.bundled(ANN, request.clone()).await;
    assert_eq!((task.state(), task.parts), (State::Complete, 3), "{}", task.status_message);
    assert_eq!(task.manifest_location, at());
    // Asked again it is the same task, although its objects are there by now.
    let again = running.instance_bundles.create_instance_bundle(from(ANN, request.clone())).await;
    assert_eq!(again.unwrap().into_inner().task.unwrap(), task);
    let other = pb::CreateInstanceBundleRequest { request_id: "other".to_owned(), ..request };
    let refused = running.instance_bundles.create_instance_bundle(from(ANN, other)).await;
    assert_eq!(reason(&refused.unwrap_err()), "INSTANCE_BUNDLE_EXISTS");

    let bundle = running.described(ANN, &at()).await.unwrap();
    assert_eq!(bundle.bundle_id, task.task_id);
    assert_eq!((bundle.size_bytes as usize, bundle.parts), (disk.len(), 3));
    assert_eq!((bundle.bundled_bytes, bundle.encrypted), (task.bundled_bytes, false));
    let request = pb::VerifyInstanceBundleRequest { manifest_location: at() };
    let checked = running.instance_bundles.verify_instance_bundle(from(ANN, request)).await;
    let checked: Vec<_> = checked.unwrap().into_inner().collect().await;
    let checked = checked.into_iter().map(|message| message.unwrap().checked_parts);
    assert_eq!(checked.collect::<Vec<_>>(), [1, 2, 3]);

    // Equal bytes are equal chunks: nothing of it is new.
    let made = running.restored(ANN, &at(), "restore").await.unwrap();
    assert_eq!((made.new_bytes, made.size_bytes), (0, snapshot.size_bytes));
    assert_same(&running.content(&made.snapshot_id).await, &disk);
    assert_eq!(fs::read_dir(place.data().join("fetches")).unwrap().count(), 0);
    // The answer stays when the bundle has gone.
    running.remove_all(ANN, BUCKET).await;
    let again = running.restored(ANN, &at(), "restore").await.unwrap();
    assert_eq!(again.snapshot_id, made.snapshot_id);
    let gone = running.restored(ANN, &at(), "anew").await.unwrap_err();
    assert_eq!(reason(&gone), "OBJECT_NOT_FOUND");
    assert_eq!(fs::read_dir(place.data().join("objects")).unwrap().count(), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_changed_is_refused_with_a_reason() {
    let place = Place::new();
    let mut running = place.start().await;
    running.bucket(ANN, BUCKET).await;
    let disk = noise(3, 12 * MIB);
    let snapshot = running.import(&disk).await.snapshot_id;
    running.bundled(ANN, asking(&snapshot)).await;
    let before = running.snapshot_ids(ANN).await;
    let keys = [0, 1].map(|n| format!("{PREFIX}.part.{n:02}"));
    let manifest_key = format!("{PREFIX}.manifest.xml");
    let manifest = running.object(ANN, &manifest_key).await;

    for at_byte in (0..manifest.len()).step_by(61) {
        let mut changed = manifest.clone();
        changed[at_byte] ^= 1;
        running.put(ANN, BUCKET, &manifest_key, &changed).await;
        let refused = reason(&running.described(ANN, &at()).await.unwrap_err());
        let known = ["INSTANCE_BUNDLE_CHANGED", "INSTANCE_BUNDLE_INVALID"];
        assert!(known.contains(&refused.as_str()), "byte {at_byte}: {refused}");
        let refused = running.restored(ANN, &at(), "").await.unwrap_err();
        assert!(known.contains(&reason(&refused).as_str()), "byte {at_byte}");
    }
    running.put(ANN, BUCKET, &manifest_key, &manifest).await;

    for key in &keys {
        let part = running.object(ANN, key).await;
        for place in [0, 1, part.len() / 2, part.len() - 17, part.len() - 1] {
            let mut changed = part.clone();
            changed[place] ^= 0x10;
            running.put(ANN, BUCKET, key, &changed).await;
            // Its size is right, so only who reads it finds out.
            running.described(ANN, &at()).await.unwrap();
            let task = running.restoring(ANN, &at(), "").await.unwrap();
            assert_eq!(task.state(), pb::TransferState::Deleted);
            assert_eq!(task.failure_reason, "INSTANCE_BUNDLE_CHANGED", "{}", task.status_message);
            assert!(task.status_message.contains(key.as_str()), "{}", task.status_message);
            let request = pb::VerifyInstanceBundleRequest { manifest_location: at() };
            let checked = running.instance_bundles.verify_instance_bundle(from(ANN, request)).await;
            let last = checked.unwrap().into_inner().collect::<Vec<_>>().await.pop().unwrap();
            assert_eq!(reason(&last.unwrap_err()), "INSTANCE_BUNDLE_CHANGED");
        }
        for other in [&part[..part.len() - 1], &[&part[..], b"."].concat()] {
            running.put(ANN, BUCKET, key, other).await;
            let refused = running.described(ANN, &at()).await.unwrap_err();
            assert_eq!(reason(&refused), "INSTANCE_BUNDLE_CHANGED");
        }
        running.delete_object(ANN, key).await;
        let refused = running.restored(ANN, &at(), "").await.unwrap_err();
        assert_eq!(reason(&refused), "INSTANCE_BUNDLE_CHANGED");
        running.put(ANN, BUCKET, key, &part).await;
    }
    // Parts in each other's place.
    let parts = [running.object(ANN, &keys[0]).await, running.object(ANN, &keys[1]).await];
    running.put(ANN, BUCKET, &keys[0], &parts[1]).await;
    let refused = running.described(ANN, &at()).await.unwrap_err();
    assert_eq!(reason(&refused), "INSTANCE_BUNDLE_CHANGED");
    running.put(ANN, BUCKET, &keys[0], &parts[0]).await;
    // Nothing came of all that, and what is whole again serves.
    assert_eq!(running.snapshot_ids(ANN).await, before);
    let made = running.restored(ANN, &at(), "").await.unwrap();
    assert_same(&running.content(&made.snapshot_id).await, &disk);
    // Another object is none.
    running.put(ANN, BUCKET, "x.manifest.xml", &vec![b'x'; 5 << 20]).await;
    let refused = running.described(ANN, &format!("{BUCKET}/x.manifest.xml")).await.unwrap_err();
    assert_eq!(reason(&refused), "INSTANCE_BUNDLE_INVALID");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_makes_and_reads_none() {
    let place = Place::new();
    let mut running = place.start().await;
    running.bucket(ANN, BUCKET).await;
    running.bucket(BOB, "bobs").await;
    let mine = running.import(&noise(4, MIB)).await.snapshot_id;
    let create = async |account: &str, bucket: &str, snapshot: &str| {
        let request =
            pb::CreateInstanceBundleRequest { bucket: bucket.to_owned(), ..asking(snapshot) };
        let mut client = running.instance_bundles.clone();
        reason(&client.create_instance_bundle(from(account, request)).await.unwrap_err())
    };
    assert_eq!(create(BOB, "bobs", &mine).await, "SNAPSHOT_NOT_FOUND");
    assert_eq!(create(ANN, "bobs", &mine).await, "BUCKET_DENIED");
    assert_eq!(create(ANN, "nobodys", &mine).await, "BUCKET_NOT_FOUND");
    let task = running.bundled(ANN, asking(&mine)).await;

    let denied = reason(&running.described(BOB, &at()).await.unwrap_err());
    assert_eq!(denied, "BUCKET_DENIED");
    assert_eq!(reason(&running.restored(BOB, &at(), "").await.unwrap_err()), "BUCKET_DENIED");
    let request = pb::GetInstanceBundleTaskRequest { task_id: task.task_id.clone() };
    let refused = running.instance_bundles.get_instance_bundle_task(from(BOB, request)).await;
    assert_eq!(reason(&refused.unwrap_err()), "TASK_NOT_FOUND");
    let request =
        pb::CancelInstanceBundleTaskRequest { task_id: task.task_id, request_id: String::new() };
    let refused = running.instance_bundles.cancel_instance_bundle_task(from(BOB, request)).await;
    assert_eq!(reason(&refused.unwrap_err()), "TASK_NOT_FOUND");
    // Not even with the objects in a bucket of its own.
    for name in ["manifest.xml", "part.00"] {
        let key = format!("{PREFIX}.{name}");
        let bytes = running.object(ANN, &key).await;
        running.put(BOB, "bobs", &key, &bytes).await;
    }
    let theirs = at().replace(BUCKET, "bobs");
    let denied = reason(&running.described(BOB, &theirs).await.unwrap_err());
    assert_eq!(denied, "INSTANCE_BUNDLE_DENIED");
    let denied = reason(&running.restored(BOB, &theirs, "").await.unwrap_err());
    assert_eq!(denied, "INSTANCE_BUNDLE_DENIED");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_bundled_with_its_codes_and_stays_encrypted() {
    let place = Place::new();
    let mut running = place.start().await;
    running.bucket(ANN, BUCKET).await;
    let disk = sparse(5, 8);
    let source = running.import(&disk).await.snapshot_id;
    let request = pb::EnsureSnapshotProductCodesRequest {
        saga: saga(1),
        snapshot_ids: vec![source.clone()],
        product_codes: vec!["abcdefghijklmnopqrstuvwxy".to_owned()],
    };
    running.internal.ensure_snapshot_product_codes(request).await.unwrap();
    let request = pb::CreateVolumeRequest {
        snapshot_id: source.clone(),
        encrypted: true,
        ..Default::default()
    };
    let made = running.volumes.create_volume(from(ANN, request)).await.unwrap();
    let volume_id = made.into_inner().volume.unwrap().volume_id;
    let before = running.snapshot_ids(ANN).await;
    let request = pb::CreateInstanceBundleRequest {
        volume_id,
        platform: "windows".to_owned(),
        mappings: vec![
            parcel::mapping("ami", "sda1"),
            parcel::mapping("root", "/dev/sda1"),
            parcel::mapping("ephemeral0", "sdb"),
        ],
        ..asking("")
    };
    let task = running.bundled(ANN, request).await;
    assert_eq!(task.state(), State::Complete, "{}", task.status_message);
    assert_eq!(running.snapshot_ids(ANN).await, before, "the snapshot in between has gone");
    let bundle = running.described(ANN, &at()).await.unwrap();
    assert!(bundle.encrypted);
    assert_eq!((bundle.platform.as_str(), bundle.mappings.len()), ("windows", 3));
    assert_eq!(bundle.product_codes, ["abcdefghijklmnopqrstuvwxy"]);
    let made = running.restored(ANN, &at(), "").await.unwrap();
    assert!(made.encrypted);
    assert_eq!(made.product_codes, bundle.product_codes);
    let content = running.content(&made.snapshot_id).await;
    assert_same(&content[..disk.len()], &disk);
    assert!(content[disk.len()..].iter().all(|byte| *byte == 0), "a volume has whole GiB");

    // Without its key it is as good as gone.
    let request =
        pb::DisableKeyRequest { kms_key_id: task.kms_key_id.clone(), ..Default::default() };
    running.keys.disable_key(from(ANN, request)).await.unwrap();
    let task = running.restoring(ANN, &at(), "").await;
    let refused = task.map(|task| task.failure_reason).unwrap_or_else(|status| reason(&status));
    assert_eq!(refused, "KEY_NOT_USABLE");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_early_leaves_nothing() {
    let place = Place::new();
    let quota = Quota { object_bytes: 15 << 20, ..Quota::default() };
    let mut running = place.start_with(quota).await;
    running.bucket(ANN, BUCKET).await;
    let snapshot = running.import(&noise(6, 24 * MIB)).await.snapshot_id;
    let task = running.bundled(ANN, asking(&snapshot)).await;
    assert_eq!((task.state(), task.failure_reason.as_str()), (State::Failed, "QUOTA_EXCEEDED"));
    running.assert_empty(&place).await;

    // So large that it can't be done before it is cancelled, and nothing but zeros.
    let request = pb::CreateVolumeRequest { size_gib: 60, ..Default::default() };
    let made = running.volumes.create_volume(from(ANN, request)).await.unwrap();
    let request = pb::CreateInstanceBundleRequest {
        volume_id: made.into_inner().volume.unwrap().volume_id,
        request_id: "large".to_owned(),
        ..asking("")
    };
    let begun = running.instance_bundles.create_instance_bundle(from(ANN, request)).await.unwrap();
    let task_id = begun.into_inner().task.unwrap().task_id;
    let watch = pb::WatchInstanceBundleTaskRequest { task_id: task_id.clone() };
    let changes = running.instance_bundles.watch_instance_bundle_task(from(ANN, watch)).await;
    let mut changes = changes.unwrap().into_inner();
    while let Some(change) = changes.next().await {
        if change.unwrap().task.unwrap().state() == State::Bundling {
            break;
        }
    }
    drop(changes);
    let request =
        pb::CancelInstanceBundleTaskRequest { task_id: task_id.clone(), request_id: String::new() };
    running.instance_bundles.cancel_instance_bundle_task(from(ANN, request)).await.unwrap();
    let task = running.bundle_ended(ANN, &task_id).await;
    assert_eq!((task.state(), task.status_message.as_str()), (State::Failed, "cancelled"));
    running.assert_empty(&place).await;

    // What was deleted meanwhile is kept for the task, and let go with it.
    let small = running.import(&noise(7, 2 * MIB)).await.snapshot_id;
    let request =
        pb::CreateInstanceBundleRequest { request_id: "small".to_owned(), ..asking(&small) };
    let begun = running.instance_bundles.create_instance_bundle(from(ANN, request)).await.unwrap();
    running.delete(&small).await.unwrap();
    let task = running.bundle_ended(ANN, &begun.into_inner().task.unwrap().task_id).await;
    assert_eq!(task.state(), State::Complete, "{}", task.status_message);
    running.delete(&snapshot).await.unwrap();
    assert_eq!(running.collect().await.chunks, 0);
    // A bundle that is made again after a cancellation is another one.
    let made = running.restored(ANN, &at(), "").await.unwrap();
    assert_same(&running.content(&made.snapshot_id).await, &noise(7, 2 * MIB));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_requests_are_refused() {
    let place = Place::new();
    let mut running = place.start().await;
    running.bucket(ANN, BUCKET).await;
    let snapshot = running.import(&noise(8, MIB)).await.snapshot_id;
    let good =
        || pb::CreateInstanceBundleRequest { request_id: String::new(), ..asking(&snapshot) };
    let bad = [
        pb::CreateInstanceBundleRequest { snapshot_id: String::new(), ..good() },
        pb::CreateInstanceBundleRequest { volume_id: volume(1), ..good() },
        pb::CreateInstanceBundleRequest { prefix: "a/".to_owned(), ..good() },
        pb::CreateInstanceBundleRequest { prefix: "a<b".to_owned(), ..good() },
        pb::CreateInstanceBundleRequest { architecture: "vax".to_owned(), ..good() },
        pb::CreateInstanceBundleRequest { platform: "dos".to_owned(), ..good() },
        pb::CreateInstanceBundleRequest {
            mappings: vec![parcel::mapping("ami", "sda1")],
            ..good()
        },
        pb::CreateInstanceBundleRequest { bucket: "B".to_owned(), ..good() },
    ];
    for request in bad {
        let asked = format!("{request:?}");
        let refused = running.instance_bundles.create_instance_bundle(from(ANN, request)).await;
        assert_eq!(refused.unwrap_err().code(), tonic::Code::InvalidArgument, "{asked}");
    }
    for location in ["", "b/x", "/x.manifest.xml", "ann/../x.manifest", "ann/.manifest.xml"] {
        let refused = running.described(ANN, location).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{location}");
    }
    // Objects of its names are nobody's to overwrite.
    running.put(ANN, BUCKET, &format!("{PREFIX}.part.notes"), b"mine").await;
    let refused = running.instance_bundles.create_instance_bundle(from(ANN, good())).await;
    assert_eq!(reason(&refused.unwrap_err()), "INSTANCE_BUNDLE_EXISTS");
    assert_eq!(running.object(ANN, &format!("{PREFIX}.part.notes")).await, b"mine");
    running.assert_tasks(ANN, 0).await;
    running.stop().await;
}
