//! What can drift between services, looked after from time to time.

use std::{collections::HashSet, time::Duration};

use tokio_util::sync::CancellationToken;
use tonic::Status;
use vmint_api::{
    launcher::v1::{BatchGetInstancesRequest, InstanceState},
    storage::v1::{ListAttachedVolumesRequest, ReleaseVolumesRequest},
    types::v1::SagaStep,
};
use vmint_rpc::Caller;

use crate::{
    ops::AT_ONCE,
    peers::Peers,
    saga::{Executor, SagaId},
};

const EVERY: Duration = Duration::from_secs(30);
const AT_FIRST: Duration = Duration::from_secs(3);
const PAGE: i32 = 500;

/// Sees to volumes whose instance is gone, until stopped.
pub(crate) async fn run(peers: Peers, sagas: Executor, stop: CancellationToken) {
    let mut pause = AT_FIRST;
    let mut suspects = HashSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = EVERY;
        let round = round(&peers, &sagas, &mut suspects);
        tokio::select! {
            () = stop.cancelled() => return,
            done = round => if let Err(status) = done {
                tracing::warn!(error = status.message(), "reconciling is put off");
            },
        }
    }
}

/// Releases the volumes of instances that are terminated, or that nobody knows
/// of in two rounds; answers how many instances.
///
/// One round is not enough for the latter: an instance may be about to be.
pub(crate) async fn round(
    peers: &Peers,
    sagas: &Executor,
    suspects: &mut HashSet<String>,
) -> Result<usize, Status> {
    let caller = Caller::service(vmint_rpc::GATEWAY);
    let (mut storage, mut launcher) = (peers.storage(&caller), peers.launcher(&caller));
    let (mut page_token, mut unknown, mut released) = (String::new(), HashSet::new(), 0);
    loop {
        let request = ListAttachedVolumesRequest { page_size: PAGE, page_token };
        let page = storage.list_attached_volumes(request).await?.into_inner();
        let ids = page.volumes.into_iter().map(|volume| volume.instance_id);
        let ids = ids.filter(|id| !id.is_empty() && !sagas.concerns(id));
        let ids = ids.collect::<HashSet<_>>();
        if !ids.is_empty() {
            let request = BatchGetInstancesRequest { instance_ids: ids.iter().cloned().collect() };
            let known = launcher.batch_get_instances(request).await?.into_inner().instances;
            let mut gone = Vec::new();
            for instance in &known {
                if instance.state() == InstanceState::Terminated {
                    gone.push(instance.instance_id.clone());
                }
            }
            let known = known.into_iter().map(|i| i.instance_id).collect::<HashSet<_>>();
            for id in ids.difference(&known) {
                unknown.insert(id.clone());
                if suspects.contains(id) {
                    gone.push(id.clone());
                }
            }
            // A saga may have begun since.
            gone.retain(|id| !sagas.concerns(id));
            if !gone.is_empty() {
                tracing::info!(instances = ?gone, "releasing the volumes of ended instances");
                released += gone.len();
                for ids in gone.chunks(AT_ONCE) {
                    let saga = SagaStep {
                        saga_id: SagaId::draw().to_string(),
                        step: "reconcile".to_owned(),
                        epoch: sagas.epoch(),
                    };
                    let instance_ids = ids.to_vec();
                    let request =
                        ReleaseVolumesRequest { saga: Some(saga), instance_ids, undo: false };
                    storage.release_volumes(request).await?;
                }
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            *suspects = unknown;
            return Ok(released);
        }
    }
}
