//! What the two gRPC faces show, called without a wire.

// A test that cannot go on fails, which is what unwrapping does.
#![allow(clippy::unwrap_used)]

mod fleet;

use fleet::{ACCOUNT, Running, volume};
use tonic::{Code, Request};
use tonic_types::StatusExt as _;
use vmint_api::{
    launcher::v1::{
        self as pb, launcher_internal_service_server::LauncherInternalService as _,
        launcher_service_server::LauncherService as _,
    },
    types::v1::{Filter, SagaStep},
};
use vmint_ids::{ImageId, InstanceId};
use vmint_launcher::{Grpc, Internal};
use vmint_rpc::Caller;

fn as_user<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Caller::account(ACCOUNT, "me"));
    request
}

fn saga() -> SagaStep {
    SagaStep { saga_id: "0".repeat(32), step: "x".into(), epoch: 1 }
}

async fn launch(internal: &Internal) -> String {
    let id = InstanceId::random().to_string();
    let reserve = pb::EnsureReservedRequest {
        saga: Some(saga()),
        account_id: ACCOUNT.into(),
        image_id: ImageId::random().to_string(),
        instance_type: "v1.nano".into(),
        instance_ids: vec![id.clone()],
        architecture: "x86_64".into(),
        boot_mode: "legacy-bios".into(),
        name: "web".into(),
        ..pb::EnsureReservedRequest::default()
    };
    internal.ensure_reserved(Request::new(reserve)).await.unwrap();
    let v = volume();
    let volumes = vec![pb::AttachedVolume {
        volume_id: v.id,
        device_name: v.device,
        delete_on_termination: true,
        export_path: v.export.to_str().unwrap().into(),
        size_bytes: i64::try_from(v.size_bytes).unwrap(),
        attach_time: None,
    }];
    let instances = vec![pb::InstanceVolumes { instance_id: id.clone(), volumes }];
    let identity = pb::EnsureIdentityRequest { saga: Some(saga()), instances };
    internal.ensure_identity(Request::new(identity)).await.unwrap();
    let machines = pb::EnsureMachinesRequest { saga: Some(saga()), instance_ids: vec![id.clone()] };
    internal.ensure_machines(Request::new(machines)).await.unwrap();
    id
}

#[tokio::test]
async fn only_services_see_where_volumes_are_exported() {
    let running = Running::start().await;
    let (public, internal) =
        (Grpc::new(running.launcher.clone()), Internal::new(running.launcher.clone()));
    let id = launch(&internal).await;

    let get = pb::GetInstanceRequest { instance_id: "web".into() };
    let shown = public.get_instance(as_user(get)).await.unwrap().into_inner().instance.unwrap();
    let ids = pb::BatchGetInstancesRequest { instance_ids: vec!["?".into(), id.clone()] };
    let batch = internal.batch_get_instances(Request::new(ids)).await.unwrap().into_inner();

    assert_eq!(
        (shown.instance_id.as_str(), shown.state()),
        (id.as_str(), pb::InstanceState::Running)
    );
    assert_eq!((shown.accelerator.as_str(), shown.volumes.len()), ("tcg", 1));
    assert!(shown.machine_start_time.is_some() && shown.ssh_endpoint.is_some());
    assert_eq!(shown.volumes[0].export_path, "");
    assert_eq!(batch.instances[0].volumes[0].export_path, "/run/exports/a/nbd.sock");
}

#[tokio::test]
async fn refusals_name_their_reason() {
    let running = Running::start().await;
    let (public, internal) =
        (Grpc::new(running.launcher.clone()), Internal::new(running.launcher.clone()));
    let get = pb::GetInstanceRequest { instance_id: "nothing".into() };
    let absent = public.get_instance(as_user(get)).await.unwrap_err();
    assert_eq!(absent.code(), Code::NotFound);
    let filters = vec![Filter { name: "colour".into(), values: vec!["x".into()] }];
    let list = pb::ListInstancesRequest { filters, ..pb::ListInstancesRequest::default() };
    let unknown = public.list_instances(as_user(list)).await.unwrap_err();
    let terminate = pb::EnsureTerminatedRequest::default();
    let no_saga = internal.ensure_terminated(Request::new(terminate)).await.unwrap_err();
    for (status, reason) in
        [(absent, "INSTANCE_NOT_FOUND"), (unknown, "FILTER_INVALID"), (no_saga, "FIELD_INVALID")]
    {
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.domain.as_str(), info.reason.as_str()), ("launcher.vmint", reason));
    }
}

#[tokio::test]
async fn pages_of_both_listings_join_up() {
    let running = Running::start().await;
    let (public, internal) =
        (Grpc::new(running.launcher.clone()), Internal::new(running.launcher.clone()));
    for n in 0..3 {
        launch(&internal).await;
        let name = format!("key {n}");
        let make = pb::CreateKeyPairRequest { name, ..pb::CreateKeyPairRequest::default() };
        public.create_key_pair(as_user(make)).await.unwrap();
    }
    let mut list = pb::ListInstancesRequest { page_size: 2, ..pb::ListInstancesRequest::default() };
    let first = public.list_instances(as_user(list.clone())).await.unwrap().into_inner();
    list.page_token = first.next_page_token;
    let rest = public.list_instances(as_user(list)).await.unwrap().into_inner();
    assert_eq!((first.instances.len(), rest.instances.len()), (2, 1));
    assert_eq!(rest.next_page_token, "");

    let mut list = pb::ListKeyPairsRequest { page_size: 2, ..Default::default() };
    let first = public.list_key_pairs(as_user(list.clone())).await.unwrap().into_inner();
    list.page_token = first.next_page_token;
    let rest = public.list_key_pairs(as_user(list)).await.unwrap().into_inner();
    assert_eq!((first.key_pairs.len(), rest.key_pairs.len()), (2, 1));
}
