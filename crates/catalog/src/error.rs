//! Everything the catalog may refuse, and why.

use vmint_api::catalog::v1::CatalogErrorReason as Reason;
use vmint_rpc::{BadToken, Describe, Fault, Kind};
use vmint_store::{Fenced, Reused, StoreError, TxError};

use crate::State;

/// What the catalog's verbs return.
pub type Result<T, E = CatalogError> = std::result::Result<T, E>;

/// Why the catalog did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Also what someone gets who may not know of the image.
    #[error("image {image} does not exist")]
    ImageNotFound { image: String },
    #[error(
        "the account has another image named `{name}`, {image}: choose another name, or \
         deregister that one"
    )]
    NameTaken { name: String, image: String },
    #[error("`{name}` is not an image name: use 3 to 128 letters, digits, spaces and ()[]./-'@_")]
    NameInvalid { name: String },
    #[error("`{field}` is not set")]
    Missing { field: &'static str },
    #[error("`{field}` {why}")]
    Field { field: &'static str, why: String },
    #[error("tag `{key}` {why}")]
    Tag { key: String, why: &'static str },
    #[error("an image may have {limit} tags: take some away first")]
    TooManyTags { limit: usize },
    #[error("filter `{filter}` {why}")]
    Filter { filter: String, why: String },
    #[error("image {image} is {state}, which does not allow this")]
    NotAvailable { image: String, state: State },
    #[error("image {image} has changed since it was read: read it again")]
    EtagMismatch { image: String, etag: String },
    #[error("there is no parameter `{name}`")]
    ParameterNotFound { name: String },
    #[error("the parameter `{name}` has no version or label `{version}`")]
    ParameterVersionNotFound { name: String, version: String },
    #[error("there is a parameter `{name}`: choose another name, or overwrite it")]
    ParameterExists { name: String },
    #[error("the parameter `{name}` is for the deployment's operator to change")]
    ParameterReserved { name: String },
    #[error("the parameter's name `{name}` {why}")]
    ParameterNameInvalid { name: String, why: &'static str },
    #[error("the value does not match the parameter's pattern `{pattern}`")]
    ParameterPatternMismatch { pattern: String },
    #[error("the pattern `{pattern}` is no regular expression, or too large a one")]
    ParameterPatternInvalid { pattern: String },
    #[error("the parameter `{name}` is of another type: delete it first, or choose another name")]
    ParameterTypeChanged { name: String },
    #[error(
        "version {version} of `{name}` would have to go but has a label: move the label to \
         another version"
    )]
    ParameterVersionLimit { name: String, version: u64 },
    #[error("an account may have {limit} parameters: delete some first")]
    TooManyParameters { limit: u64 },
    #[error("a version may have {limit} labels: move some to another version first")]
    TooManyLabels { limit: usize },
    #[error(transparent)]
    PageToken(#[from] BadToken),
    #[error(transparent)]
    Reused(#[from] Reused),
    #[error(transparent)]
    Fenced(#[from] Fenced),
    #[error("the image store failed")]
    Store(#[from] StoreError),
    #[error("a stored image cannot be read: {what}")]
    Damaged { what: &'static str },
    #[error("a listing was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl CatalogError {
    pub(crate) fn field(field: &'static str, why: impl Into<String>) -> Self {
        Self::Field { field, why: why.into() }
    }
}

impl Describe for CatalogError {
    const DOMAIN: &'static str = "catalog.vmint";

    fn fault(&self) -> Fault {
        use CatalogError as E;
        match self {
            E::ImageNotFound { image } => {
                fault(Kind::NotFound, Reason::ImageNotFound).with("imageId", image)
            }
            E::NameTaken { name, image } => fault(Kind::AlreadyExists, Reason::ImageNameTaken)
                .with("name", name)
                .with("imageId", image),
            E::NameInvalid { name } => fault(Kind::BadRequest, Reason::ImageNameInvalid)
                .with("name", name)
                .field("image.name", self.to_string()),
            E::Missing { field } => fault(Kind::BadRequest, Reason::FieldMissing)
                .with("field", field)
                .field(*field, "must be set"),
            E::Field { field, why } => fault(Kind::BadRequest, Reason::FieldInvalid)
                .with("field", field)
                .field(*field, why),
            E::Tag { key, why } => fault(Kind::BadRequest, Reason::TagInvalid)
                .with("key", key)
                .field("tags", format!("`{key}` {why}")),
            E::TooManyTags { limit } => {
                fault(Kind::Precondition, Reason::TooManyTags).with("limit", limit)
            }
            E::Filter { filter, why } => fault(Kind::BadRequest, Reason::FilterInvalid)
                .with("filter", filter)
                .field("filters", format!("`{filter}` {why}")),
            E::NotAvailable { image, state } => {
                fault(Kind::Precondition, Reason::ImageNotAvailable)
                    .with("imageId", image)
                    .with("state", state)
            }
            E::EtagMismatch { image, etag } => fault(Kind::Conflict, Reason::EtagMismatch)
                .with("imageId", image)
                .with("etag", etag),
            E::ParameterNotFound { name } => {
                fault(Kind::NotFound, Reason::ParameterNotFound).with("name", name)
            }
            E::ParameterVersionNotFound { name, version } => {
                fault(Kind::NotFound, Reason::ParameterVersionNotFound)
                    .with("name", name)
                    .with("version", version)
            }
            E::ParameterExists { name } => {
                fault(Kind::AlreadyExists, Reason::ParameterExists).with("name", name)
            }
            E::ParameterReserved { name } => {
                fault(Kind::Forbidden, Reason::ParameterReserved).with("name", name)
            }
            E::ParameterNameInvalid { name, why } => {
                fault(Kind::BadRequest, Reason::ParameterNameInvalid)
                    .with("name", name)
                    .field("name", *why)
            }
            E::ParameterPatternMismatch { .. } => {
                fault(Kind::BadRequest, Reason::ParameterPatternMismatch)
                    .field("parameter.value", self.to_string())
            }
            E::ParameterPatternInvalid { .. } => {
                fault(Kind::BadRequest, Reason::ParameterPatternInvalid)
                    .field("parameter.allowed_pattern", self.to_string())
            }
            E::ParameterTypeChanged { name } => {
                fault(Kind::Precondition, Reason::ParameterTypeChanged).with("name", name)
            }
            E::ParameterVersionLimit { name, version } => {
                fault(Kind::Precondition, Reason::ParameterVersionLimit)
                    .with("name", name)
                    .with("version", version)
            }
            E::TooManyParameters { limit } => {
                fault(Kind::OverQuota, Reason::TooManyParameters).with("limit", limit)
            }
            E::TooManyLabels { limit } => {
                fault(Kind::Precondition, Reason::TooManyLabels).with("limit", limit)
            }
            E::PageToken(_) => fault(Kind::BadRequest, Reason::PageTokenInvalid),
            E::Reused(Reused(id)) => {
                fault(Kind::Conflict, Reason::RequestIdReused).with("requestId", id)
            }
            E::Fenced(Fenced { epoch, seen }) => fault(Kind::Precondition, Reason::SagaFenced)
                .with("epoch", epoch)
                .with("seen", seen),
            E::Store(StoreError::Full { .. }) => fault(Kind::OverQuota, Reason::StoreFailed)
                .hint("free some space on the disk of the catalog"),
            E::Store(_) | E::Damaged { .. } | E::Interrupted(_) => {
                fault(Kind::Internal, Reason::StoreFailed)
            }
        }
    }
}

fn fault(kind: Kind, reason: Reason) -> Fault {
    Fault::new(kind, reason.as_str_name().trim_start_matches("CATALOG_ERROR_REASON_"))
}

impl From<TxError<CatalogError>> for CatalogError {
    fn from(error: TxError<CatalogError>) -> Self {
        error.flatten()
    }
}
