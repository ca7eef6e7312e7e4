//! Volumes: disks that can be written.

use std::collections::BTreeSet;

use vmint_ids::{AccountId, InstanceId, ProductCode, SnapshotId, VolumeId};

use crate::{Content, snapshot::Seal};

/// The most a volume may hold: what four levels of the block tree span less
/// what no machine has asked for.
pub const MAX_VOLUME_BYTES: u64 = 64 << 40;

/// Where a volume is plugged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub instance: InstanceId,
    /// As the image names it, such as `/dev/sda1`.
    pub device: String,
    pub delete_on_termination: bool,
    /// The unguessable name of the directory that holds its socket.
    pub capability: String,
}

/// A disk that can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub id: VolumeId,
    pub account: AccountId,
    pub snapshot: Option<SnapshotId>,
    pub size_bytes: u64,
    /// What lies under the writes; none for an empty volume.
    pub base: Option<Content>,
    pub attachment: Option<Attachment>,
    pub product_codes: BTreeSet<ProductCode>,
    pub created_ms: u64,
    /// None: its data are not encrypted.
    pub seal: Option<Seal>,
}

/// Why a volume can't have the size asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSize {
    #[error("{asked} GiB is less than the snapshot's {least} GiB: ask for at least that")]
    Smaller { asked: i32, least: i32 },
    #[error("{asked} GiB is no size: use 1 to 65536")]
    OutOfRange { asked: i32 },
    #[error("a volume without a snapshot needs a size: use 1 to 65536 GiB")]
    Missing,
}

/// The size in bytes for `asked` GiB over content of `base` bytes; 0 asks for
/// the content's exact size.
pub(crate) fn size_for(asked: i32, base: Option<u64>) -> Result<u64, BadSize> {
    let bytes = match u64::try_from(asked) {
        Err(_) => return Err(BadSize::OutOfRange { asked }),
        Ok(0) => return base.ok_or(BadSize::Missing),
        Ok(gib) => gib << 30,
    };
    if bytes > MAX_VOLUME_BYTES {
        return Err(BadSize::OutOfRange { asked });
    }
    match base {
        Some(base) if bytes < base => {
            Err(BadSize::Smaller { asked, least: crate::snapshot::gib(base) })
        }
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_never_smaller_than_its_snapshot() {
        let snapshot = Some((1 << 30) + 1);
        assert_eq!(size_for(0, snapshot), Ok((1 << 30) + 1));
        assert_eq!(size_for(2, snapshot), Ok(2 << 30));
        assert_eq!(size_for(1, snapshot), Err(BadSize::Smaller { asked: 1, least: 2 }));
        assert_eq!(size_for(0, None), Err(BadSize::Missing));
        assert_eq!(size_for(-1, None), Err(BadSize::OutOfRange { asked: -1 }));
        assert_eq!(size_for(65537, None), Err(BadSize::OutOfRange { asked: 65537 }));
    }
}
