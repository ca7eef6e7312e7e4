//! The steps of a launch: capacity and identity.

use std::net::Ipv4Addr;

use vmint_ids::InstanceId;
use vmint_store::{Asked, SCAN_LIMIT, Tx, TxError};

use super::{
    Body, By, FENCE, HOLDING, INSTANCES, KEY_PAIRS, MEMBER, RELEASED, Records, SLOTS, USER_DATA,
    fence, get, must_get, now, put,
    record::{SlotRecord, UserDataRecord},
};
use crate::{
    Identity, Instance, InstanceType, LauncherError, OnPoweroff, Particulars, Result, State,
    Volume,
    instance::{HALTED, mac_of},
};

/// What the host gives at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) instances: usize,
    pub(crate) memory_mib: u64,
}

/// Where machines are addressed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Network {
    /// Of private addresses; the same number of bits as slots have.
    pub(crate) private: Ipv4Addr,
    pub(crate) prefix: u8,
}

/// Instances to reserve, alike but for their ids.
#[derive(Debug, Clone)]
pub(crate) struct NewInstances {
    pub(crate) ids: Vec<InstanceId>,
    pub(crate) account: String,
    pub(crate) image: String,
    pub(crate) size: InstanceType,
    pub(crate) key_name: String,
    pub(crate) reservation: String,
    pub(crate) user_data: Vec<u8>,
    pub(crate) product_codes: Vec<String>,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) name: String,
    pub(crate) particulars: Particulars,
    pub(crate) protected: bool,
    pub(crate) on_poweroff: OnPoweroff,
}

impl Records {
    /// Makes pending records, if there is room; finds them if they are there.
    pub(crate) async fn reserve(
        &self,
        epoch: u64,
        new: NewInstances,
        limits: Limits,
    ) -> Result<Vec<Instance>> {
        self.commit(move |tx| {
            fence(tx, epoch)?;
            let mut found = Vec::new();
            for id in &new.ids {
                if RELEASED.get(tx, id)?.is_some() {
                    return Err(TxError::Refused(undone(*id)));
                }
                found.extend(get(tx, *id)?);
            }
            if !found.is_empty() {
                return already(found, &new).map_err(TxError::Refused);
            }
            let public_key = match new.key_name.as_str() {
                "" => String::new(),
                name => {
                    let key = (new.account.clone(), name.to_owned());
                    let missing = || LauncherError::NoSuchKeyPair { name: name.to_owned() };
                    let record = KEY_PAIRS.get(tx, &key)?;
                    let record = record.ok_or_else(|| TxError::Refused(missing()))?;
                    record.key_line().to_owned()
                }
            };
            room(tx, limits, new.ids.len(), new.size.memory_mib)?;
            let at = now(tx);
            let mut made = Vec::new();
            for (id, launch_index) in new.ids.iter().zip(0..) {
                let instance = new.instance(*id, launch_index, &public_key, at);
                put(tx, &instance, &[])?;
                if !new.user_data.is_empty() {
                    let bytes = new.user_data.clone();
                    USER_DATA.put(tx, id, &UserDataRecord { bytes })?;
                }
                made.push(instance);
            }
            Ok(made)
        })
        .await
    }

    /// Gives pending instances their volumes and addresses. Asked again, it changes
    /// the volumes at most, and nothing of what has run.
    pub(crate) async fn identify(
        &self,
        epoch: u64,
        given: Vec<(InstanceId, Vec<Volume>)>,
        network: Network,
    ) -> Result<Vec<Instance>> {
        self.commit(move |tx| {
            fence(tx, epoch)?;
            let mut instances = Vec::new();
            for (id, mut volumes) in given {
                for volume in &mut volumes {
                    volume.attached_at = now(tx);
                }
                let mut instance = must_get(tx, id)?;
                if instance.unlaunched() {
                    if instance.state != State::Pending {
                        return Err(TxError::Refused(instance.not_now("prepare")));
                    }
                    match &mut instance.identity {
                        Some(identity) => {
                            identity.root_device = root_of(&volumes);
                            identity.volumes = volumes;
                        }
                        none => *none = Some(draw(tx, id, volumes, network)?),
                    }
                    put(tx, &instance, &[])?;
                }
                instances.push(instance);
            }
            Ok(instances)
        })
        .await
    }

    /// Makes a stopped instance pending again, if there is room.
    pub(crate) async fn start(
        &self,
        id: InstanceId,
        asked: Asked,
        limits: Limits,
    ) -> Result<Instance> {
        self.change(id, By::User(asked), move |tx, instance| {
            match instance.state {
                State::Running => {}
                State::Pending if !instance.unlaunched() => {}
                State::Stopped => {
                    if let Some(identity) = instance.identity.as_ref().filter(|d| !d.has_root()) {
                        let device = identity.root_device.clone();
                        let id = instance.id;
                        return Err(TxError::Refused(LauncherError::NoRoot { id, device }));
                    }
                    room(tx, limits, 1, instance.memory_mib)?;
                    let at = now(tx);
                    instance.enter(State::Pending, "", at).map_err(TxError::Refused)?;
                }
                _ => return Err(TxError::Refused(instance.not_now("start"))),
            }
            Ok(vec![])
        })
        .await
    }

