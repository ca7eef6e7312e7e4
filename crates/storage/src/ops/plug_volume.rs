//! Single volumes to and from instances.

use std::path::PathBuf;

use vmint_ids::{AccountId, InstanceId, VolumeId};
use vmint_store::TxError;

use super::{Step, attach::capability};
use crate::{
    Result, Storage, StorageError, Volume,
    store::{fence, volumes},
    volume::{Attachment, Plug},
};

/// Where a volume is to go.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) volume: VolumeId,
    pub(crate) instance: InstanceId,
    pub(crate) device: String,
    pub(crate) delete_on_termination: bool,
    pub(crate) plug: Plug,
    /// Who asks.
    pub(crate) saga: String,
}

impl Storage {
    /// Volumes of whatever account, in the order asked; unknown ones are left
    /// out.
    pub(crate) fn volumes_by_id(&self, ids: &[VolumeId]) -> Result<Vec<Volume>> {
        let find = |id: &VolumeId| volumes::find(self.records.store(), *id).transpose();
        ids.iter().filter_map(find).collect()
    }

    /// Says that a volume is at an instance, and serves it there. Asked again,
    /// it takes over how far it is plugged in and what becomes of it at the
    /// end.
    pub(crate) async fn ensure_attached(
        &self,
        step: Step,
        account: AccountId,
        place: Place,
    ) -> Result<(Volume, PathBuf)> {
        let fresh = capability()?;
        let volume = self
            .records
            .commit(move |tx| {
                fence(tx, step.epoch)?;
                let volume = volumes::owned(tx, place.volume, account).map_err(TxError::Refused)?;
                let others = volumes::of_instance(tx, place.instance).map_err(TxError::Refused)?;
                let now = tx.now_ms();
                let volume =
                    placed(volume, place, &others, fresh, now).map_err(TxError::Refused)?;
                volumes::put(tx, &volume)?;
                Ok(volume)
            })
            .await?;
        let storage = self.clone();
        Self::blocking(move || {
            let at = volume.attachment.as_ref().ok_or(StorageError::Damaged)?;
            let socket = storage.live.socket(&at.capability);
            storage.live.ensure(&volume, |content| storage.tree(content))?;
            Ok((volume, socket))
        })
        .await
    }

    /// Ends a volume's export and says that it is at no instance. One that is
    /// not at `instance` is left alone; one that is not there is no error.
    pub(crate) async fn release_attachment(
        &self,
        step: Step,
        id: VolumeId,
        instance: InstanceId,
        only_of: Option<String>,
    ) -> Result<Option<Volume>> {
        // Asked first: an older gateway must not unplug anything.
        self.records.commit(move |tx| fence(tx, step.epoch)).await?;
        let Some(volume) = self.volume(id)? else { return Ok(None) };
        let meant = move |at: &Attachment| {
            at.instance == instance && only_of.as_ref().is_none_or(|saga| at.saga == *saga)
        };
        let at = volume.attachment.as_ref().filter(|at| meant(at));
        let Some(capability) = at.map(|at| at.capability.clone()) else {
            return Ok(Some(volume));
        };
        // Closed before the record says so: what was served under the old
        // attachment must not be served under the next.
        self.close_volume(id, capability.clone()).await?;
        let volume = self
            .records
            .commit(move |tx| {
                let found = volumes::find(tx, id).map_err(TxError::Refused)?;
                let Some(mut volume) = found else { return Ok(None) };
                if volume.attachment.as_ref().is_some_and(&meant) {
                    volume.attachment = None;
                    volumes::put(tx, &volume)?;
                }
                Ok(Some(volume))
            })
            .await?;
        // A freeze may have opened it again until its record was changed.
        self.close_volume(id, capability).await?;
        Ok(volume)
    }

    async fn close_volume(&self, id: VolumeId, capability: String) -> Result<()> {
        let storage = self.clone();
        Self::blocking(move || {
            storage.live.close(id, Some(&capability));
            Ok(())
        })
        .await
    }
}

/// The volume where it is to be, if that is free.
fn placed(
    mut volume: Volume,
    place: Place,
    others: &[Volume],
    fresh: String,
    now_ms: u64,
) -> Result<Volume> {
    let Place { instance, device, delete_on_termination, plug, saga, .. } = place;
    match &mut volume.attachment {
        // Only the saga that began it may begin it again, and nobody else goes
        // on before it has ended.
        Some(at)
            if at.instance == instance
                && (at.saga == saga
                    || !(plug == Plug::Attaching || at.plug == Plug::Attaching)) =>
        {
            at.delete_on_termination = delete_on_termination;
            at.plug = plug;
            return Ok(volume);
        }
        Some(at) => {
            let (id, instance, plug) = (volume.id, at.instance, at.plug.as_str());
            return Err(StorageError::VolumeInUse { id, instance, plug });
        }
        None if plug == Plug::Attaching => {}
        None => return Err(StorageError::NoSuchVolume { id: volume.id }),
    }
    let same = |other: &&Volume| other.attachment.as_ref().is_some_and(|at| at.device == device);
    if let Some(other) = others.iter().find(same) {
        return Err(StorageError::DeviceInUse { instance, device, id: other.id });
    }
    volume.attachment = Some(Attachment {
        instance,
        device,
        delete_on_termination,
        capability: fresh,
        plug,
        attached_ms: now_ms,
        boot: false,
        saga,
    });
    Ok(volume)
}
