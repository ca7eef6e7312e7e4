//! Records as they lie on disk. Fields are only ever added.

use std::net::Ipv4Addr;

use crate::{Endpoint, Identity, Instance, LauncherError, OnPoweroff, Particulars, State, Volume};

#[allow(clippy::struct_excessive_bools, reason = "as it lies on disk")]
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct InstanceRecord {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) account: String,
    #[prost(string, tag = "3")]
    image: String,
    #[prost(uint32, tag = "4")]
    pub(super) state: u32,
    #[prost(string, tag = "5")]
    reason: String,
    #[prost(string, tag = "6")]
    instance_type: String,
    #[prost(uint32, tag = "7")]
    pub(super) memory_mib: u32,
    #[prost(uint32, tag = "8")]
    cpus: u32,
    #[prost(string, tag = "9")]
    key_name: String,
    #[prost(string, tag = "10")]
    public_key: String,
    #[prost(uint32, tag = "11")]
    launch_index: u32,
    #[prost(string, tag = "12")]
    reservation: String,
    #[prost(string, repeated, tag = "13")]
    product_codes: Vec<String>,
    #[prost(message, repeated, tag = "14")]
    tags: Vec<TagRecord>,
    #[prost(string, tag = "15")]
    pub(super) name: String,
    #[prost(int64, tag = "16")]
    launched_at: i64,
    #[prost(int64, tag = "17")]
    changed_at: i64,
    #[prost(message, optional, tag = "18")]
    identity: Option<IdentityRecord>,
    #[prost(uint64, tag = "19")]
    run: u64,
    #[prost(bool, tag = "20")]
    run_open: bool,
    #[prost(int64, optional, tag = "21")]
    started_at: Option<i64>,
    #[prost(string, tag = "22")]
    accelerator: String,
    #[prost(string, repeated, tag = "23")]
    sandbox_gaps: Vec<String>,
    #[prost(message, optional, tag = "24")]
    ssh: Option<EndpointRecord>,
    #[prost(string, tag = "25")]
    image_name: String,
    #[prost(string, tag = "26")]
    image_owner: String,
    #[prost(string, tag = "27")]
    architecture: String,
    #[prost(string, tag = "28")]
    zone: String,
    #[prost(string, tag = "29")]
    client_token: String,
    #[prost(string, tag = "30")]
    subnet: String,
    #[prost(string, tag = "31")]
    vpc: String,
    #[prost(string, repeated, tag = "32")]
    security_groups: Vec<String>,
    #[prost(bool, tag = "33")]
    protected: bool,
    #[prost(bool, tag = "34")]
    ends_on_poweroff: bool,
    #[prost(int64, tag = "35")]
    image_created: i64,
    #[prost(string, tag = "36")]
    image_platform: String,
    #[prost(bool, tag = "37")]
    ena_support: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TagRecord {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct IdentityRecord {
    #[prost(message, repeated, tag = "1")]
    volumes: Vec<VolumeRecord>,
    #[prost(uint32, tag = "2")]
    slot: u32,
    #[prost(bytes = "vec", tag = "3")]
    mac: Vec<u8>,
    #[prost(fixed32, tag = "4")]
    private_ip: u32,
    #[prost(string, tag = "5")]
    uuid: String,
    #[prost(bytes = "vec", tag = "6")]
    token_secret: Vec<u8>,
    /// Empty in old records: that of the first volume.
    #[prost(string, tag = "7")]
    root_device: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct VolumeRecord {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    device: String,
    #[prost(bool, tag = "3")]
    delete_on_termination: bool,
    #[prost(string, tag = "4")]
    export: String,
    #[prost(uint64, tag = "5")]
    size_bytes: u64,
    #[prost(int64, tag = "6")]
    attached_at: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct EndpointRecord {
    #[prost(fixed32, tag = "1")]
    address: u32,
    #[prost(uint32, tag = "2")]
    port: u32,
}

/// The instance at a place in the networks.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SlotRecord {
    #[prost(string, tag = "1")]
    pub(super) instance: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct UserDataRecord {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) bytes: Vec<u8>,
}

/// An id whose launch was undone before it had begun here.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct ReleasedRecord {
    #[prost(int64, tag = "1")]
    pub(super) at: i64,
}

/// In the outbox, under the topic `machine`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct EventRecord {
    #[prost(string, tag = "1")]
    pub(super) instance: String,
    #[prost(string, tag = "2")]
    pub(super) account: String,
    #[prost(string, tag = "3")]
    pub(super) image: String,
    #[prost(string, repeated, tag = "4")]
    pub(super) product_codes: Vec<String>,
    /// 1 started, 2 stopped, 3 terminated.
    #[prost(uint32, tag = "5")]
    pub(super) kind: u32,
    #[prost(uint64, tag = "6")]
    pub(super) run: u64,
    #[prost(int64, tag = "7")]
    pub(super) at: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Nothing {}

/// The answer to a deletion.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DeletedRecord {
    /// Of the key pair there was; empty if there was none.
    #[prost(string, tag = "1")]
    pub(super) id: String,
}