    /// Makes an instance pending again that was only stopped to be imaged, if there is
    /// room. One that stands otherwise stays as it is.
    pub(crate) async fn resume(
        &self,
        id: InstanceId,
        epoch: u64,
        account: String,
        limits: Limits,
    ) -> Result<Instance> {
        self.change(id, By::Saga(epoch), move |tx, instance| {
            let halted = instance.state == State::Stopped && instance.reason.starts_with(HALTED);
            if halted && instance.account == account {
                room(tx, limits, 1, instance.memory_mib)?;
                let at = now(tx);
                instance.enter(State::Pending, "", at).map_err(TxError::Refused)?;
            }
            Ok(vec![])
        })
        .await
    }

    /// That the caller's epoch is not out of date.
    pub(crate) async fn pass_fence(&self, epoch: u64) -> Result<()> {
        if FENCE.seen(&self.store)? == epoch {
            return Ok(());
        }
        self.commit(move |tx| fence(tx, epoch)).await
    }
}

/// Refuses if `count` more machines of `memory_mib` each do not fit.
fn room(tx: &Tx<'_>, limits: Limits, count: usize, memory_mib: u32) -> Body<()> {
    let holding = INSTANCES.equal(tx, HOLDING, MEMBER, None, SCAN_LIMIT)?;
    let used: u64 = holding.iter().map(|(_, i)| u64::from(i.memory_mib)).sum();
    let wanted = u64::from(memory_mib) * count as u64;
    let free = limits.memory_mib.saturating_sub(used);
    if wanted > free {
        return Err(TxError::Refused(LauncherError::NoCapacity {
            wanted: format!("{wanted} MiB"),
            free: format!("{free} MiB"),
            limit: format!("{} MiB", limits.memory_mib),
        }));
    }
    // One less than a scan gives, so that the count is never cut short unnoticed.
    let most = limits.instances.min(SCAN_LIMIT - 1);
    if holding.len() + count > most {
        return Err(TxError::Refused(LauncherError::NoCapacity {
            wanted: format!("{count} machines"),
            free: most.saturating_sub(holding.len()).to_string(),
            limit: most.to_string(),
        }));
    }
    Ok(())
}

fn undone(id: InstanceId) -> LauncherError {
    LauncherError::WrongState { id, state: State::Terminated, verb: "launch" }
}

/// The answer to a reservation asked again.
fn already(found: Vec<Instance>, new: &NewInstances) -> Result<Vec<Instance>> {
    let same = found.len() == new.ids.len()
        && found.iter().all(|i| {
            i.account == new.account && i.image == new.image && i.reservation == new.reservation
        });
    if !same {
        return Err(LauncherError::field("instance_ids", "are taken by another launch"));
    }
    match found.iter().find(|i| i.unlaunched() && i.state != State::Pending) {
        Some(instance) => Err(undone(instance.id)),
        None => Ok(found),
    }
}

fn root_of(volumes: &[Volume]) -> String {
    volumes.first().map(|volume| volume.device.clone()).unwrap_or_default()
}

/// Draws a place in the networks that no other instance has.
fn draw(tx: &mut Tx<'_>, id: InstanceId, volumes: Vec<Volume>, network: Network) -> Body<Identity> {
    // The subnet's first addresses are its router's; its last, QEMU's DHCP wants.
    const FIRST: u32 = 4;
    let count = (1u32 << (32 - network.prefix)) - FIRST - 32;
    let full = || {
        TxError::Refused(LauncherError::NoCapacity {
            wanted: "1 address".to_owned(),
            free: "0".to_owned(),
            limit: count.to_string(),
        })
    };
    let hash = blake3::hash(&id.to_key());
    let start = u32::from_le_bytes(*hash.as_bytes().first_chunk().expect("32 bytes")) % count;
    let mut slot = None;
    for step in 0..count.min(10_000) {
        let candidate = FIRST + (start + step) % count;
        if SLOTS.get(tx, &candidate)?.is_none() {
            slot = Some(candidate);
            break;
        }
    }
    let slot = slot.ok_or_else(full)?;
    SLOTS.put(tx, &slot, &SlotRecord { instance: id.to_string() })?;
    let mut token_secret = [0; 32];
    getrandom::fill(&mut token_secret).map_err(|_| full())?;
    Ok(Identity {
        root_device: root_of(&volumes),
        volumes,
        slot,
        mac: mac_of(id),
        private_ip: Ipv4Addr::from(u32::from(network.private) + slot),
        uuid: vmint_vmm::MachineUuid::random().to_string(),
        token_secret,
    })
}

impl NewInstances {
    fn instance(&self, id: InstanceId, launch_index: u32, public_key: &str, at: i64) -> Instance {
        Instance {
            id,
            account: self.account.clone(),
            image: self.image.clone(),
            state: State::Pending,
            reason: String::new(),
            instance_type: self.size.name.to_owned(),
            memory_mib: self.size.memory_mib,
            cpus: self.size.cpus,
            key_name: self.key_name.clone(),
            public_key: public_key.to_owned(),
            launch_index,
            reservation: self.reservation.clone(),
            product_codes: self.product_codes.clone(),
            tags: self.tags.clone(),
            name: self.name.clone(),
            particulars: self.particulars.clone(),
            protected: self.protected,
            on_poweroff: self.on_poweroff,
            launched_at: at,
            changed_at: at,
            identity: None,
            run: 0,
            run_open: false,
            started_at: None,
            accelerator: String::new(),
            sandbox_gaps: Vec::new(),
            ssh: None,
        }
    }
}
