use std::time::Duration;

use prost::Message;
use tonic::Status;
use vmint_api::{
    gateway::v1::{
        GetSnapshotPermissionRequest, GetSnapshotPermissionResponse,
        ModifySnapshotPermissionRequest, ModifySnapshotPermissionResponse,
        ResetSnapshotPermissionRequest, ResetSnapshotPermissionResponse,
    },
    permissions::v1::{EnsureVolumePermissionRequest, GetVolumePermissionRequest},
    storage::v1::{BatchGetSnapshotsRequest, EnsureSnapshotSharingRequest, Snapshot},
};
use vmint_rpc::{Caller, Retry, retry};
use vmint_store::Asked;

use super::{
    Gateway, asked, find_image::on_behalf, modify_launch_permission::check_accounts,
    shared_with::SharedWith,
};
use crate::{
    DiskError, GatewayError,
    peers::Peers,
    saga::{At, Kind, StepError},
};

/// EC2's bound for one call.
const AT_MOST: usize = 500;

impl Gateway {
    /// Changes who may make volumes of a snapshot of the caller's own; binds
    /// the next call.
    pub(crate) async fn modify_snapshot_permission(
        &self,
        caller: &Caller,
        request: ModifySnapshotPermissionRequest,
    ) -> Result<ModifySnapshotPermissionResponse, Status> {
        let asked = asked(caller, "ModifySnapshotPermission", &request.request_id, &request)?;
        check_accounts("add_account_ids", &request.add_account_ids)?;
        check_accounts("remove_account_ids", &request.remove_account_ids)?;
        let changes = request.add_account_ids.len() + request.remove_account_ids.len();
        if changes > AT_MOST {
            let why = format!("change at most {AT_MOST} accounts at once");
            return Err(GatewayError::invalid("add_account_ids", why).into());
        }
        let public = request.add_public && !request.remove_public;
        let change = EnsureVolumePermissionRequest {
            saga: None,
            snapshot_id: request.snapshot_id,
            account_id: caller.account.clone(),
            add_account_ids: request.add_account_ids,
            remove_account_ids: request.remove_account_ids,
            add_public: request.add_public,
            remove_public: request.remove_public,
            reset: false,
        };
        let memo = self.share_snapshot(caller, &asked, change, public).await?;
        Ok(ModifySnapshotPermissionResponse { public: memo.public, account_ids: memo.account_ids })
    }

    /// Takes a snapshot of the caller's own back from everybody else.
    pub(crate) async fn reset_snapshot_permission(
        &self,
        caller: &Caller,
        request: ResetSnapshotPermissionRequest,
    ) -> Result<ResetSnapshotPermissionResponse, Status> {
        let asked = asked(caller, "ResetSnapshotPermission", &request.request_id, &request)?;
        let change = EnsureVolumePermissionRequest {
            snapshot_id: request.snapshot_id,
            account_id: caller.account.clone(),
            reset: true,
            ..EnsureVolumePermissionRequest::default()
        };
        self.share_snapshot(caller, &asked, change, false).await?;
        Ok(ResetSnapshotPermissionResponse {})
    }

    /// Says whom a snapshot of the caller's own is shared with.
    pub(crate) async fn get_snapshot_permission(
        &self,
        caller: &Caller,
        request: GetSnapshotPermissionRequest,
    ) -> Result<GetSnapshotPermissionResponse, Status> {
        let snapshot = self.own_snapshot(caller, &request.snapshot_id).await?;
        let request = GetVolumePermissionRequest {
            snapshot_id: snapshot.snapshot_id,
            account_id: caller.account.clone(),
        };
        let permissions = self.peers.snapshot_rights(&on_behalf(caller));
        let answer = retry(Retry::default(), || {
            let (mut permissions, request) = (permissions.clone(), request.clone());
            async move { permissions.get_volume_permission(request).await }
        });
        let answer = answer.await?.into_inner();
        let (public, account_ids) = (answer.public, answer.account_ids);
        Ok(GetSnapshotPermissionResponse { public, account_ids })
    }

