//! What is asked for volumes and snapshots.

use super::*;

pub(super) async fn attach(gateway: Gateway) -> Result<(), Status> {
    let request = pb::AttachVolumeRequest {
        volume_id: SPARE.to_owned(),
        instance_id: INSTANCE.to_owned(),
        request_id: "attach-1".to_owned(),
        ..pb::AttachVolumeRequest::default()
    };
    let volume = gateway.attach_volume(&owner(), request).await?.volume.unwrap();
    assert_eq!(volume.instance_id, INSTANCE);
    Ok(())
}

pub(super) async fn detach(gateway: Gateway) -> Result<(), Status> {
    let request = pb::DetachVolumeRequest {
        volume_id: SPARE.to_owned(),
        request_id: "detach-1".to_owned(),
        ..pb::DetachVolumeRequest::default()
    };
    let volume = gateway.detach_volume(&owner(), request).await?.volume.unwrap();
    assert!(volume.instance_id.is_empty());
    Ok(())
}

pub(super) async fn keep(gateway: Gateway) -> Result<(), Status> {
    let request = pb::ModifyVolumeAttachmentRequest {
        volume_id: SPARE.to_owned(),
        delete_on_termination: true,
        request_id: "keep-1".to_owned(),
    };
    let volume = gateway.modify_volume_attachment(&owner(), request).await?.volume.unwrap();
    assert!(volume.delete_on_termination);
    Ok(())
}

pub(super) async fn share_snapshot(gateway: Gateway) -> Result<(), Status> {
    let request = pb::ModifySnapshotPermissionRequest {
        snapshot_id: SNAPSHOT.to_owned(),
        add_account_ids: vec![OTHER.to_owned()],
        request_id: "share-snapshot-1".to_owned(),
        ..pb::ModifySnapshotPermissionRequest::default()
    };
    let answer = gateway.modify_snapshot_permission(&owner(), request).await?;
    assert_eq!(answer.account_ids, [OTHER]);
    Ok(())
}
