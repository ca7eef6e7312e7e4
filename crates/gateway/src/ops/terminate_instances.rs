use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use prost::Message;
use tonic::Status;
use vmint_api::{
    gateway::v1::{TerminateInstancesRequest, TerminateInstancesResponse},
    launcher::v1::{EnsureTerminatedRequest, Instance},
    storage::v1::ReleaseVolumesRequest,
};
use vmint_rpc::Caller;

use super::{AT_ONCE, Gateway, asked, part};
use crate::{
    GatewayError,
    peers::Peers,
    saga::{At, Kind, StepError},
};

/// At most this many in one request.
const AT_MOST: usize = 100;

impl Gateway {
    /// Ends instances of the caller's own, and the volumes that go with them.
    pub(crate) async fn terminate_instances(
        &self,
        caller: &Caller,
        request: TerminateInstancesRequest,
    ) -> Result<TerminateInstancesResponse, Status> {
        let asked = asked(caller, "TerminateInstances", &request.request_id, &request)?;
        let saga = match self.sagas.replayed(&asked).await? {
            Some(saga) => saga,
            None => {
                if request.instance_ids.is_empty() || request.instance_ids.len() > AT_MOST {
                    let why = format!("name 1 to {AT_MOST} instances");
                    return Err(GatewayError::invalid("instance_ids", why).into());
                }
                let found = stream::iter(request.instance_ids.clone())
                    .map(|reference| async move { self.own_instance(caller, &reference).await })
                    .buffered(8)
                    .map_ok(|instance| instance.instance_id);
                let mut instance_ids = found.try_collect::<Vec<_>>().await?;
                instance_ids.sort_unstable();
                instance_ids.dedup();
                let plan = TerminatePlan { instance_ids: instance_ids.clone() };
                self.sagas.begin::<Terminate>(caller, &asked, instance_ids, &plan).await?
            }
        };
        let memo = self.sagas.to_end::<Terminate>(saga).await?;
        Ok(TerminateInstancesResponse { instances: memo.instances })
    }
}

/// **machines** → volumes.
#[derive(Debug)]
pub(super) struct Terminate {
    pub(super) peers: Peers,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Machines,
    Volumes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TerminatePlan {
    #[prost(string, repeated, tag = "1")]
    instance_ids: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TerminateMemo {
    #[prost(message, repeated, tag = "1")]
    instances: Vec<Instance>,
}

#[tonic::async_trait]
impl Kind for Terminate {
    type Step = Step;
    type Request = TerminatePlan;
    type Memo = TerminateMemo;

    const NAME: &'static str = "terminate";
    const STEPS: &'static [Step] = &[Step::Machines, Step::Volumes];
    const PIVOT: usize = 0;
    const PATIENCE: Duration = Duration::from_mins(5);

    fn name(step: Step) -> &'static str {
        match step {
            Step::Machines => "machines",
            Step::Volumes => "volumes",
        }
    }

    async fn run(
        &self,
        step: Step,
        at: &At,
        plan: &TerminatePlan,
        memo: &mut TerminateMemo,
    ) -> Result<(), StepError> {
        let chunks = plan.instance_ids.chunks(AT_ONCE).zip(1_usize..);
        match step {
            Step::Machines => {
                memo.instances.clear();
                for (ids, n) in chunks {
                    let request = EnsureTerminatedRequest {
                        saga: part(at.saga_step(), &n.to_string()),
                        instance_ids: ids.to_vec(),
                        account_id: at.account.clone(),
                    };
                    let mut launcher = self.peers.launcher(&at.caller());
                    let ended = launcher.ensure_terminated(request).await?.into_inner();
                    memo.instances.extend(ended.instances.into_iter().map(without_bulk));
                }
            }
            Step::Volumes => {
                for (ids, n) in chunks {
                    let request = ReleaseVolumesRequest {
                        saga: part(at.saga_step(), &n.to_string()),
                        instance_ids: ids.to_vec(),
                        undo: false,
                    };
                    self.peers.storage(&at.caller()).release_volumes(request).await?;
                }
            }
        }
        Ok(())
    }

    async fn undo(
        &self,
        _: Step,
        _: &At,
        _: &TerminatePlan,
        _: &TerminateMemo,
    ) -> Result<(), StepError> {
        // What has been ended stays ended; the reconciler sees to its volumes.
        Ok(())
    }
}

/// A hundred instances must fit into one record of the log.
fn without_bulk(mut instance: Instance) -> Instance {
    instance.tags.clear();
    instance.volumes.clear();
    instance.sandbox_gaps.clear();
    instance
}
