use vmint_api::gateway::v1::GatewayErrorReason as Reason;
use vmint_rpc::{Fault, Kind};

use super::{GatewayError, new};

/// Why the gateway did not do what was asked with a snapshot or a volume.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("snapshot {id} does not exist")]
    NoSnapshot { id: String },
    #[error("snapshot {id} is not complete")]
    SnapshotNotCompleted { id: String },
    #[error("snapshot {id} is encrypted, so it can't be shared with everybody")]
    SnapshotEncrypted { id: String },
    #[error(
        "snapshot {id} holds what is sold under a product, so it can't be shared with everybody"
    )]
    SnapshotSold { id: String },
    #[error("volume {id} does not exist")]
    NoVolume { id: String },
    #[error("volume {id} is attached to instance {instance}: detach it first")]
    VolumeInUse { id: String, instance: String },
    #[error("volume {id} is not attached so")]
    NotAttached { id: String },
    #[error("volume {id} is the root of instance {instance}: stop that first")]
    RootVolume { id: String, instance: String },
    #[error("volume {id} is sold under product `{code}`, which the instance does not have")]
    VolumeSold { id: String, code: String },
}

impl DiskError {
    pub(super) fn fault(&self) -> Fault {
        use DiskError as E;
        match self {
            E::NoSnapshot { id } => {
                new(Kind::NotFound, Reason::SnapshotNotFound).with("snapshotId", id)
            }
            E::SnapshotNotCompleted { id } => {
                new(Kind::Precondition, Reason::SnapshotNotCompleted).with("snapshotId", id)
            }
            E::SnapshotEncrypted { id } => new(Kind::Precondition, Reason::SnapshotEncrypted)
                .with("snapshotId", id)
                .hint("share it with accounts instead"),
            E::SnapshotSold { id } => new(Kind::Precondition, Reason::SnapshotHasProductCodes)
                .with("snapshotId", id)
                .hint("share it with accounts instead; they subscribe to the product"),
            E::NoVolume { id } => new(Kind::NotFound, Reason::VolumeNotFound).with("volumeId", id),
            E::VolumeInUse { id, instance } => new(Kind::Precondition, Reason::VolumeInUse)
                .with("volumeId", id)
                .with("instanceId", instance)
                .hint(format!("vmint volume detach {id}")),
            E::NotAttached { id } => {
                new(Kind::Precondition, Reason::VolumeNotAttached).with("volumeId", id)
            }
            E::RootVolume { id, instance } => new(Kind::Precondition, Reason::RootVolume)
                .with("volumeId", id)
                .with("instanceId", instance)
                .hint(format!("vmint instance stop {instance}")),
            E::VolumeSold { id, code } => new(Kind::Precondition, Reason::VolumeHasProductCodes)
                .with("volumeId", id)
                .with("productCode", code)
                .hint("launch an instance from the image it came with"),
        }
    }
}

impl From<DiskError> for tonic::Status {
    fn from(error: DiskError) -> Self {
        GatewayError::from(error).into()
    }
}
