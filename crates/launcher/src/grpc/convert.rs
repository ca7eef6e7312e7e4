//! Between messages and the launcher's own types.

use prost::Message;
use tonic::{Request, Status};
use vmint_api::{launcher::v1 as pb, types::v1 as types};
use vmint_ids::InstanceId;
use vmint_rpc::Caller;
use vmint_store::Asked;

use crate::{
    Happening, Instance, LauncherError, MachineEvent, OnPoweroff, Particulars, Reservation, Result,
    State, Volume, clock, hypervisor::Host,
};

const MOST_IDS: usize = 1000;
/// Instances that one step of a saga changes: their records must fit into one commit.
const MOST_AT_ONCE: usize = 20;

/// Who asks, under which request id, and what.
pub(super) fn asked<R: Message>(
    request: Request<R>,
    method: &str,
    id: impl FnOnce(&R) -> &String,
) -> Result<(String, Asked, R), Status> {
    let account = Caller::of_account(&request)?.account.clone();
    let request = request.into_inner();
    let asked = Asked {
        account: account.clone(),
        method: method.to_owned(),
        request_id: id(&request).clone(),
        digest: *blake3::hash(&request.encode_to_vec()).as_bytes(),
    };
    if asked.request_id.len() > 128 {
        let long = LauncherError::field("request_id", "is longer than 128 bytes");
        return Err(vmint_rpc::to_status(&long));
    }
    Ok((account, asked, request))
}

pub(super) fn epoch(saga: Option<&types::SagaStep>) -> Result<u64> {
    saga.map(|saga| saga.epoch).ok_or_else(|| LauncherError::field("saga", "must be set"))
}

pub(super) fn ids(texts: &[String]) -> Result<Vec<InstanceId>> {
    if texts.len() > MOST_AT_ONCE {
        return Err(LauncherError::field("instance_ids", "give at most 20"));
    }
    let bad = |_| LauncherError::field("instance_ids", "must be instances' ids");
    texts.iter().map(|text| text.parse().map_err(bad)).collect()
}

pub(super) fn id(text: &str) -> Result<InstanceId> {
    text.parse().map_err(|_| LauncherError::field("instance_id", "must be an instance's id"))
}

/// Who wants a volume plugged in, and which.
pub(super) fn plug(r: pb::EnsureVolumePluggedRequest) -> (String, Volume) {
    let volume = Volume {
        id: r.volume_id,
        device: r.device_name,
        delete_on_termination: r.delete_on_termination,
        export: r.export_path.into(),
        size_bytes: u64::try_from(r.size_bytes).unwrap_or(0),
        attached_at: 0,
    };
    (r.account_id, volume)
}

/// Those of the texts that are ids at all: no other can be known.
pub(super) fn known_ids(texts: &[String]) -> Result<Vec<InstanceId>> {
    if texts.len() > MOST_IDS {
        return Err(LauncherError::field("instance_ids", "give at most 1000"));
    }
    Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
}

pub(super) fn reservation(r: pb::EnsureReservedRequest) -> Result<Reservation> {
    Ok(Reservation {
        epoch: epoch(r.saga.as_ref())?,
        ids: ids(&r.instance_ids)?,
        account: r.account_id,
        image: r.image_id,
        instance_type: r.instance_type,
        key_name: r.key_name,
        reservation: r.reservation_id,
        user_data: r.user_data.into(),
        product_codes: r.product_codes,
        tags: r.tags.into_iter().map(|tag| (tag.key, tag.value)).collect(),
        name: r.name,
        boot_mode: r.boot_mode,
        on_poweroff: on_poweroff(r.shutdown_behavior).unwrap_or_default(),
        protected: r.disable_api_termination,
        particulars: Particulars {
            image_name: r.image_name,
            image_owner: r.image_owner_id,
            image_created: r.image_create_time.map_or(0, clock::unstamp),
            image_platform: r.image_platform,
            ena_support: r.ena_support,
            client_token: r.client_token,
            subnet: r.subnet_id,
            vpc: r.vpc_id,
            security_groups: r.security_group_ids,
            ..Particulars::default()
        },
        architecture: r.architecture,
    })
}

pub(super) fn volumes(given: Vec<pb::InstanceVolumes>) -> Result<Vec<(InstanceId, Vec<Volume>)>> {
    if given.len() > MOST_AT_ONCE {
        return Err(LauncherError::field("instances", "give at most 20"));
    }
    let bad = |_| LauncherError::field("instances.instance_id", "must be an instance's id");
    let one = |given: pb::InstanceVolumes| {
        let volumes = given.volumes.into_iter().map(|v| Volume {
            id: v.volume_id,
            device: v.device_name,
            delete_on_termination: v.delete_on_termination,
            export: v.export_path.into(),
            size_bytes: u64::try_from(v.size_bytes).unwrap_or(0),
            attached_at: 0,
        });
        Ok((given.instance_id.parse().map_err(bad)?, volumes.collect()))
    };
    given.into_iter().map(one).collect()
}

