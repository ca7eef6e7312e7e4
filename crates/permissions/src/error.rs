//! Everything the service may refuse, and why.

use vmint_api::permissions::v1::PermissionsErrorReason as Reason;
use vmint_rpc::{BadToken, Describe, Fault, Kind};
use vmint_store::{Fenced, Reused, StoreError, TxError};

/// What the service's verbs return.
pub type Result<T, E = PermissionsError> = std::result::Result<T, E>;

/// Why the service did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum PermissionsError {
    #[error("account {account} does not exist")]
    AccountNotFound { account: String },
    #[error("another account has the {what} `{value}`: choose another, or leave it to be drawn")]
    AccountTaken { what: &'static str, value: String },
    #[error("organization {organization} does not exist")]
    OrganizationNotFound { organization: String },
    #[error("session {session} does not exist")]
    SessionNotFound { session: String },
    /// Unknown, revoked and expired tokens read alike on purpose.
    #[error("the bearer token is not valid: make another with CreateSession")]
    TokenInvalid,
    /// Also what someone gets who may not know of the image.
    #[error("image {image} does not exist")]
    ImageNotFound { image: String },
    #[error("{image} belongs to another account")]
    NotOwner { image: String },
    #[error("`{field}` {why}")]
    Field { field: &'static str, why: String },
    #[error(
        "{image} can be shared with {limit} accounts at most: share it with everybody, or take some away"
    )]
    TooManyGrants { image: String, limit: usize },
    #[error(transparent)]
    PageToken(#[from] BadToken),
    #[error(transparent)]
    Reused(#[from] Reused),
    #[error(transparent)]
    Fenced(#[from] Fenced),
    #[error("only the operator may {what}")]
    OperatorOnly { what: &'static str },
    /// Also what someone gets whose key it is not.
    #[error("access key {id} does not exist")]
    AccessKeyNotFound { id: String },
    #[error("access key {id} is or was there before: choose another, or leave it to be drawn")]
    AccessKeyTaken { id: String },
    #[error(
        "`{principal}` has {at_most} access keys, as many as it may have: delete one, or make the key for another principal"
    )]
    TooManyAccessKeys { principal: String, at_most: usize },
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("a stored {what} cannot be read")]
    Damaged { what: &'static str },
}

impl PermissionsError {
    pub(crate) fn field(field: &'static str, why: impl Into<String>) -> Self {
        Self::Field { field, why: why.into() }
    }
}

impl Describe for PermissionsError {
    const DOMAIN: &'static str = "permissions.vmint";

    fn fault(&self) -> Fault {
        use PermissionsError as E;
        match self {
            E::AccountNotFound { account } => {
                fault(Kind::NotFound, Reason::AccountNotFound).with("accountId", account)
            }
            E::AccountTaken { what, value } => {
                fault(Kind::AlreadyExists, Reason::AccountTaken).with(what, value)
            }
            E::OrganizationNotFound { organization } => {
                fault(Kind::NotFound, Reason::OrganizationNotFound)
                    .with("organizationId", organization)
            }
            E::SessionNotFound { session } => {
                fault(Kind::NotFound, Reason::SessionNotFound).with("sessionId", session)
            }
            E::TokenInvalid => fault(Kind::NotSignedIn, Reason::TokenInvalid),
            E::ImageNotFound { image } => {
                fault(Kind::NotFound, Reason::ImageNotFound).with("imageId", image)
            }
            E::NotOwner { image } => {
                fault(Kind::Forbidden, Reason::NotOwner).with("imageId", image)
            }
            E::Field { field, why } => fault(Kind::BadRequest, Reason::FieldInvalid)
                .with("field", field)
                .field(*field, why),
            E::TooManyGrants { image, limit } => fault(Kind::OverQuota, Reason::TooManyGrants)
                .with("imageId", image)
                .with("limit", limit),
            E::PageToken(_) => fault(Kind::BadRequest, Reason::PageTokenInvalid),
            E::Reused(Reused(id)) => {
                fault(Kind::Conflict, Reason::RequestIdReused).with("requestId", id)
            }
            E::Fenced(Fenced { epoch, seen }) => fault(Kind::Precondition, Reason::SagaFenced)
                .with("epoch", epoch)
                .with("seen", seen),
            E::OperatorOnly { .. } => fault(Kind::Forbidden, Reason::OperatorOnly),
            E::AccessKeyNotFound { id } => {
                fault(Kind::NotFound, Reason::AccessKeyNotFound).with("accessKeyId", id)
            }
            E::AccessKeyTaken { id } => {
                fault(Kind::AlreadyExists, Reason::AccessKeyTaken).with("accessKeyId", id)
            }
            E::TooManyAccessKeys { principal, at_most } => {
                fault(Kind::OverQuota, Reason::TooManyAccessKeys)
                    .with("principal", principal)
                    .with("limit", at_most)
            }
            E::Store(StoreError::Full { .. }) => fault(Kind::OverQuota, Reason::StoreFailed)
                .hint("free some space on the disk of the permissions service"),
            E::Store(_) | E::Damaged { .. } => fault(Kind::Internal, Reason::StoreFailed),
        }
    }
}

fn fault(kind: Kind, reason: Reason) -> Fault {
    Fault::new(kind, reason.as_str_name().trim_start_matches("PERMISSIONS_ERROR_REASON_"))
}

impl From<TxError<PermissionsError>> for PermissionsError {
    fn from(error: TxError<PermissionsError>) -> Self {
        error.flatten()
    }
}
