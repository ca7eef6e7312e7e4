//! What storage refused, in S3's codes.

use tonic::{Code as GrpcCode, Status};
use vmint_api::storage::v1::StorageErrorReason as R;
use vmint_ec2::s3::{S3Error, S3Kind};
use vmint_rpc::Fault;

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
pub(super) fn refused(status: Status) -> S3Error {
    let seen = Fault::from_status(&status);
    let reason = ["STORAGE_ERROR_REASON_", &seen.reason].concat();
    let ours = (seen.domain == "storage.vmint").then(|| R::from_str_name(&reason)).flatten();
    let kind = match ours {
        Some(R::BucketNotFound) => S3Kind::NoSuchBucket,
        Some(R::BucketDenied) => S3Kind::AccessDenied,
        Some(R::BucketExists) => S3Kind::BucketAlreadyExists,
        Some(R::BucketOwned) => S3Kind::BucketAlreadyOwnedByYou,
        Some(R::BucketNotEmpty) => S3Kind::BucketNotEmpty,
        Some(R::BucketNameInvalid) => S3Kind::InvalidBucketName,
        Some(R::ObjectNotFound) => S3Kind::NoSuchKey,
        Some(R::ObjectKeyInvalid) => S3Kind::KeyTooLong,
        Some(R::ObjectTooLarge) => S3Kind::EntityTooLarge,
        Some(R::ObjectRangeInvalid) => S3Kind::InvalidRange,
        Some(R::ObjectMetadataTooLarge) => S3Kind::MetadataTooLarge,
        Some(R::MultipartNotFound) => S3Kind::NoSuchUpload,
        Some(R::PartInvalid) => S3Kind::InvalidPart,
        Some(R::PartOrderInvalid) => S3Kind::InvalidPartOrder,
        Some(R::PartTooSmall) => S3Kind::EntityTooSmall,
        Some(R::ObjectConditionFailed) => S3Kind::PreconditionFailed,
        Some(R::QuotaExceeded) => S3Kind::QuotaExceeded,
        Some(R::RequestIdReused) => S3Kind::OperationAborted,
        _ => match status.code() {
            GrpcCode::InvalidArgument
            | GrpcCode::NotFound
            | GrpcCode::FailedPrecondition
            | GrpcCode::OutOfRange => S3Kind::InvalidArgument,
            GrpcCode::PermissionDenied => S3Kind::AccessDenied,
            GrpcCode::ResourceExhausted => S3Kind::SlowDown,
            GrpcCode::Unavailable | GrpcCode::DeadlineExceeded | GrpcCode::Cancelled => {
                S3Kind::ServiceUnavailable
            }
            _ => {
                let text = "An internal error has occurred; the request id finds it in the log.";
                return S3Error::new(S3Kind::InternalError, text);
            }
        },
    };
    let message = match &seen.hint {
        Some(hint) => format!("{}: {hint}", seen.message),
        None => seen.message,
    };
    S3Error::new(kind, message)
}
