//! What can drift between services, looked after from time to time.

use std::{collections::HashSet, time::Duration};

use tokio_util::sync::CancellationToken;
use tonic::Status;
use vmint_api::{
    launcher::v1::{BatchGetInstancesRequest, InstanceState},
    permissions::v1::{ListVolumePermissionsRequest, ReleaseVolumePermissionsRequest},
    storage::v1::{BatchGetSnapshotsRequest, ListAttachedVolumesRequest, ReleaseVolumesRequest},
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

/// Sees to volumes whose instance is gone, and to what was shared of snapshots
/// that are, until stopped.
pub(crate) async fn run(peers: Peers, sagas: Executor, stop: CancellationToken) {
    let mut pause = AT_FIRST;
    let mut suspects = HashSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = EVERY;
        let round = async {
            round(&peers, &sagas, &mut suspects).await?;
            forget_shares(&peers, &sagas).await
        };
        tokio::select! {
            () = stop.cancelled() => return,
            done = round => if let Err(status) = done {
                tracing::warn!(error = status.message(), "reconciling is put off");
            },
        }
    }
}

/// Forgets whom snapshots were shared with that are no more; answers how many
/// snapshots. A snapshot that was shared was there, so it is not about to be.
pub(crate) async fn forget_shares(peers: &Peers, sagas: &Executor) -> Result<usize, Status> {
    let caller = Caller::service(vmint_rpc::GATEWAY);
    let (mut storage, mut rights) = (peers.storage(&caller), peers.snapshot_rights(&caller));
    let (mut page_token, mut forgotten) = (String::new(), 0);
    loop {
        let request = ListVolumePermissionsRequest { page_size: PAGE, page_token };
        let page = rights.list_volume_permissions(request).await?.into_inner();
        let snapshot_ids = page.snapshot_ids.clone();
        if !snapshot_ids.is_empty() {
            let request = BatchGetSnapshotsRequest { snapshot_ids };
            let there = storage.batch_get_snapshots(request).await?.into_inner().snapshots;
            let there = there.into_iter().map(|one| one.snapshot_id).collect::<HashSet<_>>();
            let gone = page.snapshot_ids.into_iter().filter(|id| !there.contains(id));
            for ids in gone.collect::<Vec<_>>().chunks(AT_ONCE) {
                forgotten += ids.len();
                let (saga, snapshot_ids) = (Some(step(sagas)), ids.to_vec());
                let request = ReleaseVolumePermissionsRequest { saga, snapshot_ids };
                rights.release_volume_permissions(request).await?;
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(forgotten);
        }
    }
}

/// A step of no saga.
fn step(sagas: &Executor) -> SagaStep {
    SagaStep {
        saga_id: SagaId::draw().to_string(),
        step: "reconcile".to_owned(),
        epoch: sagas.epoch(),
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
                    let (saga, instance_ids) = (Some(step(sagas)), ids.to_vec());
                    let request = ReleaseVolumesRequest { saga, instance_ids, undo: false };
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
