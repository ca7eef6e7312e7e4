//! What is removed of an account, kind by kind.

use tonic::{Code, Status};
use vmint_api::{
    catalog::v1::{EnsureDeregisteredRequest, QueryImagesRequest, ReleaseParametersRequest},
    launcher::v1::{
        DeleteKeyPairRequest, InstanceState, ListInstancesRequest, ListKeyPairsRequest,
        ReleaseEndedRequest, ReleaseInstancesRequest,
    },
    marketplace::v1::ReleaseAccountRequest,
    permissions::v1::{EnsureVolumePermissionRequest, ReleaseImageOwnerRequest},
    storage::v1::{
        DeleteSnapshotRequest, DeleteUploadRequest, DeleteVolumeRequest, ListSnapshotsRequest,
        ListUploadsRequest, ListVolumesRequest, ReleaseFilesRequest, ReleaseKeysRequest,
        ReleaseSnapshotUseRequest, ReleaseVolumesRequest,
    },
};
use vmint_rpc::{Caller, CallerKind};

use super::super::{AT_ONCE, part};
use crate::{
    peers::Peers,
    saga::{At, StepError},
};

const PAGE: i32 = 100;

/// One step's calls: by the saga, or in the account's name.
pub(super) struct Round<'a> {
    pub(super) peers: &'a Peers,
    pub(super) at: &'a At,
    pub(super) account: &'a str,
}

