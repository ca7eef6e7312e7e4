//! What was refused, in EC2's codes.

mod reason;

use tonic::{Code as GrpcCode, Status};
use vmint_ec2::{Code, Error, query::not_found};
use vmint_rpc::{Fault, Seen};

use crate::GatewayError;

/// Why an operation answers with an error.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Error);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<GatewayError> for Refused {
    fn from(error: GatewayError) -> Self {
        Status::from(error).into()
    }
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        let seen = Fault::from_status(&status);
        let code = reason::code(&seen.domain, &seen.reason).unwrap_or_else(|| by_grpc(&seen));
        let code = of_field(code, &seen);
        Self(Error::new(code, message(code, &seen)))
    }
}

/// There is no such operation.
pub(super) fn unknown_action(action: &str) -> Error {
    let action = action.chars().take(64).collect::<String>();
    let text = format!("The action {action} is not valid for this web service.");
    Error::new(Code::InvalidAction, text)
}

/// EC2 has a code of its own for a disk that can't be so large or so small.
fn of_field(code: Code, seen: &Seen) -> Code {
    let disk =
        |field: &str| field.contains("block_device_mappings") && field.ends_with(".ebs.size_gib");
    match code {
        Code::InvalidParameterValue if seen.fields.iter().any(|it| disk(&it.field)) => {
            Code::InvalidBlockDeviceMapping
        }
        code => code,
    }
}

/// What is refused without a reason of ours.
fn by_grpc(seen: &Seen) -> Code {
    match seen.code {
        GrpcCode::InvalidArgument | GrpcCode::OutOfRange => Code::InvalidParameterValue,
        GrpcCode::Unauthenticated => Code::AuthFailure,
        GrpcCode::PermissionDenied => Code::UnauthorizedOperation,
        GrpcCode::NotFound => Code::InvalidId,
        GrpcCode::FailedPrecondition | GrpcCode::Aborted | GrpcCode::AlreadyExists => {
            Code::IncorrectState
        }
        GrpcCode::ResourceExhausted => Code::RequestLimitExceeded,
        GrpcCode::Unimplemented => Code::UnsupportedOperation,
        GrpcCode::Unavailable | GrpcCode::DeadlineExceeded | GrpcCode::Cancelled => {
            Code::Unavailable
        }
        _ => Code::InternalError,
    }
}

/// EC2's own words where clients look at them, else ours with what to do.
fn message(code: Code, seen: &Seen) -> String {
    let named = |key: &str| seen.metadata.get(key).filter(|text| !text.is_empty());
    let known = match code {
        Code::InvalidAmiIdNotFound => named("imageId").map(|id| not_found("ami", id)),
        Code::InvalidSnapshotNotFound => named("snapshotId").map(|id| not_found("snap", id)),
        Code::InvalidVolumeNotFound => named("volumeId").map(|id| not_found("vol", id)),
        Code::InvalidInstanceIdNotFound => named("instanceId").map(|id| not_found("i", id)),
        Code::InvalidKeyPairNotFound => {
            named("keyName").or_else(|| named("name")).map(|name| not_found("key", name))
        }
        _ => None,
    };
    if let Some(known) = known {
        return known.message;
    }
    match code {
        Code::NotAuthorized => match named("imageId") {
            Some(id) if seen.reason == "NOT_OWNER" => format!("Not authorized for image:{id}"),
            Some(id) => format!("Not authorized for images: [{id}]"),
            None => seen.message.clone(),
        },
        Code::InvalidAmiNameDuplicate => match (named("name"), named("imageId")) {
            (Some(name), Some(id)) => format!("AMI name {name} is already in use by AMI {id}"),
            _ => seen.message.clone(),
        },
        Code::InvalidAmiIdUnavailable => match (named("imageId"), named("state")) {
            (Some(id), Some(state)) => {
                format!("The image ID '{id}' is not available: it is {state}")
            }
            _ => seen.message.clone(),
        },
        Code::InvalidRequest if seen.reason == "IMAGE_NOT_COPYABLE" => {
            "You do not have permission to access the storage of this ami".to_owned()
        }
        Code::InternalError => {
            "An internal error has occurred; the request id finds it in the log.".to_owned()
        }
        Code::RequestLimitExceeded => "Request limit exceeded.".to_owned(),
        _ => match &seen.hint {
            Some(hint) => format!("{}: {hint}", seen.message),
            None => seen.message.clone(),
        },
    }
}
