//! Volumes at no instance, on their way to one and back, and how many one may
//! have.
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test may stop anywhere")]

mod harness;

use harness::{
    ANN, BOB, MIB, Place, Running, assert_same, from, instance, nbd::Nbd, noise, reason, saga,
    sparse, volumes,
};
use tonic::Status;
use vmint_api::{
    storage::v1 as pb,
    types::v1::{Filter, Tag},
};
use vmint_storage::Quota;

async fn create(
    running: &mut Running,
    request: pb::CreateVolumeRequest,
) -> Result<pb::Volume, Status> {
    let answer = running.volumes.create_volume(from(ANN, request)).await?;
    Ok(answer.into_inner().volume.unwrap())
}

fn sized(size_gib: i32) -> pb::CreateVolumeRequest {
    pb::CreateVolumeRequest { size_gib, ..Default::default() }
}

fn plug(id: &str, n: u64, device: &str) -> pb::EnsureVolumeAttachedRequest {
    pb::EnsureVolumeAttachedRequest {
        saga: saga(1),
        account_id: ANN.to_owned(),
        volume_id: id.to_owned(),
        instance_id: instance(n),
        device_name: device.to_owned(),
        delete_on_termination: false,
        state: pb::AttachmentState::Attaching.into(),
    }
}

async fn unplug(running: &mut Running, id: &str, n: u64) -> Option<pb::Volume> {
    let request = pb::ReleaseVolumeAttachmentRequest {
        saga: saga(1),
        volume_id: id.to_owned(),
        instance_id: instance(n),
        undo: false,
    };
    running.plugs.release_volume_attachment(request).await.unwrap().into_inner().volume
}

