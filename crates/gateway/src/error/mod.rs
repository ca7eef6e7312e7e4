//! Everything the gateway may refuse, and why.

mod disk;

use std::time::Duration;

use tonic::Status;
use vmint_api::gateway::v1::GatewayErrorReason as Reason;
use vmint_rpc::{BadToken, Describe, Fault, Kind, to_status};
use vmint_store::{Reused, StoreError};

pub(crate) use disk::DiskError;

/// Why the gateway did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatewayError {
    #[error("this call needs a session: send `authorization: Bearer <token>`")]
    NoToken,
    #[error("the session's token is unknown, revoked or expired")]
    BadSession,
    #[error("the session may only read; `{path}` changes something")]
    ReadOnly { path: String },
    #[error("only the deployment's operator may call `{path}`")]
    OperatorOnly { path: String },
    #[error("there is no method `{path}` here")]
    UnknownMethod { path: String, nearest: Option<String> },
    #[error("image `{reference}` does not exist, or you may not know of it")]
    NoImage { reference: String, nearest: Option<String> },
    #[error("image {id} may not be launched by account {account}")]
    LaunchDenied { id: String, account: String },
    #[error("image {id} belongs to another account")]
    NotOwner { id: String },
    #[error("image {id} belongs to another account and may not be copied: {why}")]
    NotCopyable { id: String, why: &'static str },
    #[error("image {id} is {state}")]
    NotAvailable { id: String, state: &'static str },
    #[error("image {id} is sold under a product, so it can't be launchable by everybody")]
    HasProducts { id: String },
    #[error("image {id} is launchable by everybody, so it can't be sold under a product")]
    Public { id: String },
    #[error("image {id} is encrypted, so it can't be launchable by everybody")]
    Encrypted { id: String },
    #[error("product `{code}` belongs to another account")]
    NotSeller { code: String },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("instance {id} is {state}: it must be running or stopped")]
    InstanceState { id: String, state: &'static str },
    #[error("`{field}`: {why}")]
    Invalid { field: String, why: String },
    #[error(transparent)]
    BadToken(#[from] BadToken),
    #[error(transparent)]
    Reused(#[from] Reused),
    #[error("service `{service}` can't be reached: {text}")]
    Unreachable { service: &'static str, text: String },
    #[error("account {account} makes too many calls")]
    TooFast { account: String, wait: Duration },
    #[error("too many operations are under way")]
    Busy,
    #[error("accounts can be purged only in a deployment that was started in test mode")]
    NotTestMode,
    #[error("operations of account {account} are still under way")]
    AccountBusy { account: String },
    #[error("the gateway is stopping; what was begun goes on when it is back")]
    Stopping,
    #[error("the operation ended too long ago to answer for it again")]
    SagaForgotten,
    #[error("the gateway's store failed")]
    Store(#[from] StoreError),
}

impl GatewayError {
    pub(crate) fn invalid(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), why: why.into() }
    }
}

impl Describe for GatewayError {
    const DOMAIN: &'static str = "gateway.vmint";

    fn fault(&self) -> Fault {
        use GatewayError as E;
        match self {
            E::NoToken | E::BadSession => new(Kind::NotSignedIn, Reason::NotSignedIn).hint(
                "make a token with PermissionsService.CreateSession or `vmint account token`",
            ),
            E::ReadOnly { path } => new(Kind::Forbidden, Reason::Forbidden)
                .with("method", path)
                .hint("use a session that is not read-only"),
            E::OperatorOnly { path } => {
                new(Kind::Forbidden, Reason::Forbidden).with("method", path)
            }
            E::UnknownMethod { path, nearest } => {
                let fault = new(Kind::Unimplemented, Reason::MethodUnknown).with("method", path);
                match nearest {
                    Some(nearest) => fault.hint(format!("did you mean `{nearest}`?")),
                    None => fault.hint("reflection lists what there is"),
                }
            }
            E::NoImage { reference, nearest } => {
                let fault = new(Kind::NotFound, Reason::ImageNotFound).with("imageId", reference);
                match nearest {
                    Some(nearest) => fault.hint(format!("did you mean `{nearest}`?")),
                    None => fault.hint("GatewayService.ListImages lists the images you may see"),
                }
            }
            E::LaunchDenied { id, account } => new(Kind::Forbidden, Reason::LaunchPermissionDenied)
                .with("imageId", id)
                .with("accountId", account)
                .hint("ask its owner for a launch permission"),
            E::NotOwner { id } => new(Kind::Forbidden, Reason::NotOwner).with("imageId", id),
            E::NotCopyable { id, .. } => new(Kind::Forbidden, Reason::ImageNotCopyable)
                .with("imageId", id)
                .hint("launch it and make an image of the instance"),
            E::NotAvailable { id, state } => new(Kind::Precondition, Reason::ImageNotAvailable)
                .with("imageId", id)
                .with("state", state),
            E::HasProducts { id } => new(Kind::Precondition, Reason::ImageHasProductCodes)
                .with("imageId", id)
                .hint("share it with accounts instead; they subscribe to the product"),
            E::Public { id } => new(Kind::Precondition, Reason::ImagePublic)
                .with("imageId", id)
                .hint("take the launch permission back from everybody first"),
            E::Encrypted { id } => new(Kind::Precondition, Reason::ImageEncrypted)
                .with("imageId", id)
                .hint("share it with accounts instead"),
            E::NotSeller { code } => {
                new(Kind::Forbidden, Reason::NotOwner).with("productCode", code)
            }
            E::InstanceState { id, state } => new(Kind::Precondition, Reason::InstanceStateInvalid)
                .with("instanceId", id)
                .with("state", state),
            E::Disk(error) => error.fault(),
            E::Invalid { field, why } => {
                new(Kind::BadRequest, Reason::FieldInvalid).with("field", field).field(field, why)
            }
            E::BadToken(_) => new(Kind::BadRequest, Reason::PageTokenInvalid),
            E::Reused(Reused(id)) => new(Kind::Conflict, Reason::RequestIdReused)
                .with("requestId", id)
                .hint("draw a new request id for a new request"),
            E::Unreachable { service, .. } => new(Kind::Unavailable, Reason::ServiceUnavailable)
                .with("service", service)
                .retry_after(Duration::from_secs(1)),
            E::TooFast { account, wait } => new(Kind::OverQuota, Reason::RateLimited)
                .with("accountId", account)
                .retry_after(*wait),
            E::Busy => {
                new(Kind::OverQuota, Reason::RateLimited).retry_after(Duration::from_secs(1))
            }
            E::NotTestMode => new(Kind::Precondition, Reason::NotTestMode)
                .hint("start it with `vmint up --test-mode`, if it is for tests only"),
            E::AccountBusy { account } => new(Kind::Precondition, Reason::AccountBusy)
                .with("accountId", account)
                .hint("ask again when they have ended; `vmint saga list` shows them"),
            E::Stopping => new(Kind::Unavailable, Reason::ServiceUnavailable)
                .with("service", "gateway")
                .retry_after(Duration::from_secs(1)),
            E::SagaForgotten => new(Kind::Precondition, Reason::OperationFailed)
                .hint("ask again with a new request id"),
            E::Store(StoreError::Full { .. }) => new(Kind::Unavailable, Reason::StoreFailed)
                .hint("the gateway's disk is full; free some space")
                .retry_after(Duration::from_secs(5)),
            E::Store(_) => new(Kind::Internal, Reason::StoreFailed),
        }
    }
}

impl From<GatewayError> for Status {
    fn from(error: GatewayError) -> Self {
        to_status(&error)
    }
}

/// A fault with its reason's name, less what every name of them begins with.
fn new(kind: Kind, reason: Reason) -> Fault {
    let name = reason.as_str_name();
    Fault::new(kind, name.strip_prefix("GATEWAY_ERROR_REASON_").unwrap_or(name))
}