pub(super) fn state_number(state: State) -> u32 {
    match state {
        State::Pending => 1,
        State::Running => 2,
        State::Stopping => 3,
        State::Stopped => 4,
        State::ShuttingDown => 5,
        State::Terminated => 6,
    }
}

pub(super) fn state_of(number: u32) -> Option<State> {
    State::ALL.into_iter().find(|s| state_number(*s) == number)
}

impl From<&(String, String)> for TagRecord {
    fn from((key, value): &(String, String)) -> Self {
        Self { key: key.clone(), value: value.clone() }
    }
}

impl From<&Instance> for InstanceRecord {
    fn from(i: &Instance) -> Self {
        Self {
            id: i.id.to_string(),
            account: i.account.clone(),
            image: i.image.clone(),
            state: state_number(i.state),
            reason: i.reason.clone(),
            instance_type: i.instance_type.clone(),
            memory_mib: i.memory_mib,
            cpus: i.cpus.into(),
            key_name: i.key_name.clone(),
            public_key: i.public_key.clone(),
            launch_index: i.launch_index,
            reservation: i.reservation.clone(),
            product_codes: i.product_codes.clone(),
            tags: i.tags.iter().map(Into::into).collect(),
            name: i.name.clone(),
            launched_at: i.launched_at,
            changed_at: i.changed_at,
            identity: i.identity.as_ref().map(Into::into),
            run: i.run,
            run_open: i.run_open,
            started_at: i.started_at,
            accelerator: i.accelerator.clone(),
            sandbox_gaps: i.sandbox_gaps.clone(),
            ssh: i.ssh.map(|e| EndpointRecord { address: e.address.into(), port: e.port.into() }),
            image_name: i.particulars.image_name.clone(),
            image_owner: i.particulars.image_owner.clone(),
            image_created: i.particulars.image_created,
            image_platform: i.particulars.image_platform.clone(),
            ena_support: i.particulars.ena_support,
            architecture: i.particulars.architecture.clone(),
            zone: i.particulars.zone.clone(),
            client_token: i.particulars.client_token.clone(),
            subnet: i.particulars.subnet.clone(),
            vpc: i.particulars.vpc.clone(),
            security_groups: i.particulars.security_groups.clone(),
            protected: i.protected,
            ends_on_poweroff: i.on_poweroff == OnPoweroff::Terminate,
        }
    }
}

impl From<&Identity> for IdentityRecord {
    fn from(identity: &Identity) -> Self {
        let volume = |v: &Volume| VolumeRecord {
            id: v.id.clone(),
            device: v.device.clone(),
            delete_on_termination: v.delete_on_termination,
            export: v.export.to_string_lossy().into_owned(),
            size_bytes: v.size_bytes,
            attached_at: v.attached_at,
        };
        Self {
            volumes: identity.volumes.iter().map(volume).collect(),
            slot: identity.slot,
            mac: identity.mac.to_vec(),
            private_ip: identity.private_ip.into(),
            uuid: identity.uuid.clone(),
            token_secret: identity.token_secret.to_vec(),
            root_device: identity.root_device.clone(),
        }
    }
}