    async fn share_snapshot(
        &self,
        caller: &Caller,
        asked: &Asked,
        change: EnsureVolumePermissionRequest,
        public: bool,
    ) -> Result<SharedWith, Status> {
        let saga = match self.sagas.replayed(asked).await? {
            Some(saga) => saga,
            None => {
                let snapshot = self.own_snapshot(caller, &change.snapshot_id).await?;
                let id = snapshot.snapshot_id;
                if public && snapshot.encrypted {
                    return Err(DiskError::SnapshotEncrypted { id }.into());
                }
                if public && !snapshot.product_codes.is_empty() {
                    return Err(DiskError::SnapshotSold { id }.into());
                }
                let request = ShareRequest { change: Some(change) };
                self.sagas.begin::<ShareSnapshot>(caller, asked, vec![id], &request).await?
            }
        };
        self.sagas.to_end::<ShareSnapshot>(saga).await
    }

    async fn own_snapshot(&self, caller: &Caller, id: &str) -> Result<Snapshot, Status> {
        let request = BatchGetSnapshotsRequest { snapshot_ids: vec![id.to_owned()] };
        let storage = self.peers.storage(&on_behalf(caller));
        let answer = retry(Retry::default(), || {
            let (mut storage, request) = (storage.clone(), request.clone());
            async move { storage.batch_get_snapshots(request).await }
        });
        let found = answer.await?.into_inner().snapshots.into_iter().next();
        let found = found.filter(|snapshot| snapshot.account_id == caller.account);
        found.ok_or_else(|| DiskError::NoSnapshot { id: id.to_owned() }.into())
    }
}

/// **permission** → storage, which decides by it.
#[derive(Debug)]
pub(super) struct ShareSnapshot {
    pub(super) peers: Peers,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Permission,
    Storage,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ShareRequest {
    #[prost(message, optional, tag = "1")]
    change: Option<EnsureVolumePermissionRequest>,
}

#[tonic::async_trait]
impl Kind for ShareSnapshot {
    type Step = Step;
    type Request = ShareRequest;
    type Memo = SharedWith;

    const NAME: &'static str = "share-snapshot";
    const STEPS: &'static [Step] = &[Step::Permission, Step::Storage];
    const PIVOT: usize = 0;
    const PATIENCE: Duration = Duration::from_secs(45);

    fn name(step: Step) -> &'static str {
        match step {
            Step::Permission => "permission",
            Step::Storage => "storage",
        }
    }

    async fn run(
        &self,
        step: Step,
        at: &At,
        request: &ShareRequest,
        memo: &mut SharedWith,
    ) -> Result<(), StepError> {
        let change = request.change.clone().unwrap_or_default();
        match step {
            Step::Permission => {
                let change = EnsureVolumePermissionRequest { saga: at.saga_step(), ..change };
                let mut permissions = self.peers.snapshot_rights(&at.caller());
                let now = permissions.ensure_volume_permission(change).await?.into_inner();
                *memo = SharedWith {
                    public: now.public,
                    account_ids: now.account_ids,
                    revision: now.revision,
                };
            }
            Step::Storage => {
                let sharing = EnsureSnapshotSharingRequest {
                    saga: at.saga_step(),
                    snapshot_id: change.snapshot_id,
                    public: memo.public,
                    account_ids: memo.account_ids.clone(),
                    revision: memo.revision,
                };
                self.peers.volumes(&at.caller()).ensure_snapshot_sharing(sharing).await?;
            }
        }
        Ok(())
    }

    async fn undo(
        &self,
        _: Step,
        _: &At,
        _: &ShareRequest,
        _: &SharedWith,
    ) -> Result<(), StepError> {
        // Its first step is the pivot and changes nothing if it fails.
        Ok(())
    }
}