impl Round<'_> {
    /// The account itself, for what only its owner may do.
    fn owner(&self) -> Caller {
        Caller {
            account: self.account.to_owned(),
            principal: "purge".to_owned(),
            kind: CallerKind::Account,
            ..self.at.caller()
        }
    }

    /// The same for a call that is repeated, another for every resource.
    fn request_id(&self, id: &str) -> String {
        format!("{}-{id}", self.at.saga)
    }

    pub(super) async fn machines(&self) -> Result<i32, StepError> {
        let mut ended = 0;
        loop {
            let ids = self.living().await?;
            if ids.is_empty() {
                break;
            }
            for (chunk, n) in ids.chunks(AT_ONCE).zip(1_usize..) {
                let saga = part(self.at.saga_step(), &format!("{ended}/{n}"));
                let release = ReleaseInstancesRequest {
                    saga: saga.clone(),
                    instance_ids: chunk.to_vec(),
                    reason: "the account was purged".to_owned(),
                };
                let mut launcher = self.peers.launcher(&self.at.caller());
                launcher.release_instances(release).await?;
                let release =
                    ReleaseVolumesRequest { saga, instance_ids: chunk.to_vec(), undo: true };
                self.peers.storage(&self.at.caller()).release_volumes(release).await?;
            }
            ended += count(ids.len());
        }
        loop {
            let (saga, account_id) = (self.at.saga_step(), self.account.to_owned());
            let request = ReleaseEndedRequest { saga, account_id };
            let mut launcher = self.peers.launcher(&self.at.caller());
            if !launcher.release_ended(request).await?.into_inner().more {
                return Ok(ended);
            }
        }
    }

    /// The ids of all instances that have not ended.
    async fn living(&self) -> Result<Vec<String>, StepError> {
        let mut request = ListInstancesRequest { page_size: PAGE, ..Default::default() };
        let mut ids = Vec::new();
        loop {
            let mut launcher = self.peers.instances(&self.owner());
            let page = launcher.list_instances(request.clone()).await?.into_inner();
            let living = page.instances.into_iter();
            let living = living.filter(|one| one.state() != InstanceState::Terminated);
            ids.extend(living.map(|one| one.instance_id));
            if page.next_page_token.is_empty() {
                return Ok(ids);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Imports, exports, uploads and objects.
    pub(super) async fn tasks(&self) -> Result<(), StepError> {
        loop {
            let (saga, account_id) = (self.at.saga_step(), self.account.to_owned());
            let request = ReleaseFilesRequest { saga, account_id };
            let mut files = self.peers.own_files(&self.at.caller());
            if !files.release_files(request).await?.into_inner().more {
                break;
            }
        }
        loop {
            let mut transfers = self.peers.imports(&self.owner());
            let request = ListUploadsRequest { page_size: PAGE, ..Default::default() };
            let page = transfers.list_uploads(request).await?.into_inner();
            if page.uploads.is_empty() {
                return Ok(());
            }
            for upload in page.uploads {
                let request_id = self.request_id(&upload.upload_id);
                let request = DeleteUploadRequest { upload_id: upload.upload_id, request_id };
                gone(transfers.delete_upload(request).await)?;
            }
        }
    }

    pub(super) async fn images(&self) -> Result<i32, StepError> {
        let mut ended = 0;
        loop {
            let request = QueryImagesRequest {
                account_id: self.account.to_owned(),
                owners: vec!["self".to_owned()],
                page_size: PAGE,
                ..QueryImagesRequest::default()
            };
            let mut catalog = self.peers.catalog(&self.at.caller());
            let page = catalog.query_images(request).await?.into_inner();
            if page.images.is_empty() {
                return Ok(ended);
            }
            for image in page.images {
                let saga = part(self.at.saga_step(), &image.image_id);
                let (image_id, account_id) = (image.image_id, self.account.to_owned());
                let end = EnsureDeregisteredRequest {
                    saga: saga.clone(),
                    image_id: image_id.clone(),
                    account_id,
                };
                let disown =
                    ReleaseImageOwnerRequest { saga: saga.clone(), image_id: image_id.clone() };
                let release = ReleaseSnapshotUseRequest {
                    saga,
                    image_id,
                    delete_snapshots: true,
                    dry_run: false,
                };
                // Last, because by then it is found no more.
                self.peers.permissions(&self.at.caller()).release_image_owner(disown).await?;
                self.peers.storage(&self.at.caller()).release_snapshot_use(release).await?;
                catalog.ensure_deregistered(end).await?;
                ended += 1;
            }
        }
    }

    pub(super) async fn volumes(&self) -> Result<i32, StepError> {
        let mut deleted = 0;
        loop {
            let request = ListVolumesRequest { page_size: PAGE, ..Default::default() };
            let page = self.peers.disks(&self.owner()).list_volumes(request).await?.into_inner();
            if page.volumes.is_empty() {
                return Ok(deleted);
            }
            for volume in page.volumes {
                let request_id = self.request_id(&volume.volume_id);
                let request = DeleteVolumeRequest { volume_id: volume.volume_id, request_id };
                gone(self.peers.own_volumes(&self.owner()).delete_volume(request).await)?;
                deleted += 1;
            }
        }
    }

    pub(super) async fn snapshots(&self) -> Result<i32, StepError> {
        let mut deleted = 0;
        loop {
            let request = ListSnapshotsRequest { page_size: PAGE, ..Default::default() };
            let page = self.peers.disks(&self.owner()).list_snapshots(request).await?.into_inner();
            if page.snapshots.is_empty() {
                return Ok(deleted);
            }
            for snapshot in page.snapshots {
                let (id, account_id) = (snapshot.snapshot_id, self.account.to_owned());
                let unshare = EnsureVolumePermissionRequest {
                    saga: part(self.at.saga_step(), &id),
                    snapshot_id: id.clone(),
                    account_id,
                    reset: true,
                    ..EnsureVolumePermissionRequest::default()
                };
                let mut rights = self.peers.snapshot_rights(&self.at.caller());
                rights.ensure_volume_permission(unshare).await?;
                let request_id = self.request_id(&id);
                let request = DeleteSnapshotRequest { snapshot_id: id, request_id, dry_run: false };
                gone(self.peers.disks(&self.owner()).delete_snapshot(request).await)?;
                deleted += 1;
            }
        }
    }

    pub(super) async fn keys(&self) -> Result<i32, StepError> {
        let mut deleted = 0;
        loop {
            let mut launcher = self.peers.instances(&self.owner());
            let request = ListKeyPairsRequest { page_size: PAGE, ..Default::default() };
            let page = launcher.list_key_pairs(request).await?.into_inner();
            if page.key_pairs.is_empty() {
                return Ok(deleted);
            }
            for pair in page.key_pairs {
                let request_id = self.request_id(&pair.key_pair_id);
                let request =
                    DeleteKeyPairRequest { name: pair.name, request_id, ..Default::default() };
                gone(launcher.delete_key_pair(request).await)?;
                deleted += 1;
            }
        }
    }

    pub(super) async fn encryption_keys(&self) -> Result<(), StepError> {
        loop {
            let (saga, account_id) = (self.at.saga_step(), self.account.to_owned());
            let request = ReleaseKeysRequest { saga, account_id };
            let mut keys = self.peers.own_keys(&self.at.caller());
            if !keys.release_keys(request).await?.into_inner().more {
                return Ok(());
            }
        }
    }

    /// Products and agreements; what was booked stays.
    pub(super) async fn market(&self) -> Result<(), StepError> {
        loop {
            let (saga, account_id) = (self.at.saga_step(), self.account.to_owned());
            let request = ReleaseAccountRequest { saga, account_id };
            let mut marketplace = self.peers.marketplace(&self.at.caller());
            if !marketplace.release_account(request).await?.into_inner().more {
                return Ok(());
            }
        }
    }

    pub(super) async fn parameters(&self) -> Result<(), StepError> {
        loop {
            let (saga, account_id) = (self.at.saga_step(), self.account.to_owned());
            let request = ReleaseParametersRequest { saga, account_id };
            let mut catalog = self.peers.own_parameters(&self.at.caller());
            if !catalog.release_parameters(request).await?.into_inner().more {
                return Ok(());
            }
        }
    }
}

/// What is not there needs no deleting.
fn gone<T>(answer: Result<T, Status>) -> Result<(), StepError> {
    match answer {
        Err(status) if status.code() != Code::NotFound => Err(status.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
