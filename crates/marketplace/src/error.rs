//! Everything the marketplace may refuse, and why.

use vmint_api::marketplace::v1::MarketplaceErrorReason as Reason;
use vmint_rpc::{BadToken, Describe, Fault, Kind};
use vmint_store::{Fenced, Reused, StoreError, TxError};

/// What the marketplace's verbs return.
pub type Result<T, E = MarketError> = std::result::Result<T, E>;

/// Why the marketplace did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum MarketError {
    #[error("product {code} does not exist")]
    ProductNotFound { code: String },
    /// Also what someone gets whose agreement it is not.
    #[error("agreement {agreement} does not exist")]
    AgreementNotFound { agreement: String },
    #[error("the account has no active agreement for product {code}: subscribe to it first")]
    SubscriptionRequired { code: String },
    #[error("the terms of product {code} must be accepted: set `accept_terms`")]
    TermsNotAccepted { code: String },
    #[error("`{field}` {why}")]
    Field { field: &'static str, why: String },
    #[error("the hold of saga {saga} ran out or was given back: make another")]
    HoldExpired { saga: String },
    #[error(transparent)]
    PageToken(#[from] BadToken),
    #[error(transparent)]
    Reused(#[from] Reused),
    #[error(transparent)]
    Fenced(#[from] Fenced),
    #[error("only the operator may {what}")]
    OperatorOnly { what: &'static str },
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("a stored {what} cannot be read")]
    Damaged { what: &'static str },
    #[error("the audit was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl MarketError {
    pub(crate) fn field(field: &'static str, why: impl Into<String>) -> Self {
        Self::Field { field, why: why.into() }
    }
}

impl Describe for MarketError {
    const DOMAIN: &'static str = "marketplace.vmint";

    fn fault(&self) -> Fault {
        use MarketError as E;
        match self {
            E::ProductNotFound { code } => {
                fault(Kind::NotFound, Reason::ProductNotFound).with("product_code", code)
            }
            E::AgreementNotFound { agreement } => {
                fault(Kind::NotFound, Reason::AgreementNotFound).with("agreement_id", agreement)
            }
            E::SubscriptionRequired { code } => {
                fault(Kind::Precondition, Reason::SubscriptionRequired)
                    .with("product_code", code)
                    .hint(format!("vmint market subscribe {code}"))
            }
            E::TermsNotAccepted { code } => fault(Kind::Precondition, Reason::TermsNotAccepted)
                .with("product_code", code)
                .field("accept_terms", "must be true"),
            E::Field { field, why } => fault(Kind::BadRequest, Reason::FieldInvalid)
                .with("field", field)
                .field(*field, why),
            E::HoldExpired { saga } => {
                fault(Kind::Precondition, Reason::HoldExpired).with("saga_id", saga)
            }
            E::PageToken(_) => fault(Kind::BadRequest, Reason::PageTokenInvalid),
            E::Reused(Reused(id)) => {
                fault(Kind::Conflict, Reason::RequestIdReused).with("request_id", id)
            }
            E::Fenced(Fenced { epoch, seen }) => fault(Kind::Precondition, Reason::SagaFenced)
                .with("epoch", epoch)
                .with("seen", seen),
            E::OperatorOnly { .. } => fault(Kind::Forbidden, Reason::OperatorOnly),
            E::Store(StoreError::Full { .. }) => fault(Kind::OverQuota, Reason::StoreFailed)
                .hint("free some space on the disk of the marketplace"),
            E::Store(_) | E::Damaged { .. } | E::Interrupted(_) => {
                fault(Kind::Internal, Reason::StoreFailed)
            }
        }
    }
}

fn fault(kind: Kind, reason: Reason) -> Fault {
    Fault::new(kind, reason.as_str_name().trim_start_matches("MARKETPLACE_ERROR_REASON_"))
}

impl From<TxError<MarketError>> for MarketError {
    fn from(error: TxError<MarketError>) -> Self {
        error.flatten()
    }
}
