//! What sagas about single volumes and snapshots meet.

use tonic::{Request, Response, Status};
use vmint_api::{
    permissions::v1::{
        self as permissions, snapshot_internal_service_server::SnapshotInternalService,
    },
    storage::v1::{
        self as storage, AttachmentState, volume_internal_service_server::VolumeInternalService,
    },
};
use vmint_rpc::Kind;

use super::{Fake, fake, once};
use crate::testing::world::refuse;

fake! {
    VolumeInternalService, storage, "storage", "storage-internal";
    batch_get_volumes("BatchGetVolumes" BatchGetVolumesRequest) -> BatchGetVolumesResponse
    |world, caller, request| {
        let found = request.volume_ids.iter().filter_map(|id| world.volumes.get(id).cloned());
        Ok(storage::BatchGetVolumesResponse { volumes: found.collect() })
    }
    ensure_volume_attached("EnsureVolumeAttached" EnsureVolumeAttachedRequest)
        -> EnsureVolumeAttachedResponse
    |world, caller, request| {
        let saga = world.fence(request.saga.as_ref(), "storage.vmint")?;
        let state = request.state();
        let volume = world.volumes.get_mut(&request.volume_id);
        let volume = volume.filter(|volume| volume.account_id == request.account_id);
        let not_found = || refuse(Kind::NotFound, "VOLUME_NOT_FOUND", "storage.vmint");
        let volume = volume.ok_or_else(not_found)?;
        let by = world.attached_by.entry(request.volume_id.clone()).or_default();
        let in_use = || refuse(Kind::Precondition, "VOLUME_IN_USE", "storage.vmint");
        if volume.instance_id.is_empty() {
            if state != AttachmentState::Attaching {
                return Err(not_found());
            }
            by.clone_from(&saga);
        } else if volume.instance_id != request.instance_id
            || (state == AttachmentState::Attaching && *by != saga)
        {
            return Err(in_use());
        }
        volume.instance_id = request.instance_id;
        volume.device_name = request.device_name;
        volume.delete_on_termination = request.delete_on_termination;
        volume.attachment_state = request.state;
        let export_path = format!("/run/{}.sock", volume.volume_id);
        let volume = Some(volume.clone());
        Ok(storage::EnsureVolumeAttachedResponse { volume, export_path })
    }
    release_volume_attachment("ReleaseVolumeAttachment" ReleaseVolumeAttachmentRequest)
        -> ReleaseVolumeAttachmentResponse
    |world, caller, request| {
        let saga = world.fence(request.saga.as_ref(), "storage.vmint")?;
        let by = world.attached_by.get(&request.volume_id).cloned().unwrap_or_default();
        let plugged = world.instances.values().any(|instance| {
            instance.volumes.iter().any(|plug| plug.volume_id == request.volume_id)
        });
        let volume = world.volumes.get_mut(&request.volume_id);
        if let Some(volume) = volume
            && volume.instance_id == request.instance_id
            && (!request.undo || by == saga)
        {
            assert!(!plugged, "a disk went before its plug");
            volume.instance_id.clear();
            volume.device_name.clear();
            volume.attachment_state = AttachmentState::Unspecified.into();
        }
        let volume = world.volumes.get(&request.volume_id).cloned();
        Ok(storage::ReleaseVolumeAttachmentResponse { volume })
    }
    ensure_snapshot_sharing("EnsureSnapshotSharing" EnsureSnapshotSharingRequest)
        -> EnsureSnapshotSharingResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        world.snapshot_hints.insert(request.snapshot_id, request.account_ids);
        Ok(storage::EnsureSnapshotSharingResponse {})
    }
}

fake! {
    SnapshotInternalService, permissions, "permissions", "permissions-internal";
    ensure_volume_permission("EnsureVolumePermission" EnsureVolumePermissionRequest)
        -> EnsureVolumePermissionResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "permissions.vmint")?;
        let with = world.snapshot_grants.entry(request.snapshot_id).or_default();
        with.extend(request.add_account_ids);
        with.retain(|account| !request.remove_account_ids.contains(account));
        let account_ids = with.iter().cloned().collect();
        Ok(permissions::EnsureVolumePermissionResponse { public: false, account_ids, revision: 1 })
    }
    get_volume_permission("GetVolumePermission" GetVolumePermissionRequest)
        -> GetVolumePermissionResponse
    |world, caller, request| {
        let with = world.snapshot_grants.get(&request.snapshot_id).cloned().unwrap_or_default();
        let account_ids = with.into_iter().collect();
        Ok(permissions::GetVolumePermissionResponse { public: false, account_ids })
    }
    list_volume_permissions("ListVolumePermissions" ListVolumePermissionsRequest)
        -> ListVolumePermissionsResponse
    |world, caller, request| {
        let after = |id: &&String| request.page_token.is_empty() || **id > request.page_token;
        let next = world.snapshot_grants.keys().find(after).cloned();
        Ok(permissions::ListVolumePermissionsResponse {
            next_page_token: next.clone().unwrap_or_default(),
            snapshot_ids: next.into_iter().collect(),
        })
    }
    release_volume_permissions("ReleaseVolumePermissions" ReleaseVolumePermissionsRequest)
        -> ReleaseVolumePermissionsResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "permissions.vmint")?;
        world.snapshot_grants.retain(|id, _| !request.snapshot_ids.contains(id));
        Ok(permissions::ReleaseVolumePermissionsResponse {})
    }
}
