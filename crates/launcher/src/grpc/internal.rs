//! What sagas and other services ask.

use tonic::Request;
use vmint_api::launcher::v1::{
    self as pb, launcher_internal_service_server::LauncherInternalService,
};
use vmint_rpc::to_status;

use super::{Answer, answer, convert};
use crate::{Instance, Launcher};

/// What services ask of a [`Launcher`].
#[derive(Debug)]
pub struct Internal {
    launcher: Launcher,
}

impl Internal {
    #[must_use]
    pub fn new(launcher: Launcher) -> Self {
        Self { launcher }
    }
}

fn all(instances: Vec<Instance>) -> Vec<pb::Instance> {
    instances.into_iter().map(Into::into).collect()
}

#[tonic::async_trait]
impl LauncherInternalService for Internal {
    async fn ensure_reserved(
        &self,
        request: Request<pb::EnsureReservedRequest>,
    ) -> Answer<pb::EnsureReservedResponse> {
        let asked = convert::reservation(request.into_inner()).map_err(|e| to_status(&e))?;
        let made = self.launcher.reserve(asked).await;
        answer(made.map(|made| pb::EnsureReservedResponse { instances: all(made) }))
    }

    async fn ensure_identity(
        &self,
        request: Request<pb::EnsureIdentityRequest>,
    ) -> Answer<pb::EnsureIdentityResponse> {
        let r = request.into_inner();
        let epoch = convert::epoch(r.saga.as_ref()).map_err(|e| to_status(&e))?;
        let given = convert::volumes(r.instances).map_err(|e| to_status(&e))?;
        let made = self.launcher.identify(epoch, given).await;
        answer(made.map(|made| pb::EnsureIdentityResponse { instances: all(made) }))
    }

    async fn ensure_machines(
        &self,
        request: Request<pb::EnsureMachinesRequest>,
    ) -> Answer<pb::EnsureMachinesResponse> {
        let r = request.into_inner();
        let epoch = convert::epoch(r.saga.as_ref()).map_err(|e| to_status(&e))?;
        let ids = convert::ids(&r.instance_ids).map_err(|e| to_status(&e))?;
        let running = self.launcher.ensure_machines(epoch, &ids).await;
        answer(running.map(|running| pb::EnsureMachinesResponse { instances: all(running) }))
    }

    async fn release_instances(
        &self,
        request: Request<pb::ReleaseInstancesRequest>,
    ) -> Answer<pb::ReleaseInstancesResponse> {
        let r = request.into_inner();
        let epoch = convert::epoch(r.saga.as_ref()).map_err(|e| to_status(&e))?;
        let ids = convert::ids(&r.instance_ids).map_err(|e| to_status(&e))?;
        let released = self.launcher.release(epoch, ids, &r.reason).await;
        answer(released.map(|()| pb::ReleaseInstancesResponse {}))
    }

    async fn ensure_terminated(
        &self,
        request: Request<pb::EnsureTerminatedRequest>,
    ) -> Answer<pb::EnsureTerminatedResponse> {
        let r = request.into_inner();
        let epoch = convert::epoch(r.saga.as_ref()).map_err(|e| to_status(&e))?;
        let ids = convert::ids(&r.instance_ids).map_err(|e| to_status(&e))?;
        let ended = self.launcher.terminate(epoch, &r.account_id, ids).await;
        answer(ended.map(|ended| pb::EnsureTerminatedResponse { instances: all(ended) }))
    }

    async fn release_ended(
        &self,
        request: Request<pb::ReleaseEndedRequest>,
    ) -> Answer<pb::ReleaseEndedResponse> {
        let r = request.into_inner();
        let epoch = convert::epoch(r.saga.as_ref()).map_err(|e| to_status(&e))?;
        let more = self.launcher.release_ended(epoch, &r.account_id).await;
        answer(more.map(|more| pb::ReleaseEndedResponse { more }))
    }

    async fn ensure_volume_plugged(
        &self,
        request: Request<pb::EnsureVolumePluggedRequest>,
    ) -> Answer<pb::EnsureVolumePluggedResponse> {
        let r = request.into_inner();
        let epoch = convert::epoch(r.saga.as_ref()).map_err(|e| to_status(&e))?;
        let id = convert::id(&r.instance_id).map_err(|e| to_status(&e))?;
        let (account, volume) = convert::plug(r);
        let plugged = self.launcher.plug(epoch, &account, id, volume).await;
        answer(plugged.map(|v| pb::EnsureVolumePluggedResponse { volume: Some((&v).into()) }))
    }

    async fn release_volume_plug(
        &self,
        request: Request<pb::ReleaseVolumePlugRequest>,
    ) -> Answer<pb::ReleaseVolumePlugResponse> {
        let r = request.into_inner();
        let epoch = convert::epoch(r.saga.as_ref()).map_err(|e| to_status(&e))?;
        let id = convert::id(&r.instance_id).map_err(|e| to_status(&e))?;
        let gone = self.launcher.unplug(epoch, &r.account_id, id, &r.volume_id, r.force).await;
        answer(gone.map(|()| pb::ReleaseVolumePlugResponse {}))
    }

    async fn ensure_halted(
        &self,
        request: Request<pb::EnsureHaltedRequest>,
    ) -> Answer<pb::EnsureHaltedResponse> {
        let r = request.into_inner();
        let epoch = convert::epoch(r.saga.as_ref()).map_err(|e| to_status(&e))?;
        let id = convert::id(&r.instance_id).map_err(|e| to_status(&e))?;
        let halted = self.launcher.halt(epoch, &r.account_id, id).await;
        answer(halted.map(|i| pb::EnsureHaltedResponse { instance: Some(i.into()) }))
    }

    async fn release_halt(
        &self,
        request: Request<pb::ReleaseHaltRequest>,
    ) -> Answer<pb::ReleaseHaltResponse> {
        let r = request.into_inner();
        let epoch = convert::epoch(r.saga.as_ref()).map_err(|e| to_status(&e))?;
        let id = convert::id(&r.instance_id).map_err(|e| to_status(&e))?;
        let resumed = self.launcher.resume(epoch, &r.account_id, id).await;
        answer(resumed.map(|()| pb::ReleaseHaltResponse {}))
    }

    async fn batch_get_instances(
        &self,
        request: Request<pb::BatchGetInstancesRequest>,
    ) -> Answer<pb::BatchGetInstancesResponse> {
        let ids = convert::known_ids(&request.get_ref().instance_ids).map_err(|e| to_status(&e))?;
        let found = self.launcher.batch_get(&ids);
        answer(found.map(|found| pb::BatchGetInstancesResponse { instances: all(found) }))
    }

    async fn list_events(
        &self,
        request: Request<pb::ListEventsRequest>,
    ) -> Answer<pb::ListEventsResponse> {
        let r = request.get_ref();
        let limit = usize::try_from(r.limit).unwrap_or(0);
        let events = self.launcher.events(r.after, limit).await;
        answer(events.map(|events| pb::ListEventsResponse {
            events: events.into_iter().map(Into::into).collect(),
        }))
    }
}
