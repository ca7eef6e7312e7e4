use std::{collections::BTreeSet, pin::Pin};

use futures::{Stream, StreamExt as _, stream};
use tonic::{Request, Response, Status, Streaming};
use vmint_api::launcher::v1::{
    self as launcher, InstanceState, launcher_internal_service_server::LauncherInternalService,
    launcher_service_server::LauncherService,
};
use vmint_rpc::Kind;

use super::{Fake, fake, no_such_call, once};
use crate::testing::world::refuse;

fake! {
    LauncherInternalService, launcher, "launcher", "launcher-internal";
    ensure_reserved("EnsureReserved" EnsureReservedRequest) -> EnsureReservedResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "launcher.vmint")?;
        if request.key_name == "unknown" {
            return Err(refuse(Kind::NotFound, "KEY_PAIR_NOT_FOUND", "launcher.vmint"));
        }
        for (id, index) in request.instance_ids.iter().zip(0..) {
            if world.instances.contains_key(id) {
                continue;
            }
            let instance = launcher::Instance {
                instance_id: id.clone(),
                account_id: request.account_id.clone(),
                image_id: request.image_id.clone(),
                state: InstanceState::Pending.into(),
                reservation_id: request.reservation_id.clone(),
                launch_index: index,
                product_codes: request.product_codes.clone(),
                tags: request.tags.clone(),
                ..launcher::Instance::default()
            };
            world.instances.insert(id.clone(), instance);
        }
        let instances = world.instances_of(&request.instance_ids);
        Ok(launcher::EnsureReservedResponse { instances })
    }
    ensure_identity("EnsureIdentity" EnsureIdentityRequest) -> EnsureIdentityResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "launcher.vmint")?;
        let mut ids = Vec::new();
        for given in request.instances {
            let instance = world.instances.get_mut(&given.instance_id).unwrap();
            assert!(!given.volumes.is_empty() && !given.volumes[0].export_path.is_empty());
            instance.volumes = given.volumes;
            ids.push(given.instance_id);
        }
        Ok(launcher::EnsureIdentityResponse { instances: world.instances_of(&ids) })
    }
    ensure_machines("EnsureMachines" EnsureMachinesRequest) -> EnsureMachinesResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "launcher.vmint")?;
        for id in &request.instance_ids {
            let instance = world.instances.get_mut(id).unwrap();
            if instance.state() == InstanceState::Terminated {
                let reason = "INSTANCE_STATE_INVALID";
                return Err(refuse(Kind::Precondition, reason, "launcher.vmint"));
            }
            assert!(!instance.volumes.is_empty(), "a machine without disks");
            instance.set_state(InstanceState::Running);
            world.machines.insert(id.clone());
        }
        Ok(launcher::EnsureMachinesResponse { instances: world.instances_of(&request.instance_ids) })
    }
    release_instances("ReleaseInstances" ReleaseInstancesRequest) -> ReleaseInstancesResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "launcher.vmint")?;
        for id in request.instance_ids {
            world.machines.remove(&id);
            if let Some(instance) = world.instances.get_mut(&id) {
                instance.set_state(InstanceState::Terminated);
                instance.state_reason.clone_from(&request.reason);
            }
        }
        Ok(launcher::ReleaseInstancesResponse {})
    }
    ensure_terminated("EnsureTerminated" EnsureTerminatedRequest) -> EnsureTerminatedResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "launcher.vmint")?;
        for id in &request.instance_ids {
            let instance = world.instances.get_mut(id).unwrap();
            assert_eq!(instance.account_id, request.account_id);
            instance.set_state(InstanceState::Terminated);
            world.machines.remove(id);
        }
        let instances = world.instances_of(&request.instance_ids);
        Ok(launcher::EnsureTerminatedResponse { instances })
    }
    ensure_halted("EnsureHalted" EnsureHaltedRequest) -> EnsureHaltedResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "launcher.vmint")?;
        let instance = world.instances.get_mut(&request.instance_id).unwrap();
        assert_eq!(instance.account_id, request.account_id);
        if instance.state() == InstanceState::Running {
            instance.set_state(InstanceState::Stopped);
            world.machines.remove(&request.instance_id);
        }
        let instance = world.instances.get(&request.instance_id).cloned();
        Ok(launcher::EnsureHaltedResponse { instance })
    }
    release_halt("ReleaseHalt" ReleaseHaltRequest) -> ReleaseHaltResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "launcher.vmint")?;
        let instance = world.instances.get_mut(&request.instance_id).unwrap();
        if instance.state() == InstanceState::Stopped {
            instance.set_state(InstanceState::Running);
            world.machines.insert(request.instance_id);
        }
        Ok(launcher::ReleaseHaltResponse {})
    }
    ensure_volume_plugged("EnsureVolumePlugged" EnsureVolumePluggedRequest)
        -> EnsureVolumePluggedResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "launcher.vmint")?;
        let plug = launcher::AttachedVolume {
            volume_id: request.volume_id,
            device_name: request.device_name,
            delete_on_termination: request.delete_on_termination,
            export_path: request.export_path,
            size_bytes: request.size_bytes,
            attach_time: None,
        };
        let instance = world.instances.get_mut(&request.instance_id).unwrap();
        assert_eq!(instance.account_id, request.account_id);
        if instance.state() == InstanceState::Terminated {
            return Err(refuse(Kind::Precondition, "INSTANCE_STATE_INVALID", "launcher.vmint"));
        }
        instance.volumes.retain(|there| there.volume_id != plug.volume_id);
        instance.volumes.push(plug.clone());
        Ok(launcher::EnsureVolumePluggedResponse { volume: Some(plug) })
    }
    release_volume_plug("ReleaseVolumePlug" ReleaseVolumePlugRequest) -> ReleaseVolumePlugResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "launcher.vmint")?;
        if let Some(instance) = world.instances.get_mut(&request.instance_id) {
            instance.volumes.retain(|there| there.volume_id != request.volume_id);
        }
        Ok(launcher::ReleaseVolumePlugResponse {})
    }
    release_ended("ReleaseEnded" ReleaseEndedRequest) -> ReleaseEndedResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "launcher.vmint")?;
        let ended = |one: &launcher::Instance| {
            one.state() == InstanceState::Terminated && one.account_id == request.account_id
        };
        world.instances.retain(|_, one| !ended(one));
        Ok(launcher::ReleaseEndedResponse { more: false })
    }
    batch_get_instances("BatchGetInstances" BatchGetInstancesRequest) -> BatchGetInstancesResponse
    |world, caller, request| {
        let ids = request.instance_ids.iter().collect::<BTreeSet<_>>();
        let found = world.instances.values().filter(|i| ids.contains(&i.instance_id));
        Ok(launcher::BatchGetInstancesResponse { instances: found.cloned().collect() })
    }
    list_events("ListEvents" ListEventsRequest) -> ListEventsResponse
    |_world, caller, _request| { Ok(launcher::ListEventsResponse::default()) }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fake! {
    LauncherService, launcher, "launcher", "launcher";
    get_instance("GetInstance" GetInstanceRequest) -> GetInstanceResponse |world, caller, request| {
        let found = world.instances.get(&request.instance_id);
        let found = found.filter(|i| i.account_id == caller.account).cloned();
        let not_found = || refuse(Kind::NotFound, "INSTANCE_NOT_FOUND", "launcher.vmint");
        Ok(launcher::GetInstanceResponse { instance: Some(found.ok_or_else(not_found)?) })
    }
    list_instances("ListInstances" ListInstancesRequest) -> ListInstancesResponse
    |world, caller, request| {
        let asked = |i: &&launcher::Instance| {
            let by_id = request.filters.iter().filter(|filter| filter.name == "instance-id");
            let group = request.filters.iter().filter(|it| it.name == "instance.group-id");
            i.account_id == caller.account
                && by_id.flat_map(|it| &it.values).all(|id| *id == i.instance_id)
                && group.flat_map(|it| &it.values).all(|id| i.security_group_ids.contains(id))
        };
        let instances = world.instances.values().filter(asked).cloned().collect();
        Ok(launcher::ListInstancesResponse { instances, next_page_token: String::new() })
    }
    stop_instance("StopInstance" StopInstanceRequest) -> StopInstanceResponse
    |_world, caller, _request| { no_such_call() }
    start_instance("StartInstance" StartInstanceRequest) -> StartInstanceResponse
    |_world, caller, _request| { no_such_call() }
    reboot_instance("RebootInstance" RebootInstanceRequest) -> RebootInstanceResponse
    |_world, caller, _request| { no_such_call() }
    get_console_output("GetConsoleOutput" GetConsoleOutputRequest) -> GetConsoleOutputResponse
    |_world, caller, _request| { no_such_call() }
    tag_resources("TagResources" TagResourcesRequest) -> TagResourcesResponse
    |_world, caller, _request| { no_such_call() }
    untag_resources("UntagResources" UntagResourcesRequest) -> UntagResourcesResponse
    |_world, caller, _request| { no_such_call() }
    modify_instance("ModifyInstance" ModifyInstanceRequest) -> ModifyInstanceResponse
    |_world, caller, _request| { no_such_call() }
    get_user_data("GetUserData" GetUserDataRequest) -> GetUserDataResponse
    |_world, caller, _request| { no_such_call() }
    list_instance_statuses("ListInstanceStatuses" ListInstanceStatusesRequest)
        -> ListInstanceStatusesResponse
    |_world, caller, _request| { no_such_call() }
    create_key_pair("CreateKeyPair" CreateKeyPairRequest) -> CreateKeyPairResponse
    |_world, caller, _request| { no_such_call() }
    import_key_pair("ImportKeyPair" ImportKeyPairRequest) -> ImportKeyPairResponse
    |_world, caller, _request| { no_such_call() }
    list_key_pairs("ListKeyPairs" ListKeyPairsRequest) -> ListKeyPairsResponse
    |_world, caller, _request| { no_such_call() }
    delete_key_pair("DeleteKeyPair" DeleteKeyPairRequest) -> DeleteKeyPairResponse
    |_world, caller, _request| { no_such_call() }
    list_instance_types("ListInstanceTypes" ListInstanceTypesRequest) -> ListInstanceTypesResponse
    |_world, caller, _request| { no_such_call() }
    get_host("GetHost" GetHostRequest) -> GetHostResponse
    |_world, caller, _request| { no_such_call() };

    type WatchInstanceStream = Answers<launcher::WatchInstanceResponse>;
    type StreamConsoleStream = Answers<launcher::StreamConsoleResponse>;
    type AttachConsoleStream = Answers<launcher::AttachConsoleResponse>;

    /// Never says anything.
    async fn watch_instance(
        &self,
        request: Request<launcher::WatchInstanceRequest>,
    ) -> Result<Response<Self::WatchInstanceStream>, Status> {
        drop(self.enter(request.metadata(), "launcher", "launcher:WatchInstance")?);
        Ok(Response::new(Box::pin(stream::pending())))
    }

    /// Three pieces, then a refusal in the trailers.
    async fn stream_console(
        &self,
        request: Request<launcher::StreamConsoleRequest>,
    ) -> Result<Response<Self::StreamConsoleStream>, Status> {
        drop(self.enter(request.metadata(), "launcher", "launcher:StreamConsole")?);
        let pieces = ["one", "two", "three"].map(|text| {
            Ok(launcher::StreamConsoleResponse { output: text.as_bytes().to_vec().into() })
        });
        let end = refuse(Kind::Precondition, "INSTANCE_STATE_INVALID", "launcher.vmint");
        Ok(Response::new(Box::pin(stream::iter(pieces).chain(stream::iter([Err(end)])))))
    }

    /// Says what it hears, at once.
    async fn attach_console(
        &self,
        request: Request<Streaming<launcher::AttachConsoleRequest>>,
    ) -> Result<Response<Self::AttachConsoleStream>, Status> {
        drop(self.enter(request.metadata(), "launcher", "launcher:AttachConsole")?);
        let heard = request.into_inner();
        let said = heard.map(|heard| {
            heard.map(|heard| launcher::AttachConsoleResponse { output: heard.input })
        });
        Ok(Response::new(Box::pin(said)))
    }
}
