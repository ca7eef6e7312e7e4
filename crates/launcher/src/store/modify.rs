//! Changes of what instances were launched with.

use vmint_ids::InstanceId;
use vmint_store::{Asked, TxError};

use super::{By, Records, USER_DATA, record::UserDataRecord};
use crate::{Instance, InstanceType, LauncherError, OnPoweroff, Result, State};

/// What to change; what is not given stays.
#[derive(Debug, Clone, Default)]
pub struct Change {
    pub protected: Option<bool>,
    pub on_poweroff: Option<OnPoweroff>,
    /// Of a stopped instance only; at most 16 KiB.
    pub user_data: Option<Vec<u8>>,
    /// Of a stopped instance only.
    pub size: Option<InstanceType>,
    /// Of a stopped instance only.
    pub ena_support: Option<bool>,
    /// By device name: whether the volume ends with the instance.
    pub devices: Vec<(String, bool)>,
    /// All of them, if any.
    pub security_groups: Vec<String>,
}

impl Records {
    /// Makes all of the change, or nothing of it.
    pub(crate) async fn modify(
        &self,
        id: InstanceId,
        change: Change,
        asked: Asked,
    ) -> Result<Instance> {
        self.change(id, By::User(asked), move |tx, instance| {
            if matches!(instance.state, State::ShuttingDown | State::Terminated) {
                return Err(TxError::Refused(instance.not_now("change")));
            }
            let stopped = instance.state == State::Stopped;
            let starts_otherwise =
                change.user_data.is_some() || change.size.is_some() || change.ena_support.is_some();
            if starts_otherwise && !stopped {
                return Err(TxError::Refused(instance.not_now("change what starts of")));
            }
            for (device, ends) in change.devices {
                let volumes = instance.identity.iter_mut().flat_map(|d| &mut d.volumes);
                let Some(volume) = volumes.into_iter().find(|v| v.device == device) else {
                    let problem = format!("no volume is at `{device:.64}`");
                    return Err(TxError::Refused(LauncherError::field("devices", problem)));
                };
                volume.delete_on_termination = ends;
            }
            instance.protected = change.protected.unwrap_or(instance.protected);
            instance.on_poweroff = change.on_poweroff.unwrap_or(instance.on_poweroff);
            let about = &mut instance.particulars;
            about.ena_support = change.ena_support.unwrap_or(about.ena_support);
            if !change.security_groups.is_empty() {
                instance.particulars.security_groups = change.security_groups;
            }
            if let Some(size) = change.size {
                size.name.clone_into(&mut instance.instance_type);
                instance.cpus = size.cpus;
                instance.memory_mib = size.memory_mib;
            }
            match change.user_data {
                Some(bytes) if bytes.is_empty() => drop(USER_DATA.remove(tx, &id)?),
                Some(bytes) => drop(USER_DATA.put(tx, &id, &UserDataRecord { bytes })?),
                None => {}
            }
            Ok(vec![])
        })
        .await
    }
}
