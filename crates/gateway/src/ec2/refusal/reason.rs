//! Reasons of ours and the codes of EC2 that say the same.
#![allow(clippy::match_same_arms)] // a reason beside those of its kind

use vmint_api::{
    catalog::v1::CatalogErrorReason, gateway::v1::GatewayErrorReason,
    launcher::v1::LauncherErrorReason, marketplace::v1::MarketplaceErrorReason,
    permissions::v1::PermissionsErrorReason, storage::v1::StorageErrorReason,
};
use vmint_ec2::Code;

/// The code of a reason of one of our services; none where the kind of refusal
/// tells more. The matches are exhaustive: a new reason needs its code here.
pub(super) fn code(domain: &str, reason: &str) -> Option<Code> {
    macro_rules! of {
        ($enum:ident, $prefix:literal, $code:ident) => {
            $enum::from_str_name(&[$prefix, reason].concat()).and_then($code)
        };
    }
    match domain {
        "catalog.vmint" => of!(CatalogErrorReason, "CATALOG_ERROR_REASON_", catalog),
        "gateway.vmint" => of!(GatewayErrorReason, "GATEWAY_ERROR_REASON_", gateway),
        "launcher.vmint" => of!(LauncherErrorReason, "LAUNCHER_ERROR_REASON_", launcher),
        "marketplace.vmint" => {
            of!(MarketplaceErrorReason, "MARKETPLACE_ERROR_REASON_", marketplace)
        }
        "permissions.vmint" => {
            of!(PermissionsErrorReason, "PERMISSIONS_ERROR_REASON_", permissions)
        }
        "storage.vmint" => of!(StorageErrorReason, "STORAGE_ERROR_REASON_", storage),
        _ => None,
    }
}

fn catalog(reason: CatalogErrorReason) -> Option<Code> {
    use CatalogErrorReason as R;
    Some(match reason {
        R::ImageNotFound => Code::InvalidAmiIdNotFound,
        R::ImageNameTaken => Code::InvalidAmiNameDuplicate,
        R::ImageNameInvalid => Code::InvalidAmiNameMalformed,
        R::FieldMissing => Code::MissingParameter,
        R::FieldInvalid | R::FilterInvalid => Code::InvalidParameterValue,
        R::PageTokenInvalid => Code::InvalidNextToken,
        R::RequestIdReused => Code::IdempotentParameterMismatch,
        R::ImageNotAvailable => Code::InvalidAmiIdUnavailable,
        R::TagInvalid => Code::InvalidTagKeyMalformed,
        R::TooManyTags => Code::TagLimitExceeded,
        R::EtagMismatch => Code::IncorrectState,
        R::SagaFenced => Code::Unavailable,
        R::ParameterNotFound
        | R::ParameterVersionNotFound
        | R::ParameterNameInvalid
        | R::ParameterPatternMismatch
        | R::ParameterPatternInvalid => Code::InvalidParameterValue,
        R::ParameterReserved => Code::UnauthorizedOperation,
        R::ParameterExists | R::ParameterTypeChanged | R::ParameterVersionLimit => {
            Code::IncorrectState
        }
        R::TooManyParameters | R::TooManyLabels => Code::ResourceLimitExceeded,
        R::Unspecified | R::StoreFailed => return None,
    })
}

