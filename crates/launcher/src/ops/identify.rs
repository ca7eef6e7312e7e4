use vmint_ids::InstanceId;

use super::Launcher;
use crate::{
    Instance, LauncherError, Result, Volume,
    instance::{MAX_LAUNCH, MAX_VOLUMES},
};

impl Launcher {
    /// Gives pending instances their volumes, the root first, and draws their addresses.
    pub async fn identify(
        &self,
        epoch: u64,
        given: Vec<(InstanceId, Vec<Volume>)>,
    ) -> Result<Vec<Instance>> {
        if !(1..=MAX_LAUNCH).contains(&given.len()) {
            return Err(LauncherError::field("instances", "give 1 to 20"));
        }
        for (_, volumes) in &given {
            if !(1..=MAX_VOLUMES).contains(&volumes.len()) {
                return Err(LauncherError::field("instances.volumes", "give 1 to 26"));
            }
            for volume in volumes {
                check(volume)?;
            }
        }
        self.records.identify(epoch, given, self.network).await
    }
}

/// That a machine can have the volume.
pub(super) fn check(volume: &Volume) -> Result<()> {
    let field = LauncherError::field;
    if volume.id.parse::<vmint_ids::VolumeId>().is_err() {
        return Err(field("volume_id", "must be a volume's id"));
    }
    let plain = volume.device.bytes().all(|b| b.is_ascii_graphic());
    if !(1..=64).contains(&volume.device.len()) || !plain {
        return Err(field("device_name", "use 1 to 64 printable characters without spaces"));
    }
    let path = volume.export.to_str();
    if !volume.export.is_absolute() || path.is_none_or(|p| p.len() > 107) {
        return Err(field("export_path", "must be a socket's absolute path"));
    }
    if volume.size_bytes == 0 || !volume.size_bytes.is_multiple_of(512) {
        return Err(field("size_bytes", "must be a multiple of 512"));
    }
    Ok(())
}
