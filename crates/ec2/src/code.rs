//! The codes that EC2 refuses with.

macro_rules! codes {
    ($($name:ident $wire:literal $status:literal;)*) => {
        /// A refusal's code. Its text and its HTTP status are EC2's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code { $($name,)* }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What stands in `<Code>`.
            #[must_use]
            pub fn wire(self) -> &'static str {
                match self { $(Self::$name => $wire,)* }
            }

            /// The HTTP status it is sent with.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

codes! {
    // Who asks.
    AuthFailure "AuthFailure" 401;
    NotAuthorized "AuthFailure" 400;
    IncompleteSignature "IncompleteSignature" 400;
    InvalidClientTokenId "InvalidClientTokenId" 403;
    MissingAuthenticationToken "MissingAuthenticationToken" 403;
    OptInRequired "OptInRequired" 401;
    RequestExpired "RequestExpired" 400;
    SignatureDoesNotMatch "SignatureDoesNotMatch" 403;
    UnauthorizedOperation "UnauthorizedOperation" 403;
    AccessDenied "AccessDenied" 403;
    // How it is asked.
    DryRunOperation "DryRunOperation" 412;
    FilterLimitExceeded "FilterLimitExceeded" 400;
    InvalidAction "InvalidAction" 400;
    InvalidFilter "InvalidFilter" 400;
    InvalidMaxResults "InvalidMaxResults" 400;
    InvalidNextToken "InvalidNextToken" 400;
    InvalidPaginationToken "InvalidPaginationToken" 400;
    InvalidParameter "InvalidParameter" 400;
    InvalidParameterCombination "InvalidParameterCombination" 400;
    InvalidParameterDependency "InvalidParameterDependency" 400;
    InvalidParameterValue "InvalidParameterValue" 400;
    InvalidQueryParameter "InvalidQueryParameter" 400;
    InvalidRequest "InvalidRequest" 400;
    MalformedQueryString "MalformedQueryString" 400;
    MissingAction "MissingAction" 400;
    MissingParameter "MissingParameter" 400;
    NoSuchVersion "NoSuchVersion" 400;
    RequestEntityTooLarge "RequestEntityTooLarge" 413;
    UnknownParameter "UnknownParameter" 400;
    UnsupportedOperation "UnsupportedOperation" 400;
    OperationNotPermitted "OperationNotPermitted" 400;
    // Asked before.
    IdempotentInstanceTerminated "IdempotentInstanceTerminated" 400;
    IdempotentParameterMismatch "IdempotentParameterMismatch" 400;
    InvalidClientToken "InvalidClientToken" 400;
    // Images.
    InvalidAmiAttributeItemValue "InvalidAMIAttributeItemValue" 400;
    InvalidAmiIdMalformed "InvalidAMIID.Malformed" 400;
    InvalidAmiIdNotFound "InvalidAMIID.NotFound" 400;
    InvalidAmiIdUnavailable "InvalidAMIID.Unavailable" 400;
    InvalidAmiNameDuplicate "InvalidAMIName.Duplicate" 400;
    InvalidAmiNameMalformed "InvalidAMIName.Malformed" 400;
    InvalidBlockDeviceMapping "InvalidBlockDeviceMapping" 400;
    InvalidManifest "InvalidManifest" 400;
    InvalidProductInfo "InvalidProductInfo" 400;
    InvalidUserIdMalformed "InvalidUserID.Malformed" 400;
    // Snapshots and volumes.
    IncorrectModificationState "IncorrectModificationState" 400;
    IncorrectState "IncorrectState" 400;
    InvalidAttachmentNotFound "InvalidAttachment.NotFound" 400;
    InvalidDeviceInUse "InvalidDevice.InUse" 400;
    InvalidSnapshotInUse "InvalidSnapshot.InUse" 400;
    InvalidSnapshotNotFound "InvalidSnapshot.NotFound" 400;
    InvalidSnapshotIdMalformed "InvalidSnapshotID.Malformed" 400;
    InvalidVolumeNotFound "InvalidVolume.NotFound" 400;
    InvalidVolumeIdMalformed "InvalidVolumeID.Malformed" 400;
    InvalidVolumeZoneMismatch "InvalidVolume.ZoneMismatch" 400;
    VolumeInUse "VolumeInUse" 400;
    VolumeModificationRateExceeded "VolumeModificationRateExceeded" 400;
    // Machines and their keys.
    IncorrectInstanceState "IncorrectInstanceState" 400;
    InstanceCreditSpecificationNotSupported "InstanceCreditSpecification.NotSupported" 400;
    InvalidInstanceAttributeValue "InvalidInstanceAttributeValue" 400;
    InvalidInstanceIdMalformed "InvalidInstanceID.Malformed" 400;
    InvalidInstanceIdNotFound "InvalidInstanceID.NotFound" 400;
    InvalidInstanceType "InvalidInstanceType" 400;
    InvalidKeyFormat "InvalidKey.Format" 400;
    InvalidKeyPairDuplicate "InvalidKeyPair.Duplicate" 400;
    InvalidKeyPairFormat "InvalidKeyPair.Format" 400;
    InvalidKeyPairNotFound "InvalidKeyPair.NotFound" 400;
    InvalidUserDataMalformed "InvalidUserData.Malformed" 400;
    Unsupported "Unsupported" 400;
    // The network's facade.
    DependencyViolation "DependencyViolation" 400;
    InvalidGroupDuplicate "InvalidGroup.Duplicate" 400;
    InvalidGroupInUse "InvalidGroup.InUse" 400;
    InvalidGroupNotFound "InvalidGroup.NotFound" 400;
    InvalidGroupIdMalformed "InvalidGroupId.Malformed" 400;
    InvalidPermissionDuplicate "InvalidPermission.Duplicate" 400;
    InvalidPermissionMalformed "InvalidPermission.Malformed" 400;
    InvalidPermissionNotFound "InvalidPermission.NotFound" 400;
    InvalidSecurityGroupRuleIdNotFound "InvalidSecurityGroupRuleId.NotFound" 400;
    InvalidAddressNotFound "InvalidAddress.NotFound" 400;
    InvalidAllocationIdNotFound "InvalidAllocationID.NotFound" 400;
    InvalidRegion "InvalidRegion" 400;
    InvalidSubnetIdNotFound "InvalidSubnetID.NotFound" 400;
    InvalidVpcIdNotFound "InvalidVpcID.NotFound" 400;
    // Tags.
    InvalidId "InvalidID" 400;
    InvalidTagKeyMalformed "InvalidTagKey.Malformed" 400;
    TagLimitExceeded "TagLimitExceeded" 400;
    // Tasks.
    InvalidConversionTaskId "InvalidConversionTaskId" 400;
    InvalidExportTaskIdNotFound "InvalidExportTaskID.NotFound" 400;
    InvalidFormat "InvalidFormat" 400;
    DiskImageSizeTooLarge "DiskImageSizeTooLarge" 400;
    InaccessibleStorageLocation "InaccessibleStorageLocation" 400;
    NotExportable "NotExportable" 400;
    // Quotas.
    ConcurrentSnapshotLimitExceeded "ConcurrentSnapshotLimitExceeded" 400;
    InstanceLimitExceeded "InstanceLimitExceeded" 400;
    MaxIopsLimitExceeded "MaxIOPSLimitExceeded" 400;
    PendingSnapshotLimitExceeded "PendingSnapshotLimitExceeded" 400;
    ResourceLimitExceeded "ResourceLimitExceeded" 400;
    SnapshotCreationPerVolumeRateExceeded "SnapshotCreationPerVolumeRateExceeded" 400;
    SnapshotLimitExceeded "SnapshotLimitExceeded" 400;
    VolumeLimitExceeded "VolumeLimitExceeded" 400;
    // Ours.
    InsufficientInstanceCapacity "InsufficientInstanceCapacity" 500;
    InternalError "InternalError" 500;
    RequestLimitExceeded "RequestLimitExceeded" 503;
    Unavailable "Unavailable" 503;
}
