//! Which key a launched disk is under, and the one that an account goes back to.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;

use harness::{
    ANN, BOB, Place, assert_same, from, image,
    nbd::Nbd,
    saga,
    sealed::{copy, new_key},
    snap, sparse, volumes,
};
use vmint_api::storage::v1 as pb;

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_of_anothers_is_under_ones_own_key_and_outlives_theirs() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = sparse(1, 4);
    let source = running.import(&disk).await.snapshot_id;
    let key = new_key(&mut running, ANN).await;
    copy(&mut running, ANN, &source, 1, &key).await.unwrap();
    let launch = |n, snapshot: &str| pb::EnsureVolumesRequest {
        account_id: BOB.to_owned(),
        ..volumes(n, snapshot)
    };
    let made = running.internal.ensure_volumes(launch(7, &snap(1))).await.unwrap().into_inner();
    let volume = made.volumes[0].volume.clone().unwrap();
    let default = from(BOB, pb::GetDefaultKeyRequest {});
    let own = running.keys.get_default_key(default).await.unwrap().into_inner().key.unwrap();
    assert!(volume.encrypted && volume.kms_key_id == own.kms_key_id && own.kms_key_id != key);
    assert_same(&Nbd::connect(&made.volumes[0].export_path).read_all(), &disk);

    // What is not encrypted is when it is asked for, or always wanted.
    let mut asked = launch(9, &source);
    asked.volumes[0].encrypted = true;
    let always = pb::SetEncryptionByDefaultRequest { enabled: true, request_id: String::new() };
    let asked = running.internal.ensure_volumes(asked).await.unwrap().into_inner();
    running.keys.set_encryption_by_default(from(BOB, always)).await.unwrap();
    let always = running.internal.ensure_volumes(launch(11, &source)).await.unwrap().into_inner();
    for sealed in [asked, always] {
        let volume = sealed.volumes[0].volume.as_ref().unwrap();
        assert_eq!((volume.encrypted, &volume.kms_key_id), (true, &own.kms_key_id));
        assert_same(&Nbd::connect(&sealed.volumes[0].export_path).read_all(), &disk);
    }

    // Ann destroys her data, which takes nothing of Bob's.
    let unused = pb::ReleaseSnapshotUseRequest {
        saga: saga(1),
        image_id: image(1),
        delete_snapshots: false,
        dry_run: false,
    };
    running.internal.release_snapshot_use(unused).await.unwrap();
    let destroy = pb::DestroySnapshotDataRequest {
        snapshot_id: snap(1),
        dry_run: false,
        request_id: "destroy".to_owned(),
    };
    running.keys.destroy_snapshot_data(from(ANN, destroy)).await.unwrap();
    running.collect().await;
    assert_same(&Nbd::connect(&made.volumes[0].export_path).read_all(), &disk);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_key_goes_back_to_the_one_that_was_made() {
    let place = Place::new();
    let mut running = place.start().await;
    let reset = |id: &str| from(ANN, pb::ResetDefaultKeyRequest { request_id: id.to_owned() });
    let source = running.import(&sparse(1, 4)).await.snapshot_id;
    let made = copy(&mut running, ANN, &source, 1, "").await.unwrap().kms_key_id;
    let other = new_key(&mut running, ANN).await;
    let set = pb::SetDefaultKeyRequest { kms_key_id: other.clone(), request_id: String::new() };
    running.keys.set_default_key(from(ANN, set)).await.unwrap();
    assert_eq!(copy(&mut running, ANN, &source, 2, "").await.unwrap().kms_key_id, other);
    let back = running.keys.reset_default_key(reset("2")).await.unwrap().into_inner();
    assert_eq!(back.key.unwrap().kms_key_id, made);
    // One that can't be used is made anew.
    let off = pb::DisableKeyRequest { kms_key_id: made.clone(), request_id: String::new() };
    running.keys.disable_key(from(ANN, off)).await.unwrap();
    let back = running.keys.reset_default_key(reset("3")).await.unwrap().into_inner();
    assert_eq!(back.key, None);
    assert_ne!(copy(&mut running, ANN, &source, 4, "").await.unwrap().kms_key_id, made);
    running.stop().await;
}
