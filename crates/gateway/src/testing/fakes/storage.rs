use tonic::{Request, Response, Status};
use vmint_api::storage::v1::{
    self as storage, storage_internal_service_server::StorageInternalService,
};
use vmint_rpc::Kind;

use super::{Fake, fake, once};
use crate::testing::world::refuse;

fake! {
    StorageInternalService, storage, "storage", "storage-internal";
    ensure_snapshot_use("EnsureSnapshotUse" EnsureSnapshotUseRequest) -> EnsureSnapshotUseResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        let mut used = Vec::new();
        for id in &request.snapshot_ids {
            let snapshot = world.snapshots.get_mut(id);
            let snapshot = snapshot.filter(|s| s.account_id == request.account_id);
            let not_found = || refuse(Kind::NotFound, "SNAPSHOT_NOT_FOUND", "storage.vmint");
            let snapshot = snapshot.ok_or_else(not_found)?;
            if !snapshot.image_ids.contains(&request.image_id) {
                snapshot.image_ids.push(request.image_id.clone());
            }
            used.push(snapshot.clone());
        }
        Ok(storage::EnsureSnapshotUseResponse { snapshots: used })
    }
    release_snapshot_use("ReleaseSnapshotUse" ReleaseSnapshotUseRequest)
        -> ReleaseSnapshotUseResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        let mut deleted = Vec::new();
        world.snapshots.retain(|id, snapshot| {
            let before = snapshot.image_ids.len();
            snapshot.image_ids.retain(|image| *image != request.image_id);
            let gone = snapshot.image_ids.is_empty() && snapshot.image_ids.len() < before;
            let delete = request.delete_snapshots && gone;
            if delete {
                deleted.push(id.clone());
            }
            !delete
        });
        Ok(storage::ReleaseSnapshotUseResponse { deleted_snapshot_ids: deleted, freed_bytes: 0 })
    }
    ensure_snapshot_copy("EnsureSnapshotCopy" EnsureSnapshotCopyRequest)
        -> EnsureSnapshotCopyResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        let mut snapshots = Vec::new();
        for copy in request.copies {
            assert!(world.snapshots.contains_key(&copy.source_snapshot_id));
            world.add_snapshot(&copy.snapshot_id, &request.account_id);
            let made = world.snapshots.get_mut(&copy.snapshot_id).unwrap();
            made.image_ids.push(request.image_id.clone());
            snapshots.push(made.clone());
        }
        Ok(storage::EnsureSnapshotCopyResponse { snapshots })
    }
    ensure_volume_snapshots("EnsureVolumeSnapshots" EnsureVolumeSnapshotsRequest)
        -> EnsureVolumeSnapshotsResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        let mut snapshots = Vec::new();
        for wanted in request.snapshots {
            let volume = world.volumes.get(&wanted.volume_id).unwrap().clone();
            assert_eq!(volume.account_id, request.account_id);
            world.add_snapshot(&wanted.snapshot_id, &request.account_id);
            let made = world.snapshots.get_mut(&wanted.snapshot_id).unwrap();
            made.product_codes = volume.product_codes;
            made.image_ids.push(request.image_id.clone());
            snapshots.push(made.clone());
        }
        Ok(storage::EnsureVolumeSnapshotsResponse { snapshots })
    }
    release_snapshots("ReleaseSnapshots" ReleaseSnapshotsRequest) -> ReleaseSnapshotsResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        world.snapshots.retain(|id, _| !request.snapshot_ids.contains(id));
        Ok(storage::ReleaseSnapshotsResponse {})
    }
    ensure_snapshot_product_codes("EnsureSnapshotProductCodes" EnsureSnapshotProductCodesRequest)
        -> EnsureSnapshotProductCodesResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        for id in request.snapshot_ids {
            let snapshot = world.snapshots.get_mut(&id).unwrap();
            snapshot.product_codes.extend(request.product_codes.clone());
            snapshot.product_codes.dedup();
        }
        Ok(storage::EnsureSnapshotProductCodesResponse {})
    }
    ensure_volumes("EnsureVolumes" EnsureVolumesRequest) -> EnsureVolumesResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        let mut volumes = Vec::new();
        for new in request.volumes {
            let volume = storage::Volume {
                volume_id: new.volume_id.clone(),
                account_id: request.account_id.clone(),
                snapshot_id: new.snapshot_id,
                instance_id: new.instance_id,
                device_name: new.device_name,
                delete_on_termination: new.delete_on_termination,
                product_codes: new.product_codes,
                size_bytes: 2 << 30,
                ..storage::Volume::default()
            };
            world.volumes.insert(new.volume_id.clone(), volume.clone());
            let export_path = format!("/run/{}.sock", new.volume_id);
            volumes.push(storage::ExportedVolume { volume: Some(volume), export_path });
        }
        Ok(storage::EnsureVolumesResponse { volumes })
    }
    release_volumes("ReleaseVolumes" ReleaseVolumesRequest) -> ReleaseVolumesResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        let machines = &world.machines;
        assert!(!request.instance_ids.iter().any(|id| machines.contains(id)), "a disk went first");
        world.volumes.retain(|_, volume| !request.instance_ids.contains(&volume.instance_id));
        Ok(storage::ReleaseVolumesResponse { deleted_volume_ids: Vec::new() })
    }
    batch_get_snapshots("BatchGetSnapshots" BatchGetSnapshotsRequest) -> BatchGetSnapshotsResponse
    |world, caller, request| {
        let found = request.snapshot_ids.iter().filter_map(|id| world.snapshots.get(id).cloned());
        Ok(storage::BatchGetSnapshotsResponse { snapshots: found.collect() })
    }
    list_attached_volumes("ListAttachedVolumes" ListAttachedVolumesRequest)
        -> ListAttachedVolumesResponse
    |world, caller, request| {
        let after = request.page_token;
        let size = usize::try_from(request.page_size).unwrap().min(2);
        let attached = world.volumes.values().filter(|v| v.volume_id > after);
        let volumes = attached.take(size).cloned().collect::<Vec<_>>();
        let full = volumes.len() == size;
        let last = volumes.last().map(|v| v.volume_id.clone()).filter(|_| full);
        let next_page_token = last.unwrap_or_default();
        Ok(storage::ListAttachedVolumesResponse { volumes, next_page_token })
    }
}
