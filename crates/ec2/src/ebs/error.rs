use crate::Reply;

/// A refusal of EBS direct.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EbsError {
    pub kind: EbsKind,
    /// For example `SNAPSHOT_NOT_FOUND`.
    pub reason: &'static str,
    pub message: String,
}

/// Which exception it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EbsKind {
    AccessDenied,
    ConcurrentLimitExceeded,
    Conflict,
    InternalServer,
    RequestThrottled,
    ResourceNotFound,
    ServiceQuotaExceeded,
    Validation,
}

impl EbsKind {
    /// The exception's name.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Self::AccessDenied => "AccessDeniedException",
            Self::ConcurrentLimitExceeded => "ConcurrentLimitExceededException",
            Self::Conflict => "ConflictException",
            Self::InternalServer => "InternalServerException",
            Self::RequestThrottled => "RequestThrottledException",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::ServiceQuotaExceeded => "ServiceQuotaExceededException",
            Self::Validation => "ValidationException",
        }
    }

    /// The HTTP status it is sent with.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::AccessDenied => 403,
            Self::ConcurrentLimitExceeded | Self::RequestThrottled | Self::Validation => 400,
            Self::Conflict => 409,
            Self::InternalServer => 500,
            Self::ResourceNotFound => 404,
            Self::ServiceQuotaExceeded => 402,
        }
    }
}

impl EbsError {
    pub fn new(kind: EbsKind, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, reason, message: message.into() }
    }

    /// Something of the request is wrong.
    pub fn validation(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(EbsKind::Validation, reason, message)
    }

    pub(super) fn no_route() -> Self {
        Self::validation("INVALID_PARAMETER_VALUE", "There is no such path or method here.")
    }
}

impl Reply {
    /// A refusal of EBS direct.
    #[must_use]
    pub fn ebs_error(error: &EbsError, request_id: &str) -> Self {
        let body = serde_json::json!({ "Message": error.message, "Reason": error.reason });
        Self::new(error.kind.status(), "application/json", body.to_string())
            .with("x-amzn-requestid", request_id)
            .with("x-amzn-errortype", error.kind.wire())
    }
}
