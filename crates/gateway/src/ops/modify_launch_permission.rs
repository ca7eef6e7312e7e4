use std::time::Duration;

use prost::Message;
use tonic::Status;
use vmint_api::{
    catalog::v1::{EnsureVisibilityHintRequest, Image, ImageState},
    gateway::v1::{ModifyLaunchPermissionRequest, ModifyLaunchPermissionResponse},
    permissions::v1::EnsureLaunchPermissionRequest,
    storage::v1::BatchGetSnapshotsRequest,
};
use vmint_ids::AccountId;
use vmint_rpc::{Caller, Retry, retry};

use super::{
    Gateway, asked,
    find_image::{on_behalf, state_name},
    shared_with::SharedWith,
};
use crate::{
    GatewayError,
    peers::Peers,
    saga::{At, Kind, StepError},
};

impl Gateway {
    /// Changes who may launch an image of the caller's own; binds the next call.
    pub(crate) async fn modify_launch_permission(
        &self,
        caller: &Caller,
        request: ModifyLaunchPermissionRequest,
    ) -> Result<ModifyLaunchPermissionResponse, Status> {
        let asked = asked(caller, "ModifyLaunchPermission", &request.request_id, &request)?;
        let saga = match self.sagas.replayed(&asked).await? {
            Some(saga) => saga,
            None => {
                check_accounts("add_account_ids", &request.add_account_ids)?;
                check_accounts("remove_account_ids", &request.remove_account_ids)?;
                let image = self.own_image(caller, &request.image_id).await?;
                let id = image.image_id.clone();
                if !matches!(image.state(), ImageState::Available | ImageState::Pending) {
                    let state = state_name(image.state());
                    return Err(GatewayError::NotAvailable { id, state }.into());
                }
                if request.add_public && !image.product_codes.is_empty() {
                    return Err(GatewayError::HasProducts { id }.into());
                }
                if request.add_public && self.is_encrypted(caller, &image).await? {
                    return Err(GatewayError::Encrypted { id }.into());
                }
                let change = EnsureLaunchPermissionRequest {
                    saga: None,
                    image_id: id.clone(),
                    account_id: caller.account.clone(),
                    add_account_ids: request.add_account_ids,
                    remove_account_ids: request.remove_account_ids,
                    add_public: request.add_public,
                    remove_public: request.remove_public,
                    reset: request.reset,
                };
                let change = ShareRequest { change: Some(change) };
                self.sagas.begin::<Share>(caller, &asked, vec![id], &change).await?
            }
        };
        let SharedWith { public, account_ids, revision } = self.sagas.to_end::<Share>(saga).await?;
        Ok(ModifyLaunchPermissionResponse { public, account_ids, revision })
    }

    async fn is_encrypted(&self, caller: &Caller, image: &Image) -> Result<bool, Status> {
        let disks = image.block_device_mappings.iter().filter_map(|disk| disk.ebs.as_ref());
        let snapshot_ids: Vec<_> =
            disks.map(|ebs| ebs.snapshot_id.clone()).filter(|id| !id.is_empty()).collect();
        if snapshot_ids.is_empty() {
            return Ok(false);
        }
        let storage = self.peers.storage(&on_behalf(caller));
        let found = retry(Retry::default(), || {
            let request = BatchGetSnapshotsRequest { snapshot_ids: snapshot_ids.clone() };
            let mut storage = storage.clone();
            async move { storage.batch_get_snapshots(request).await }
        });
        Ok(found.await?.into_inner().snapshots.iter().any(|snapshot| snapshot.encrypted))
    }
}

pub(super) fn check_accounts(field: &str, ids: &[String]) -> Result<(), GatewayError> {
    for (at, id) in ids.iter().enumerate() {
        id.parse::<AccountId>()
            .map_err(|error| GatewayError::invalid(format!("{field}[{at}]"), error.to_string()))?;
    }
    Ok(())
}

/// **permission** → hint to the catalog.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) peers: Peers,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Permission,
    Hint,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ShareRequest {
    #[prost(message, optional, tag = "1")]
    change: Option<EnsureLaunchPermissionRequest>,
}

#[tonic::async_trait]
impl Kind for Share {
    type Step = Step;
    type Request = ShareRequest;
    type Memo = SharedWith;

    const NAME: &'static str = "share";
    const STEPS: &'static [Step] = &[Step::Permission, Step::Hint];
    const PIVOT: usize = 0;
    const PATIENCE: Duration = Duration::from_secs(45);

    fn name(step: Step) -> &'static str {
        match step {
            Step::Permission => "permission",
            Step::Hint => "hint",
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
                let change = EnsureLaunchPermissionRequest { saga: at.saga_step(), ..change };
                let mut permissions = self.peers.permissions(&at.caller());
                let now = permissions.ensure_launch_permission(change).await?.into_inner();
                *memo = SharedWith {
                    public: now.public,
                    account_ids: now.account_ids,
                    revision: now.revision,
                };
            }
            Step::Hint => {
                let hint = EnsureVisibilityHintRequest {
                    image_id: change.image_id,
                    public: memo.public,
                    account_ids: memo.account_ids.clone(),
                    revision: memo.revision,
                };
                self.peers.catalog(&at.caller()).ensure_visibility_hint(hint).await?;
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
