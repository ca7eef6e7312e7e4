use std::time::Duration;

use prost::Message;
use tonic::Status;
use vmint_api::{
    catalog::v1::{EnsureDeregisteredRequest, Image},
    gateway::v1::{DeregisterImageRequest, DeregisterImageResponse},
    permissions::v1::ReleaseImageOwnerRequest,
    storage::v1::ReleaseSnapshotUseRequest,
};
use vmint_rpc::Caller;

use super::{Gateway, asked, pending_image::missing};
use crate::{
    peers::Peers,
    saga::{At, Kind, StepError},
};

impl Gateway {
    /// Ends an image of the caller's own; what runs goes on.
    pub(crate) async fn deregister_image(
        &self,
        caller: &Caller,
        request: DeregisterImageRequest,
    ) -> Result<DeregisterImageResponse, Status> {
        if request.dry_run {
            return self.preview_deregistration(caller, request).await;
        }
        let asked = asked(caller, "DeregisterImage", &request.request_id, &request)?;
        let saga = match self.sagas.replayed(&asked).await? {
            Some(saga) => saga,
            None => {
                let image = self.own_image(caller, &request.image_id).await?;
                let plan = DeregisterPlan {
                    image_id: image.image_id,
                    delete_snapshots: request.delete_snapshots,
                };
                let subjects = vec![plan.image_id.clone()];
                self.sagas.begin::<Deregister>(caller, &asked, subjects, &plan).await?
            }
        };
        let memo = self.sagas.to_end::<Deregister>(saga).await?;
        let deleted_snapshot_ids = memo.deleted_snapshot_ids;
        Ok(DeregisterImageResponse { image: memo.image, deleted_snapshot_ids, freed_bytes: 0 })
    }

    /// Says what would go.
    async fn preview_deregistration(
        &self,
        caller: &Caller,
        request: DeregisterImageRequest,
    ) -> Result<DeregisterImageResponse, Status> {
        let image = self.own_image(caller, &request.image_id).await?;
        let release = ReleaseSnapshotUseRequest {
            image_id: image.image_id.clone(),
            delete_snapshots: request.delete_snapshots,
            dry_run: true,
            ..Default::default()
        };
        let release = self.peers.storage(caller).release_snapshot_use(release).await?.into_inner();
        Ok(DeregisterImageResponse {
            image: Some(image),
            deleted_snapshot_ids: release.deleted_snapshot_ids,
            freed_bytes: release.freed_bytes,
        })
    }
}

/// **record** → permissions → snapshots.
#[derive(Debug)]
pub(super) struct Deregister {
    pub(super) peers: Peers,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Record,
    Disown,
    Snapshots,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DeregisterPlan {
    #[prost(string, tag = "1")]
    image_id: String,
    #[prost(bool, tag = "2")]
    delete_snapshots: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DeregisterMemo {
    #[prost(message, optional, tag = "1")]
    image: Option<Image>,
    #[prost(string, repeated, tag = "2")]
    deleted_snapshot_ids: Vec<String>,
}

#[tonic::async_trait]
impl Kind for Deregister {
    type Step = Step;
    type Request = DeregisterPlan;
    type Memo = DeregisterMemo;

    const NAME: &'static str = "deregister";
    const STEPS: &'static [Step] = &[Step::Record, Step::Disown, Step::Snapshots];
    const PIVOT: usize = 0;
    const PATIENCE: Duration = Duration::from_secs(45);

    fn name(step: Step) -> &'static str {
        match step {
            Step::Record => "record",
            Step::Disown => "disown",
            Step::Snapshots => "snapshots",
        }
    }

    async fn run(
        &self,
        step: Step,
        at: &At,
        plan: &DeregisterPlan,
        memo: &mut DeregisterMemo,
    ) -> Result<(), StepError> {
        let (saga, image_id) = (at.saga_step(), plan.image_id.clone());
        match step {
            Step::Record => {
                let account_id = at.account.clone();
                let request = EnsureDeregisteredRequest { saga, image_id, account_id };
                let answer = self.peers.catalog(&at.caller()).ensure_deregistered(request).await?;
                let image = answer.into_inner().image.ok_or_else(|| missing("catalog"))?;
                memo.image = Some(image);
            }
            Step::Disown => {
                let request = ReleaseImageOwnerRequest { saga, image_id };
                self.peers.permissions(&at.caller()).release_image_owner(request).await?;
            }
            Step::Snapshots => {
                let request = ReleaseSnapshotUseRequest {
                    saga,
                    image_id,
                    delete_snapshots: plan.delete_snapshots,
                    dry_run: false,
                };
                let mut storage = self.peers.storage(&at.caller());
                let released = storage.release_snapshot_use(request).await?.into_inner();
                // Asked again, it has nothing left to delete.
                if !released.deleted_snapshot_ids.is_empty() {
                    memo.deleted_snapshot_ids = released.deleted_snapshot_ids;
                }
            }
        }
        Ok(())
    }

    async fn undo(
        &self,
        _: Step,
        _: &At,
        _: &DeregisterPlan,
        _: &DeregisterMemo,
    ) -> Result<(), StepError> {
        // Its first step is the pivot and changes nothing if it fails.
        Ok(())
    }
}
