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