/// An instance as its owner sees it.
pub(super) fn shown(instance: Instance) -> pb::Instance {
    let mut shown = pb::Instance::from(instance);
    for volume in &mut shown.volumes {
        volume.export_path.clear();
    }
    shown
}

impl From<Instance> for pb::Instance {
    fn from(i: Instance) -> Self {
        let state_reason_code = i.reason_code().to_owned();
        let running = i.state.has_machine();
        let identity = i.identity.as_ref();
        Self {
            instance_id: i.id.to_string(),
            account_id: i.account,
            image_id: i.image,
            state: state(i.state).into(),
            state_reason: i.reason,
            instance_type: i.instance_type,
            key_name: i.key_name,
            launch_index: i32::try_from(i.launch_index).unwrap_or(i32::MAX),
            reservation_id: i.reservation,
            volumes: identity.iter().flat_map(|d| &d.volumes).map(Into::into).collect(),
            root_device_name: identity.map(|d| d.root_device.clone()).unwrap_or_default(),
            private_ip_address: identity.map(|d| d.private_ip.to_string()).unwrap_or_default(),
            ssh_endpoint: i
                .ssh
                .filter(|_| running)
                .map(|e| pb::Endpoint { address: e.address.to_string(), port: e.port.into() }),
            product_codes: i.product_codes,
            tags: i.tags.into_iter().map(|(key, value)| types::Tag { key, value }).collect(),
            accelerator: i.accelerator,
            sandbox_gaps: i.sandbox_gaps,
            launch_time: Some(clock::stamp(i.launched_at)),
            transition_time: Some(clock::stamp(i.changed_at)),
            machine_start_time: i.started_at.filter(|_| running).map(clock::stamp),
            name: i.name,
            image_name: i.particulars.image_name,
            image_owner_id: i.particulars.image_owner,
            image_create_time: (i.particulars.image_created > 0)
                .then(|| clock::stamp(i.particulars.image_created)),
            image_platform: i.particulars.image_platform,
            ena_support: i.particulars.ena_support,
            architecture: i.particulars.architecture,
            availability_zone: i.particulars.zone,
            client_token: i.particulars.client_token,
            disable_api_termination: i.protected,
            shutdown_behavior: match i.on_poweroff {
                OnPoweroff::Stop => pb::ShutdownBehavior::Stop.into(),
                OnPoweroff::Terminate => pb::ShutdownBehavior::Terminate.into(),
            },
            subnet_id: i.particulars.subnet,
            vpc_id: i.particulars.vpc,
            security_group_ids: i.particulars.security_groups,
            state_reason_code,
            cpus: i.cpus.into(),
            memory_mib: i32::try_from(i.memory_mib).unwrap_or(i32::MAX),
        }
    }
}

/// What follows a power-off, if that is said.
pub(super) fn on_poweroff(number: i32) -> Option<OnPoweroff> {
    match pb::ShutdownBehavior::try_from(number) {
        Ok(pb::ShutdownBehavior::Stop) => Some(OnPoweroff::Stop),
        Ok(pb::ShutdownBehavior::Terminate) => Some(OnPoweroff::Terminate),
        Ok(pb::ShutdownBehavior::Unspecified) | Err(_) => None,
    }
}

impl From<&Volume> for pb::AttachedVolume {
    fn from(v: &Volume) -> Self {
        Self {
            volume_id: v.id.clone(),
            device_name: v.device.clone(),
            delete_on_termination: v.delete_on_termination,
            export_path: v.export.to_string_lossy().into_owned(),
            size_bytes: i64::try_from(v.size_bytes).unwrap_or(i64::MAX),
            attach_time: (v.attached_at > 0).then(|| clock::stamp(v.attached_at)),
        }
    }
}

pub(super) fn state(state: State) -> pb::InstanceState {
    use pb::InstanceState as S;
    match state {
        State::Pending => S::Pending,
        State::Running => S::Running,
        State::Stopping => S::Stopping,
        State::Stopped => S::Stopped,
        State::ShuttingDown => S::ShuttingDown,
        State::Terminated => S::Terminated,
    }
}

impl From<MachineEvent> for pb::MachineEvent {
    fn from(event: MachineEvent) -> Self {
        let kind = match event.kind {
            Happening::Started => pb::MachineEventKind::Started,
            Happening::Stopped => pb::MachineEventKind::Stopped,
            Happening::Terminated => pb::MachineEventKind::Terminated,
        };
        Self {
            sequence: event.sequence,
            instance_id: event.instance,
            account_id: event.account,
            image_id: event.image,
            product_codes: event.product_codes,
            kind: kind.into(),
            run: i64::try_from(event.run).unwrap_or(i64::MAX),
            time: Some(clock::stamp(event.at)),
        }
    }
}

impl From<Host> for pb::GetHostResponse {
    fn from(host: Host) -> Self {
        Self {
            accelerator: host.accelerator,
            accelerator_reason: host.reason,
            qemu_version: host.version,
            hint: host.hint,
        }
    }
}