async fn delete(running: &mut Running, id: &str) -> Result<(), Status> {
    let request = pb::DeleteVolumeRequest { volume_id: id.to_owned(), request_id: String::new() };
    running.volumes.delete_volume(from(ANN, request)).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_goes_to_one_instance_and_to_another_with_what_is_on_it() {
    let place = Place::new();
    let mut running = place.start().await;
    let disk = sparse(1, 8);
    let snapshot = running.import(&disk).await.snapshot_id;
    let wanted = pb::CreateVolumeRequest {
        snapshot_id: snapshot.clone(),
        size_gib: 1,
        volume_type: pb::VolumeType::Gp2.into(),
        availability_zone: "a".to_owned(),
        tags: vec![Tag { key: "Name".to_owned(), value: "data".to_owned() }],
        request_id: "v1".to_owned(),
        ..Default::default()
    };
    let made = create(&mut running, wanted.clone()).await.unwrap();
    assert_eq!(made.state(), pb::VolumeState::Available);
    assert_eq!((made.size_gib, made.iops, made.snapshot_id.as_str()), (1, 100, &*snapshot));
    assert_eq!(create(&mut running, wanted).await.unwrap().volume_id, made.volume_id);
    let id = made.volume_id;

    let first = running.plugs.ensure_volume_attached(plug(&id, 1, "/dev/sdf")).await.unwrap();
    let first = first.into_inner();
    let shown = first.volume.unwrap();
    assert_eq!(shown.attachment_state(), pb::AttachmentState::Attaching);
    assert_eq!((shown.instance_id, shown.boot), (instance(1), false));
    let mut machine = Nbd::connect(&first.export_path);
    assert_same(&machine.read(0, disk.len()), &disk);
    machine.write(512 * MIB as u64, &noise(3, MIB));
    machine.flush();
    // Asked again it is where it was, and takes over what is new.
    let confirm = pb::EnsureVolumeAttachedRequest {
        state: pb::AttachmentState::Attached.into(),
        delete_on_termination: true,
        ..plug(&id, 1, "/dev/sdf")
    };
    let again = running.plugs.ensure_volume_attached(confirm).await.unwrap().into_inner();
    assert_eq!(again.export_path, first.export_path);
    let shown = again.volume.unwrap();
    assert_eq!(shown.attachment_state(), pb::AttachmentState::Attached);
    assert!(shown.delete_on_termination && shown.attach_time.is_some());

    // It is taken, and so is its name.
    let refused = running.plugs.ensure_volume_attached(plug(&id, 2, "/dev/sdf")).await.unwrap_err();
    assert_eq!(reason(&refused), "VOLUME_IN_USE");
    let second = create(&mut running, sized(1)).await.unwrap().volume_id;
    let taken = running.plugs.ensure_volume_attached(plug(&second, 1, "/dev/sdf")).await;
    assert_eq!(reason(&taken.unwrap_err()), "DEVICE_IN_USE");
    assert_eq!(reason(&delete(&mut running, &id).await.unwrap_err()), "VOLUME_IN_USE");

    // Another instance's saga does not take it away; its own does.
    let left = unplug(&mut running, &id, 2).await.unwrap();
    assert_eq!(left.state(), pb::VolumeState::InUse);
    let gone = unplug(&mut running, &id, 1).await.unwrap();
    assert_eq!(gone.state(), pb::VolumeState::Available);
    assert!(!std::path::Path::new(&first.export_path).exists(), "its socket is there");
    let moved = running.plugs.ensure_volume_attached(plug(&id, 2, "/dev/sdf")).await.unwrap();
    let moved = moved.into_inner();
    assert_ne!(moved.export_path, first.export_path);
    let mut other = Nbd::connect(&moved.export_path);
    assert_same(&other.read(512 * MIB as u64, MIB), &noise(3, MIB));
    drop((machine, other));

    // And is there after a restart.
    running.stop().await;
    let mut running = place.start().await;
    assert_same(&Nbd::connect(&moved.export_path).read(0, disk.len()), &disk);
    unplug(&mut running, &id, 2).await;
    delete(&mut running, &id).await.unwrap();
    let found = pb::GetVolumeRequest { volume_id: id.clone() };
    let refused = running.volumes.get_volume(from(ANN, found)).await.unwrap_err();
    assert_eq!(reason(&refused), "VOLUME_NOT_FOUND");
    assert!(!place.data().join("volumes").join(&id).exists());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_under_way_outlives_its_volume() {
    let place = Place::new();
    let mut running = place.start().await;
    let id = create(&mut running, sized(1)).await.unwrap().volume_id;
    let out = running.plugs.ensure_volume_attached(plug(&id, 1, "/dev/sdf")).await.unwrap();
    let mut machine = Nbd::connect(&out.into_inner().export_path);
    let content = noise(5, 16 * MIB);
    machine.write(0, &content);
    drop(machine);
    let request = pb::CreateSnapshotRequest { volume_id: id.clone(), ..Default::default() };
    let made = running.snapshots.create_snapshot(from(ANN, request)).await.unwrap().into_inner();
    unplug(&mut running, &id, 1).await;
    delete(&mut running, &id).await.unwrap();
    let snapshot = made.snapshot.unwrap().snapshot_id;
    let whole = running.settled(ANN, &snapshot).await;
    assert_eq!(whole.state(), pb::SnapshotState::Completed, "{}", whole.state_reason);
    let over = running.attach(7, &snapshot, true).await;
    assert_same(&Nbd::connect(&over.export_path).read(0, content.len()), &content);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_only_grow_and_say_how() {
    let place = Place::new();
    let mut running = place.start().await;
    let id = create(&mut running, sized(2)).await.unwrap().volume_id;
    let modify = |size_gib| pb::ModifyVolumeRequest {
        volume_id: id.clone(),
        size_gib,
        ..Default::default()
    };
    for (request, why) in [
        (modify(1), "VOLUME_SIZE_INVALID"),
        (modify(65537), "VOLUME_SIZE_INVALID"),
        (modify(2), "FIELD_INVALID"),
        (pb::ModifyVolumeRequest { iops: 100, ..modify(0) }, "VOLUME_TYPE_INVALID"),
    ] {
        let refused = running.volumes.modify_volume(from(ANN, request)).await.unwrap_err();
        assert_eq!(reason(&refused), why);
    }
    let out = running.plugs.ensure_volume_attached(plug(&id, 1, "/dev/sdf")).await.unwrap();
    let path = out.into_inner().export_path;
    Nbd::connect(&path).write(0, &noise(1, 4096));
    let request = pb::ModifyVolumeRequest {
        volume_type: pb::VolumeType::Io1.into(),
        iops: 500,
        request_id: "m".to_owned(),
        ..modify(4)
    };
    for _ in 0..2 {
        let answer = running.volumes.modify_volume(from(ANN, request.clone())).await.unwrap();
        let change = answer.into_inner().modification.unwrap();
        assert_eq!(change.state(), pb::VolumeModificationState::Completed);
        assert_eq!((change.original_size_gib, change.target_size_gib), (2, 4));
        assert_eq!((change.original_iops, change.target_iops), (3000, 500));
    }
    let mut machine = Nbd::connect(&path);
    assert_eq!(machine.size, 4 << 30, "whoever connects now sees it");
    assert_same(&machine.read(0, 4096), &noise(1, 4096));
    assert_same(&machine.read(3 << 30, 4096), &[0; 4096]);
    let list = pb::ListVolumeModificationsRequest::default();
    let all = running.volumes.list_volume_modifications(from(ANN, list)).await.unwrap();
    assert_eq!(all.into_inner().modifications.len(), 1);
    // A volume that is not open grows when it next is.
    let other = create(&mut running, sized(1)).await.unwrap().volume_id;
    let out = running.plugs.ensure_volume_attached(plug(&other, 1, "/dev/sdg")).await.unwrap();
    drop(out);
    unplug(&mut running, &other, 1).await;
    let grow = pb::ModifyVolumeRequest { volume_id: other.clone(), ..modify(2) };
    running.volumes.modify_volume(from(ANN, grow)).await.unwrap();
    let out = running.plugs.ensure_volume_attached(plug(&other, 1, "/dev/sdg")).await.unwrap();
    assert_eq!(Nbd::connect(&out.into_inner().export_path).size, 2 << 30);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_found_by_what_they_are() {
    let place = Place::new();
    let mut running = place.start().await;
    let a = create(&mut running, sized(1)).await.unwrap().volume_id;
    let b = create(&mut running, sized(2)).await.unwrap().volume_id;
    running.plugs.ensure_volume_attached(plug(&b, 4, "/dev/sdf")).await.unwrap();
    for (name, value, expected) in [
        ("status", "available", &a),
        ("status", "in-use", &b),
        ("attachment.instance-id", &*instance(4), &b),
        ("attachment.device", "/dev/sd?", &b),
        ("attachment.status", "attaching", &b),
        ("size", "1", &a),
        ("volume-id", &format!("{}*", &a[..10]), &a),
    ] {
        let request = pb::ListVolumesRequest {
            filters: vec![Filter { name: name.to_owned(), values: vec![value.to_owned()] }],
            ..Default::default()
        };
        let found = running.users.list_volumes(from(ANN, request)).await.unwrap().into_inner();
        let ids: Vec<_> = found.volumes.into_iter().map(|one| one.volume_id).collect();
        assert!(ids.contains(expected), "{name}={value}: {ids:?}");
        assert!(ids.len() == 1 || name == "volume-id", "{name}={value}: {ids:?}");
    }
    let foreign = pb::ListVolumesRequest { volume_ids: vec![a], ..Default::default() };
    let refused = running.users.list_volumes(from(BOB, foreign)).await.unwrap_err();
    assert_eq!(reason(&refused), "VOLUME_NOT_FOUND");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_holds_however_many_ask_at_once() {
    let place = Place::new();
    let quota = Quota { volumes: 5, volume_bytes: 100 << 30, snapshots: 2, ..Quota::default() };
    let mut running = place.start_with(quota).await;
    let mut asking = Vec::new();
    for _ in 0..20 {
        let mut volumes = running.volumes.clone();
        asking.push(tokio::spawn(async move { volumes.create_volume(from(ANN, sized(1))).await }));
    }
    let (mut made, mut refused) = (0, 0);
    for one in asking {
        match one.await.unwrap() {
            Ok(_) => made += 1,
            Err(status) => {
                assert_eq!(reason(&status), "QUOTA_EXCEEDED");
                assert!(status.message().contains("may have 5"), "{}", status.message());
                refused += 1;
            }
        }
    }
    assert_eq!((made, refused), (5, 15));
    // What a launch makes counts too, and nothing of a refused one stays.
    let mut launch = volumes(1, "");
    launch.volumes[0].size_gib = 1;
    let status = running.internal.ensure_volumes(launch).await.unwrap_err();
    assert_eq!(reason(&status), "QUOTA_EXCEEDED");
    assert!(running.volume(1).await.is_none());
    // Others have a quota of their own.
    running.volumes.create_volume(from(BOB, sized(1))).await.unwrap();
    let all = running.users.list_volumes(from(ANN, pb::ListVolumesRequest::default())).await;
    let one = all.unwrap().into_inner().volumes[0].volume_id.clone();
    delete(&mut running, &one).await.unwrap();
    // Bytes are counted, also when a volume grows.
    let large = create(&mut running, sized(97)).await.unwrap_err();
    assert_eq!(reason(&large), "QUOTA_EXCEEDED");
    let id = create(&mut running, sized(96)).await.unwrap().volume_id;
    let grow = pb::ModifyVolumeRequest { volume_id: id, size_gib: 97, ..Default::default() };
    let status = running.volumes.modify_volume(from(ANN, grow)).await.unwrap_err();
    assert_eq!(reason(&status), "QUOTA_EXCEEDED");
    let usage = running.users.get_usage(from(ANN, pb::GetUsageRequest {})).await.unwrap();
    let usage = usage.into_inner();
    assert_eq!((usage.volumes, usage.volume_bytes), (5, 100 << 30));
    assert_eq!(usage.quota.unwrap().volumes, 5);
    // Snapshots of every kind count.
    running.import(&sparse(1, 2)).await;
    running.import(&sparse(2, 2)).await;
    let over = harness::pieces(harness::header("raw", 2 * MIB), &sparse(3, 2));
    assert_eq!(reason(&running.send(ANN, over).await.unwrap_err()), "QUOTA_EXCEEDED");
    running.stop().await;
    // The counts are those of the records, also after a restart.
    let mut running = place.start_with(quota).await;
    let usage = running.users.get_usage(from(ANN, pb::GetUsageRequest {})).await.unwrap();
    assert_eq!((usage.get_ref().volumes, usage.get_ref().snapshots), (5, 2));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sells_with_the_data_follows_it() {
    let place = Place::new();
    let mut running = place.start().await;
    let snapshot = running.import(&sparse(4, 2)).await.snapshot_id;
    let code = "0123456789abcdefghijklmno".to_owned();
    let sell = pb::EnsureSnapshotProductCodesRequest {
        saga: saga(1),
        snapshot_ids: vec![snapshot.clone()],
        product_codes: vec![code.clone()],
    };
    running.internal.ensure_snapshot_product_codes(sell).await.unwrap();
    let over = pb::CreateVolumeRequest { snapshot_id: snapshot.clone(), ..Default::default() };
    let made = create(&mut running, over).await.unwrap();
    assert_eq!(made.product_codes, std::slice::from_ref(&code));
    let request = pb::CreateSnapshotRequest { volume_id: made.volume_id, ..Default::default() };
    let frozen = running.snapshots.create_snapshot(from(ANN, request)).await.unwrap();
    let frozen = frozen.into_inner().snapshot.unwrap();
    assert_eq!(frozen.product_codes, std::slice::from_ref(&code));
    running.settled(ANN, &frozen.snapshot_id).await;
    let copy =
        pb::CopySnapshotRequest { source_snapshot_id: frozen.snapshot_id, ..Default::default() };
    let copied = running.snapshots.copy_snapshot(from(ANN, copy)).await.unwrap().into_inner();
    assert_eq!(copied.snapshot.unwrap().product_codes, std::slice::from_ref(&code));
    let start = pb::StartSnapshotRequest {
        volume_size_gib: 1,
        parent_snapshot_id: snapshot,
        ..Default::default()
    };
    let started = running.direct.start_snapshot(from(ANN, start)).await.unwrap().into_inner();
    assert_eq!(started.snapshot.unwrap().product_codes, [code]);
    running.stop().await;
}