impl TryFrom<InstanceRecord> for Instance {
    type Error = LauncherError;

    fn try_from(r: InstanceRecord) -> Result<Self, LauncherError> {
        let damaged = || LauncherError::Damaged { what: "instance" };
        let ssh = r.ssh.map(|e| {
            let port = u16::try_from(e.port).map_err(|_| damaged())?;
            Ok::<_, LauncherError>(Endpoint { address: Ipv4Addr::from(e.address), port })
        });
        Ok(Self {
            id: r.id.parse().map_err(|_| damaged())?,
            account: r.account,
            image: r.image,
            state: state_of(r.state).ok_or_else(damaged)?,
            reason: r.reason,
            instance_type: r.instance_type,
            memory_mib: r.memory_mib,
            cpus: u16::try_from(r.cpus).map_err(|_| damaged())?,
            key_name: r.key_name,
            public_key: r.public_key,
            launch_index: r.launch_index,
            reservation: r.reservation,
            product_codes: r.product_codes,
            tags: r.tags.into_iter().map(|t| (t.key, t.value)).collect(),
            name: r.name,
            launched_at: r.launched_at,
            changed_at: r.changed_at,
            identity: r.identity.map(TryInto::try_into).transpose()?,
            run: r.run,
            run_open: r.run_open,
            started_at: r.started_at,
            accelerator: r.accelerator,
            sandbox_gaps: r.sandbox_gaps,
            ssh: ssh.transpose()?,
            particulars: Particulars {
                image_name: r.image_name,
                image_owner: r.image_owner,
                image_created: r.image_created,
                image_platform: r.image_platform,
                ena_support: r.ena_support,
                architecture: r.architecture,
                zone: r.zone,
                client_token: r.client_token,
                subnet: r.subnet,
                vpc: r.vpc,
                security_groups: r.security_groups,
            },
            protected: r.protected,
            on_poweroff: if r.ends_on_poweroff { OnPoweroff::Terminate } else { OnPoweroff::Stop },
        })
    }
}

impl TryFrom<IdentityRecord> for Identity {
    type Error = LauncherError;

    fn try_from(r: IdentityRecord) -> Result<Self, LauncherError> {
        let damaged = |_| LauncherError::Damaged { what: "identity" };
        let volume = |v: VolumeRecord| Volume {
            id: v.id,
            device: v.device,
            delete_on_termination: v.delete_on_termination,
            export: v.export.into(),
            size_bytes: v.size_bytes,
            attached_at: v.attached_at,
        };
        let root_device = match r.volumes.first() {
            Some(first) if r.root_device.is_empty() => first.device.clone(),
            _ => r.root_device,
        };
        Ok(Self {
            volumes: r.volumes.into_iter().map(volume).collect(),
            root_device,
            slot: r.slot,
            mac: r.mac.try_into().map_err(damaged)?,
            private_ip: r.private_ip.into(),
            uuid: r.uuid,
            token_secret: r.token_secret.try_into().map_err(damaged)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::tests::sample;

    #[test]
    fn an_instance_reads_back_from_its_record() {
        let mut instance = sample();
        assert_eq!(Instance::try_from(InstanceRecord::from(&instance)).unwrap(), instance);
        instance.identity = None;
        instance.protected = true;
        instance.on_poweroff = OnPoweroff::Terminate;
        instance.started_at = Some(5);
        instance.ssh = Some(Endpoint { address: [127, 100, 0, 4].into(), port: 22 });
        for state in State::ALL {
            instance.state = state;
            assert_eq!(Instance::try_from(InstanceRecord::from(&instance)).unwrap(), instance);
        }
    }
}
