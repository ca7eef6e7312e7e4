//! Volumes that come to instances and go.

use vmint_ids::InstanceId;
use vmint_store::TxError;

use super::{Body, Records, fence, get, must_get, now, put};
use crate::{Instance, LauncherError, Result, State, Volume, instance::MAX_VOLUMES};

impl Records {
    /// Gives an instance of the account's one more volume; the flag tells whether it is
    /// new there. One that it has only takes over what happens to it at the end.
    pub(crate) async fn attach(
        &self,
        epoch: u64,
        id: InstanceId,
        account: String,
        mut volume: Volume,
    ) -> Result<(Instance, bool)> {
        self.commit(move |tx| {
            fence(tx, epoch)?;
            let mut instance = of_account(must_get(tx, id)?, &account)?;
            if !matches!(instance.state, State::Running | State::Stopped) {
                return Err(TxError::Refused(instance.not_now("attach a volume to")));
            }
            let not_now = instance.not_now("attach a volume to");
            let identity = instance.identity.as_mut().ok_or(TxError::Refused(not_now))?;
            if let Some(there) = identity.volumes.iter_mut().find(|v| v.id == volume.id) {
                if there.device != volume.device {
                    let device = there.device.clone();
                    return Err(TxError::Refused(LauncherError::DeviceTaken { id, device }));
                }
                there.delete_on_termination = volume.delete_on_termination;
                put(tx, &instance, &[])?;
                return Ok((instance, false));
            }
            if identity.volumes.iter().any(|v| v.device == volume.device) {
                let device = volume.device;
                return Err(TxError::Refused(LauncherError::DeviceTaken { id, device }));
            }
            if identity.volumes.len() >= MAX_VOLUMES {
                return Err(TxError::Refused(LauncherError::NoPlace { id }));
            }
            volume.attached_at = now(tx);
            identity.attach(volume);
            put(tx, &instance, &[])?;
            Ok((instance, true))
        })
        .await
    }

    /// The instance as it is, if it has the volume and may let go of it now.
    pub(crate) async fn may_detach(
        &self,
        epoch: u64,
        id: InstanceId,
        account: String,
        volume: String,
    ) -> Result<Option<Instance>> {
        self.commit(move |tx| {
            fence(tx, epoch)?;
            let Some(instance) = get(tx, id)? else { return Ok(None) };
            let instance = of_account(instance, &account)?;
            let Some(identity) = &instance.identity else { return Ok(None) };
            let root = identity.volumes.first().is_some_and(|v| v.id == volume);
            match instance.state {
                State::Terminated => Ok(None),
                State::Stopped => Ok(Some(instance)),
                _ if root && identity.has_root() => {
                    Err(TxError::Refused(LauncherError::VolumeFixed { id, volume }))
                }
                _ => Ok(Some(instance)),
            }
        })
        .await
    }

    /// Takes a volume from an instance; one that is not there is taken already.
    pub(crate) async fn detach(&self, id: InstanceId, volume: String) -> Result<()> {
        self.commit(move |tx| {
            let Some(mut instance) = get(tx, id)? else { return Ok(()) };
            let Some(identity) = &mut instance.identity else { return Ok(()) };
            let before = identity.volumes.len();
            identity.volumes.retain(|v| v.id != volume);
            if identity.volumes.len() != before {
                put(tx, &instance, &[])?;
            }
            Ok(())
        })
        .await
    }
}

fn of_account(instance: Instance, account: &str) -> Body<Instance> {
    if instance.account == account {
        return Ok(instance);
    }
    let id = instance.id.to_string();
    Err(TxError::Refused(LauncherError::NoSuchInstance { id }))
}