fn gateway(reason: GatewayErrorReason) -> Option<Code> {
    use GatewayErrorReason as R;
    Some(match reason {
        R::NotSignedIn => Code::AuthFailure,
        R::Forbidden => Code::UnauthorizedOperation,
        R::ImageNotFound => Code::InvalidAmiIdNotFound,
        R::LaunchPermissionDenied | R::NotOwner => Code::NotAuthorized,
        R::MethodUnknown => Code::InvalidAction,
        R::FieldInvalid => Code::InvalidParameterValue,
        R::RequestIdReused => Code::IdempotentParameterMismatch,
        R::ServiceUnavailable => Code::Unavailable,
        R::RateLimited => Code::RequestLimitExceeded,
        R::OperationFailed => Code::InternalError,
        R::PageTokenInvalid => Code::InvalidNextToken,
        R::ImageNotAvailable => Code::InvalidAmiIdUnavailable,
        R::ImageNotCopyable => Code::InvalidRequest,
        R::ImageHasProductCodes | R::ImagePublic => Code::OperationNotPermitted,
        R::ImageEncrypted => Code::UnsupportedOperation,
        R::InstanceStateInvalid => Code::IncorrectInstanceState,
        R::SnapshotNotFound => Code::InvalidSnapshotNotFound,
        R::SnapshotNotCompleted => Code::IncorrectState,
        R::SnapshotEncrypted => Code::UnsupportedOperation,
        R::SnapshotHasProductCodes | R::VolumeHasProductCodes => Code::OperationNotPermitted,
        R::VolumeNotFound => Code::InvalidVolumeNotFound,
        R::VolumeInUse => Code::VolumeInUse,
        R::VolumeNotAttached => Code::IncorrectState,
        R::RootVolume => Code::OperationNotPermitted,
        R::NotTestMode => Code::UnsupportedOperation,
        R::AccountBusy => Code::IncorrectState,
        R::Unspecified | R::StoreFailed => return None,
    })
}

fn launcher(reason: LauncherErrorReason) -> Option<Code> {
    use LauncherErrorReason as R;
    Some(match reason {
        R::InstanceNotFound => Code::InvalidInstanceIdNotFound,
        R::InstanceStateInvalid => Code::IncorrectInstanceState,
        R::KeyPairNotFound => Code::InvalidKeyPairNotFound,
        R::KeyPairNameTaken => Code::InvalidKeyPairDuplicate,
        R::PublicKeyInvalid => Code::InvalidKeyFormat,
        R::InstanceTypeUnknown | R::FieldInvalid | R::FilterInvalid => Code::InvalidParameterValue,
        R::CapacityExhausted => Code::InsufficientInstanceCapacity,
        R::ImageUnsupported => Code::Unsupported,
        R::PageTokenInvalid => Code::InvalidNextToken,
        R::RequestIdReused => Code::IdempotentParameterMismatch,
        R::DeviceNameTaken => Code::InvalidDeviceInUse,
        R::VolumeHeld => Code::VolumeInUse,
        R::VolumeFixed | R::TerminationProtected => Code::OperationNotPermitted,
        R::TagLimitExceeded => Code::TagLimitExceeded,
        R::TagInvalid => Code::InvalidTagKeyMalformed,
        R::VolumeLimitExceeded => Code::ResourceLimitExceeded,
        R::RootVolumeMissing => Code::IncorrectState,
        R::SagaFenced => Code::Unavailable,
        R::HypervisorMissing | R::MachineFailed => Code::InternalError,
        R::Unspecified | R::StoreFailed => return None,
    })
}

fn marketplace(reason: MarketplaceErrorReason) -> Option<Code> {
    use MarketplaceErrorReason as R;
    Some(match reason {
        R::ProductNotFound => Code::InvalidProductInfo,
        R::SubscriptionRequired | R::TermsNotAccepted => Code::OptInRequired,
        R::FieldInvalid => Code::InvalidParameterValue,
        R::PageTokenInvalid => Code::InvalidNextToken,
        R::RequestIdReused => Code::IdempotentParameterMismatch,
        R::OperatorOnly => Code::UnauthorizedOperation,
        R::AgreementNotFound => Code::InvalidParameterValue,
        R::HoldExpired | R::SagaFenced => Code::Unavailable,
        R::Unspecified | R::StoreFailed => return None,
    })
}

fn permissions(reason: PermissionsErrorReason) -> Option<Code> {
    use PermissionsErrorReason as R;
    Some(match reason {
        R::AccountNotFound => Code::InvalidAmiAttributeItemValue,
        R::TokenInvalid => Code::AuthFailure,
        R::ImageNotFound => Code::InvalidAmiIdNotFound,
        R::NotOwner => Code::NotAuthorized,
        R::FieldInvalid => Code::InvalidParameterValue,
        R::TooManyGrants | R::TooManyAccessKeys => Code::ResourceLimitExceeded,
        R::PageTokenInvalid => Code::InvalidNextToken,
        R::RequestIdReused => Code::IdempotentParameterMismatch,
        R::OperatorOnly => Code::UnauthorizedOperation,
        R::AccessKeyNotFound => Code::InvalidClientTokenId,
        R::AccountTaken | R::AccessKeyTaken | R::OrganizationNotFound | R::SessionNotFound => {
            Code::InvalidParameterValue
        }
        R::SagaFenced => Code::Unavailable,
        R::Unspecified | R::StoreFailed => return None,
    })
}

