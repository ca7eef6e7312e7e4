//! What was refused, in SSM's codes.

use tonic::{Code as GrpcCode, Status};
use vmint_api::catalog::v1::CatalogErrorReason as R;
use vmint_ec2::json::JsonError;
use vmint_rpc::Fault;

/// There is no such parameter, or it is another account's.
pub(super) fn not_found() -> JsonError {
    JsonError::new("ParameterNotFound", "There is no parameter of this name.")
}

/// What a service refused.
#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
pub(super) fn refused(status: Status) -> JsonError {
    let seen = Fault::from_status(&status);
    let reason = ["CATALOG_ERROR_REASON_", &seen.reason].concat();
    let ours = (seen.domain == "catalog.vmint").then(|| R::from_str_name(&reason)).flatten();
    let kind = match ours {
        Some(R::ParameterNotFound) => "ParameterNotFound",
        Some(R::ParameterVersionNotFound) => "ParameterVersionNotFound",
        Some(R::ParameterExists) => "ParameterAlreadyExists",
        Some(R::ParameterReserved) => "AccessDeniedException",
        Some(R::ParameterPatternMismatch) => "ParameterPatternMismatchException",
        Some(R::ParameterPatternInvalid) => "InvalidAllowedPatternException",
        Some(R::ParameterTypeChanged) => "HierarchyTypeMismatchException",
        Some(R::ParameterVersionLimit) => "ParameterMaxVersionLimitExceeded",
        Some(R::TooManyParameters) => "ParameterLimitExceeded",
        Some(R::TooManyLabels) => "ParameterVersionLabelLimitExceeded",
        Some(R::TooManyTags) => "TooManyTagsError",
        Some(R::PageTokenInvalid) => "InvalidNextToken",
        Some(R::FilterInvalid) => "InvalidFilterValue",
        _ => match status.code() {
            GrpcCode::InvalidArgument
            | GrpcCode::NotFound
            | GrpcCode::FailedPrecondition
            | GrpcCode::Aborted => "ValidationException",
            GrpcCode::PermissionDenied => "AccessDeniedException",
            GrpcCode::ResourceExhausted => "ThrottlingException",
            GrpcCode::Unavailable | GrpcCode::DeadlineExceeded | GrpcCode::Cancelled => {
                return JsonError::new("ServiceUnavailableException", seen.message).status(503);
            }
            _ => {
                let text = "An internal error has occurred; the request id finds it in the log.";
                return JsonError::new("InternalServerError", text).status(500);
            }
        },
    };
    let message = match &seen.hint {
        Some(hint) => format!("{}: {hint}", seen.message),
        None => seen.message,
    };
    JsonError::new(kind, message)
}
