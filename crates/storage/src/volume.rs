//! Volumes: disks that can be written.

use std::collections::BTreeSet;

use vmint_ids::{AccountId, InstanceId, ProductCode, SnapshotId, VolumeId};
use vmint_performance::{Performance, VolumeType};

use crate::{
    Content, Snapshot, StorageError,
    snapshot::{Seal, gib},
    tag::Tags,
};

/// The most a volume may hold: what four levels of the block tree span less
/// what no machine has asked for.
pub const MAX_VOLUME_BYTES: u64 = 64 << 40;

/// How far a volume is plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plug {
    Attaching,
    Attached,
    Detaching,
}

impl Plug {
    /// As EC2 writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attaching => "attaching",
            Self::Attached => "attached",
            Self::Detaching => "detaching",
        }
    }
}

/// Where a volume is plugged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub instance: InstanceId,
    /// As the image names it, such as `/dev/sda1`.
    pub device: String,
    pub delete_on_termination: bool,
    /// The unguessable name of the directory that holds its socket.
    pub capability: String,
    pub plug: Plug,
    pub attached_ms: u64,
    /// It is the root of its instance.
    pub boot: bool,
    /// The saga that attached it; empty for a launch.
    pub saga: String,
}

/// The last change of a volume's size or kind. It is done with its record:
/// the disk follows when it is next opened, if not at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modification {
    pub from_bytes: u64,
    pub from: Performance,
    pub to_bytes: u64,
    pub to: Performance,
    pub at_ms: u64,
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
    pub tags: Tags,
    pub performance: Performance,
    /// Where it is said to be; may be empty.
    pub zone: String,
    pub modification: Option<Modification>,
}

/// What a volume begins as.
#[derive(Debug, Clone, Default)]
pub(crate) struct Begin {
    pub(crate) snapshot: Option<SnapshotId>,
    /// 0: the snapshot's exact size.
    pub(crate) size_gib: i32,
    pub(crate) performance: Asked,
    pub(crate) product_codes: BTreeSet<ProductCode>,
    pub(crate) zone: String,
    pub(crate) tags: Tags,
    /// What to encrypt an empty volume with.
    pub(crate) seal: Option<Seal>,
}

impl Volume {
    /// A volume at no instance, over `source` if there is one. What sells with
    /// the data comes along.
    pub(crate) fn begun(
        id: VolumeId,
        account: AccountId,
        begin: Begin,
        source: Option<&Snapshot>,
    ) -> Result<Self, StorageError> {
        let mut product_codes = begin.product_codes;
        let mut seal = begin.seal;
        let base = match source {
            Some(snapshot) => {
                seal = snapshot.seal;
                product_codes.extend(snapshot.product_codes.iter().cloned());
                let id = snapshot.id;
                Some(snapshot.content().ok_or(StorageError::NotCompleted { id })?)
            }
            None => None,
        };
        let size_bytes = size_for(begin.size_gib, base.map(|content| content.size_bytes))?;
        let asked = begin.performance;
        let performance =
            Performance::new(asked.kind, gib(size_bytes), asked.iops, asked.throughput)?;
        Ok(Self {
            id,
            account,
            snapshot: begin.snapshot,
            size_bytes,
            base,
            attachment: None,
            product_codes,
            created_ms: 0,
            seal,
            tags: begin.tags,
            performance,
            zone: begin.zone,
            modification: None,
        })
    }
}

/// How a volume is asked to perform; 0 stands for the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) kind: VolumeType,
    pub(crate) iops: i32,
    pub(crate) throughput: i32,
}

/// Why a volume can't have the size asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSize {
    #[error("{asked} GiB is less than the snapshot's {least} GiB: ask for at least that")]
    Smaller { asked: i32, least: i32 },
    #[error("{asked} GiB is no size: use 1 to 65536")]
    OutOfRange { asked: i32 },
    #[error("{asked} GiB is less than the volume's {least} GiB: volumes only grow")]
    Shrinks { asked: i32, least: i32 },
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
        Some(base) if bytes < base => Err(BadSize::Smaller { asked, least: gib(base) }),
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