fn storage(reason: StorageErrorReason) -> Option<Code> {
    use StorageErrorReason as R;
    Some(match reason {
        R::SnapshotNotFound => Code::InvalidSnapshotNotFound,
        R::VolumeNotFound => Code::InvalidVolumeNotFound,
        R::SnapshotInUse => Code::InvalidSnapshotInUse,
        R::SnapshotNotCompleted => Code::IncorrectState,
        R::ImageFormatInvalid | R::ImageUnsafe | R::ImageDamaged => Code::InvalidFormat,
        R::ImageTooLarge => Code::DiskImageSizeTooLarge,
        R::VolumeSizeInvalid | R::FieldInvalid => Code::InvalidParameterValue,
        R::PageTokenInvalid => Code::InvalidNextToken,
        R::RequestIdReused => Code::IdempotentParameterMismatch,
        R::ImportSequenceInvalid => Code::InvalidParameterValue,
        R::KeyNotFound | R::KeyNotUsable => Code::InvalidParameterValue,
        R::KeyStateInvalid | R::DataInUse => Code::IncorrectState,
        R::DecryptionRefused => Code::InvalidRequest,
        R::UploadNotFound | R::UrlRefused => Code::InvalidParameterValue,
        R::UploadIncomplete | R::UploadInUse | R::TaskEnded => Code::IncorrectState,
        R::TaskNotFound => Code::InvalidConversionTaskId,
        R::ExportTaskNotFound => Code::InvalidExportTaskIdNotFound,
        R::TooManyTransfers => Code::ResourceLimitExceeded,
        R::NotExportable => Code::NotExportable,
        R::RegionUnknown => Code::InvalidRegion,
        R::RegionRefused => Code::InvalidRequest,
        R::SourceImageNotFound => Code::InvalidAmiIdNotFound,
        R::SourceImageNotAvailable => Code::InvalidAmiIdUnavailable,
        R::RegionAway => Code::Unavailable,
        R::DiskFull | R::SagaFenced => Code::Unavailable,
        R::DataDamaged | R::DataKeyGone => Code::InternalError,
        R::QuotaExceeded => Code::ResourceLimitExceeded,
        R::TagInvalid => Code::InvalidTagKeyMalformed,
        R::FilterInvalid | R::VolumeTypeInvalid => Code::InvalidParameterValue,
        R::VolumeInUse => Code::VolumeInUse,
        R::DeviceInUse => Code::InvalidDeviceInUse,
        R::InstanceWithoutVolumes => Code::InvalidInstanceIdNotFound,
        R::UnauthorizedAccount => Code::UnauthorizedOperation,
        R::InvalidBlockToken
        | R::InvalidBlock
        | R::ChecksumMismatch
        | R::ChangedBlocksCountInvalid => Code::InvalidParameterValue,
        R::ConflictingBlockUpdate | R::WriteRequestTimeout | R::SnapshotNotPending => {
            Code::IncorrectState
        }
        R::VolumeBusy | R::ServiceStopping => Code::Unavailable,
        R::BucketNotFound
        | R::BucketDenied
        | R::ObjectNotFound
        | R::BucketNameInvalid
        | R::ObjectKeyInvalid => Code::InaccessibleStorageLocation,
        R::BucketExists | R::BucketOwned | R::BucketNotEmpty | R::ObjectConditionFailed => {
            Code::IncorrectState
        }
        R::ObjectTooLarge => Code::DiskImageSizeTooLarge,
        R::ObjectRangeInvalid
        | R::ObjectMetadataTooLarge
        | R::MultipartNotFound
        | R::PartInvalid
        | R::PartOrderInvalid
        | R::PartTooSmall
        | R::InstanceBundleInvalid => Code::InvalidParameterValue,
        R::InstanceBundleChanged | R::InstanceBundleExists => Code::IncorrectState,
        R::InstanceBundleDenied => Code::AuthFailure,
        R::Unspecified | R::StoreFailed => return None,
    })
}
