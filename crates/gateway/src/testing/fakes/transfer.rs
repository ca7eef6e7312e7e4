use tonic::{Request, Response, Status};
use vmint_api::storage::v1::{
    self as storage, TransferState, transfer_internal_service_server::TransferInternalService,
};

use super::{Fake, fake, once};

fake! {
    TransferInternalService, storage, "storage", "storage-internal";
    ensure_import("EnsureImport" EnsureImportRequest) -> EnsureImportResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        // Begun by the first call, done when it is asked again.
        let begun = world.imports.contains_key(&request.task_id);
        let disk = |disk: &storage::NewImportDisk| storage::ImportDisk {
            source: disk.source.clone(),
            device_name: disk.device_name.clone(),
            snapshot_id: disk.snapshot_id.clone(),
            ..storage::ImportDisk::default()
        };
        let task = world.imports.entry(request.task_id.clone()).or_insert_with(|| {
            storage::ImportTask {
                task_id: request.task_id.clone(),
                account_id: request.account_id.clone(),
                image_id: request.image_id.clone(),
                state: TransferState::Active.into(),
                disks: request.disks.iter().map(disk).collect(),
                encrypted: request.encrypted,
                kms_key_id: request.kms_key_id.clone(),
                ..storage::ImportTask::default()
            }
        });
        let task = task.clone();
        let converted = begun && task.state() == TransferState::Active;
        if converted {
            for disk in &request.disks {
                world.add_snapshot(&disk.snapshot_id, &request.account_id);
                let made = world.snapshots.get_mut(&disk.snapshot_id).unwrap();
                made.image_ids.push(request.image_id.clone());
            }
        }
        Ok(storage::EnsureImportResponse { task: Some(task), converted })
    }
    count_disks("CountDisks" CountDisksRequest) -> CountDisksResponse
    |_world, caller, request| {
        assert!(!request.account_id.is_empty());
        // As many as the last digit of an upload's id says.
        let source = request.source.and_then(|source| source.source);
        let disks = match source {
            Some(storage::disk_source::Source::UploadId(id)) => {
                let digit = id.chars().next_back().and_then(|digit| digit.to_digit(10));
                digit.and_then(|digit| digit.try_into().ok()).unwrap_or(1)
            }
            _ => 1,
        };
        Ok(storage::CountDisksResponse { disks })
    }
    ensure_import_ended("EnsureImportEnded" EnsureImportEndedRequest) -> EnsureImportEndedResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        let task = world.imports.get_mut(&request.task_id).unwrap();
        task.set_state(TransferState::Completed);
        Ok(storage::EnsureImportEndedResponse {})
    }
    release_import("ReleaseImport" ReleaseImportRequest) -> ReleaseImportResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        if let Some(task) = world.imports.get_mut(&request.task_id) {
            task.set_state(TransferState::Deleted);
            for disk in &task.disks {
                world.snapshots.remove(&disk.snapshot_id);
            }
        }
        Ok(storage::ReleaseImportResponse {})
    }
}
