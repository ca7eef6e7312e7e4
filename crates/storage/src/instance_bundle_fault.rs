//! What can be wrong with instance-store bundles.

use vmint_api::storage::v1::StorageErrorReason as Reason;
use vmint_ids::{BundleTaskId, KmsKeyId};
use vmint_images::instance_bundle::BundleError;
use vmint_rpc::{Fault, Kind};

use crate::{StorageError, error::name};

/// Why a bundle was not made, or not read.
#[derive(Debug, thiserror::Error)]
pub enum InstanceBundleError {
    #[error("bundle task {id} does not exist")]
    NoSuchTask { id: BundleTaskId },
    #[error("`{key}` is in the bucket, or another task makes it: choose another prefix")]
    Exists { key: String },
    #[error("the disk has {bytes} bytes; a bundle holds at most 64 GiB, in blocks of 512")]
    Size { bytes: u64 },
    #[error(transparent)]
    Manifest(BundleError),
    #[error("the bundle was made by another account")]
    Denied,
    #[error("it is another bundle than when the import began: begin again")]
    Replaced,
    #[error("part `{key}` is not there: the bundle is not whole")]
    PartGone { key: String },
    #[error("part `{key}` is not what the manifest says: it was changed")]
    PartChanged { key: String },
    #[error("the bundle's data key can't be unwrapped: key {id} is destroyed or another")]
    KeyGone { id: KmsKeyId },
}

impl InstanceBundleError {
    pub(crate) fn fault(&self) -> Fault {
        let fault = |kind, reason| Fault::new(kind, name(reason));
        match self {
            Self::NoSuchTask { id } => {
                fault(Kind::NotFound, Reason::TaskNotFound).with("task_id", id)
            }
            Self::Exists { key } => {
                fault(Kind::AlreadyExists, Reason::InstanceBundleExists).with("key", key)
            }
            Self::Size { bytes } => {
                fault(Kind::BadRequest, Reason::InstanceBundleInvalid).with("size_bytes", bytes)
            }
            Self::Manifest(BundleError::Signature | BundleError::Stream(_)) => {
                fault(Kind::Precondition, Reason::InstanceBundleChanged)
                    .hint("make the bundle again; a deployment reads its own bundles only")
            }
            Self::Manifest(_) => fault(Kind::BadRequest, Reason::InstanceBundleInvalid),
            Self::Replaced => fault(Kind::Precondition, Reason::InstanceBundleChanged),
            Self::Denied => fault(Kind::Forbidden, Reason::InstanceBundleDenied),
            Self::PartGone { key } | Self::PartChanged { key } => {
                fault(Kind::Precondition, Reason::InstanceBundleChanged).with("key", key)
            }
            Self::KeyGone { id } => {
                fault(Kind::Precondition, Reason::DataKeyGone).with("kms_key_id", id)
            }
        }
    }
}

impl From<BundleError> for StorageError {
    fn from(error: BundleError) -> Self {
        match error {
            // The disk's own trouble, such as being full.
            BundleError::Io(error) => error.into(),
            other => InstanceBundleError::Manifest(other).into(),
        }
    }
}
