//! The services that share the face, and their manners of answering.

use vmint_ec2::{
    Code, Error, Reply, Xml,
    ebs::{EbsError, EbsKind},
    json::{self, JsonError},
    reply::QueryService,
    sigv4::SigError,
};

/// Which service a request is for, by the scope of its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Ec2,
    Sts,
    /// Other Query services.
    Query(QueryService),
    Ebs,
    Ssm,
    S3,
    /// JSON services that have no operation yet.
    Other,
}

impl Service {
    pub(super) fn of(scope: &str) -> Option<Self> {
        Some(match scope {
            "ec2" => Self::Ec2,
            "sts" => Self::Sts,
            "iam" => Self::Query(QueryService::Iam),
            "autoscaling" => Self::Query(QueryService::AutoScaling),
            "ebs" => Self::Ebs,
            "ssm" => Self::Ssm,
            "s3" => Self::S3,
            "rbin" | "aws-marketplace" => Self::Other,
            _ => return None,
        })
    }

    /// How metrics and logs name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Sts | Self::Query(QueryService::Sts) => "sts",
            Self::Query(QueryService::Iam) => "iam",
            Self::Query(QueryService::AutoScaling) => "autoscaling",
            Self::Ebs => "ebs",
            Self::Ssm => "ssm",
            Self::S3 => "s3",
            Self::Other => "other",
        }
    }

    /// Every deployment answers for itself, whatever region a client names.
    pub(super) fn is_global(self) -> bool {
        matches!(self, Self::Sts | Self::Query(QueryService::Iam))
    }

    pub(super) fn longest_body(self) -> usize {
        match self {
            Self::Ebs => vmint_ec2::ebs::BLOCK_BYTES + (4 << 10),
            _ => json::MAX_BYTES,
        }
    }

    fn query(self) -> Option<QueryService> {
        match self {
            Self::Sts => Some(QueryService::Sts),
            Self::Query(service) => Some(service),
            _ => None,
        }
    }

    /// The answer of a Query operation.
    pub(super) fn reply(self, action: &str, request_id: &str, inside: &Xml) -> Reply {
        match self.query() {
            Some(service) => Reply::query(service, action, request_id, inside),
            None => Reply::ec2(action, request_id, inside),
        }
    }

    pub(super) fn refuse_signature(self, error: &SigError, request_id: &str) -> Reply {
        if self == Self::S3 {
            return Reply::s3_error(&error.into(), request_id);
        }
        let error = if self == Self::Ec2 { error.for_ec2() } else { error.for_others() };
        self.refuse(&error, request_id)
    }

    pub(super) fn refuse(self, error: &Error, request_id: &str) -> Reply {
        match self {
            Self::Ec2 => Reply::ec2_error(error, request_id),
            Self::Ssm | Self::Other => {
                let (kind, status) = (json_kind(error.code), error.code.status());
                let error = JsonError::new(kind, &error.message).status(status);
                Reply::json_error(&error, request_id)
            }
            Self::Ebs => Reply::ebs_error(&ebs(error), request_id),
            Self::S3 => Reply::s3_error(&error.into(), request_id),
            Self::Sts | Self::Query(_) => {
                let service = self.query().unwrap_or(QueryService::Sts);
                Reply::query_error(service, error, request_id)
            }
        }
    }
}

fn json_kind(code: Code) -> &'static str {
    match code {
        Code::InvalidAction | Code::MissingAction => "InvalidAction",
        Code::InvalidClientTokenId => "UnrecognizedClientException",
        Code::SignatureDoesNotMatch => "InvalidSignatureException",
        Code::IncompleteSignature => "IncompleteSignatureException",
        Code::MissingAuthenticationToken => "MissingAuthenticationTokenException",
        Code::RequestLimitExceeded => "ThrottlingException",
        Code::UnauthorizedOperation => "AccessDeniedException",
        Code::InternalError => "InternalServerError",
        Code::Unavailable => "ServiceUnavailableException",
        code if code.status() == 413 => "RequestEntityTooLarge",
        _ => "ValidationException",
    }
}

fn ebs(error: &Error) -> EbsError {
    let (kind, reason) = match error.code {
        Code::RequestLimitExceeded => (EbsKind::RequestThrottled, "ACCOUNT_THROTTLED"),
        Code::InternalError | Code::Unavailable => (EbsKind::InternalServer, "INTERNAL"),
        code if matches!(code.status(), 401 | 403) => {
            (EbsKind::AccessDenied, "UNAUTHORIZED_ACCOUNT")
        }
        Code::IncompleteSignature | Code::RequestExpired => {
            (EbsKind::AccessDenied, "UNAUTHORIZED_ACCOUNT")
        }
        _ => (EbsKind::Validation, "INVALID_PARAMETER_VALUE"),
    };
    EbsError::new(kind, reason, &error.message)
}
