//! Everything the launcher may refuse, and why.

use std::time::Duration;

use vmint_api::launcher::v1::LauncherErrorReason as Reason;
use vmint_ids::InstanceId;
use vmint_rpc::{BadToken, Describe, Fault, Kind};
use vmint_store::{Fenced, Reused, StoreError};

use crate::{State, filter::BadFilter};

pub type Result<T, E = LauncherError> = std::result::Result<T, E>;

/// Why the launcher did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LauncherError {
    #[error("instance `{id}` does not exist")]
    NoSuchInstance { id: String },
    #[error("instance {id} is {state}: you cannot {verb} it now")]
    WrongState { id: InstanceId, state: State, verb: &'static str },
    #[error("you have no key pair named `{name}`: create or import it first")]
    NoSuchKeyPair { name: String },
    #[error("you already have a key pair named `{name}`")]
    KeyPairNameTaken { name: String },
    #[error("this is not a public key that machines take: {why}")]
    BadPublicKey { why: String },
    #[error("there is no instance type `{name}`; ListInstanceTypes shows those there are")]
    NoSuchType { name: String },
    #[error("the host has no room: {wanted} wanted, {free} of {limit} free")]
    NoCapacity { wanted: String, free: String, limit: String },
    #[error("QEMU is not installed on the launcher's host")]
    NoHypervisor { hint: String },
    #[error("the machine of {id} could not be started: {why}")]
    MachineFailed { id: InstanceId, why: String },
    #[error("the machine of {id} does not answer: {why}")]
    MachineMute { id: InstanceId, why: String },
    #[error("the image needs {what}, which this host does not give: {instead}")]
    Unsupported { what: String, instead: &'static str },
    #[error("instance {id} has another volume at `{device}`: choose another device name")]
    DeviceTaken { id: InstanceId, device: String },
    #[error("the guest of {id} does not let go of volume {volume}")]
    VolumeHeld { id: InstanceId, volume: String },
    #[error("volume {volume} stays at {id} for as long as it runs: stop the instance first")]
    VolumeFixed { id: InstanceId, volume: String },
    #[error("instance {id} has no place for another volume")]
    NoPlace { id: InstanceId },
    #[error("instance {id} has no root volume: attach one at `{device}` first")]
    NoRoot { id: InstanceId, device: String },
    #[error("instance {id} is protected: take its disable_api_termination off first")]
    Protected { id: InstanceId },
    #[error("a resource has at most 50 tags")]
    TooManyTags,
    #[error("not a tag that can be: {problem}")]
    BadTag { problem: String },
    #[error("`{field}` {problem}")]
    BadField { field: &'static str, problem: String },
    #[error(transparent)]
    BadFilter(#[from] BadFilter),
    #[error(transparent)]
    BadToken(#[from] BadToken),
    #[error(transparent)]
    Fenced(#[from] Fenced),
    #[error(transparent)]
    Reused(#[from] Reused),
    #[error("no key could be made")]
    KeyNotMade,
    #[error("the instance store failed")]
    Store(#[from] StoreError),
    #[error("a stored {what} is damaged")]
    Damaged { what: &'static str },
}

impl LauncherError {
    pub(crate) fn field(field: &'static str, problem: impl Into<String>) -> Self {
        Self::BadField { field, problem: problem.into() }
    }
}

impl Describe for LauncherError {
    const DOMAIN: &'static str = "launcher.vmint";

    fn fault(&self) -> Fault {
        use LauncherError as E;
        let fault = |kind, reason: Reason| {
            let name = reason.as_str_name();
            Fault::new(kind, name.trim_start_matches("LAUNCHER_ERROR_REASON_"))
        };
        match self {
            E::NoSuchInstance { id } => {
                fault(Kind::NotFound, Reason::InstanceNotFound).with("instanceId", id)
            }
            E::WrongState { id, state, .. } => {
                fault(Kind::Precondition, Reason::InstanceStateInvalid)
                    .with("instanceId", id)
                    .with("state", state)
            }
            E::NoSuchKeyPair { name } => {
                fault(Kind::NotFound, Reason::KeyPairNotFound).with("name", name)
            }
            E::KeyPairNameTaken { name } => {
                fault(Kind::AlreadyExists, Reason::KeyPairNameTaken).with("name", name)
            }
            E::BadPublicKey { why } => {
                fault(Kind::BadRequest, Reason::PublicKeyInvalid).field("public_key", why)
            }
            E::NoSuchType { name } => fault(Kind::BadRequest, Reason::InstanceTypeUnknown)
                .with("instanceType", name)
                .field("instance_type", "is not one of ListInstanceTypes"),
            E::NoCapacity { .. } => fault(Kind::OverQuota, Reason::CapacityExhausted)
                .hint("stop or terminate instances, or choose a smaller instance type")
                .retry_after(Duration::from_mins(1)),
            E::NoHypervisor { hint } => {
                fault(Kind::Precondition, Reason::HypervisorMissing).hint(hint)
            }
            E::MachineFailed { id, .. } | E::MachineMute { id, .. } => {
                fault(Kind::Unavailable, Reason::MachineFailed).with("instanceId", id)
            }
            E::Unsupported { instead, .. } => {
                fault(Kind::Precondition, Reason::ImageUnsupported).hint(*instead)
            }
            E::DeviceTaken { id, device } => fault(Kind::BadRequest, Reason::DeviceNameTaken)
                .with("instanceId", id)
                .field("device_name", format!("`{device}` is taken")),
            E::VolumeHeld { id, volume } => fault(Kind::Precondition, Reason::VolumeHeld)
                .with("instanceId", id)
                .with("volumeId", volume)
                .hint("unmount it in the guest, or detach by force"),
            E::VolumeFixed { id, volume } => fault(Kind::Precondition, Reason::VolumeFixed)
                .with("instanceId", id)
                .with("volumeId", volume),
            E::NoPlace { id } => fault(Kind::OverQuota, Reason::VolumeLimitExceeded)
                .with("instanceId", id)
                .hint("detach a volume; places are counted anew at the next start"),
            E::NoRoot { id, .. } => {
                fault(Kind::Precondition, Reason::RootVolumeMissing).with("instanceId", id)
            }
            E::Protected { id } => {
                fault(Kind::Precondition, Reason::TerminationProtected).with("instanceId", id)
            }
            E::TooManyTags => fault(Kind::BadRequest, Reason::TagLimitExceeded)
                .field("tags", "would be more than 50"),
            E::BadTag { problem } => {
                fault(Kind::BadRequest, Reason::TagInvalid).field("tags", problem)
            }
            E::BadField { field, problem } => fault(Kind::BadRequest, Reason::FieldInvalid)
                .with("field", field)
                .field(*field, problem),
            E::BadFilter(bad) => fault(Kind::BadRequest, Reason::FilterInvalid)
                .with("filter", &bad.name)
                .field("filters", bad.to_string()),
            E::BadToken(_) => fault(Kind::BadRequest, Reason::PageTokenInvalid),
            E::Fenced(Fenced { epoch, seen }) => {
                fault(Kind::Conflict, Reason::SagaFenced).with("epoch", epoch).with("seen", seen)
            }
            E::Reused(Reused(id)) => {
                fault(Kind::Conflict, Reason::RequestIdReused).with("requestId", id)
            }
            E::KeyNotMade | E::Store(_) | E::Damaged { .. } => {
                fault(Kind::Internal, Reason::StoreFailed)
            }
        }
    }
}
