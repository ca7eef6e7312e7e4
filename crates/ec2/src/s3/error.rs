use crate::{Code, Error, Reply, Xml, sigv4::SigError};

/// A refusal of S3.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", kind.wire())]
pub struct S3Error {
    pub kind: S3Kind,
    pub message: String,
}

macro_rules! kinds {
    ($($name:ident $wire:literal $status:literal;)*) => {
        /// A refusal's code. Its text and its HTTP status are S3's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum S3Kind { $($name,)* }

        impl S3Kind {
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

kinds! {
    AccessDenied "AccessDenied" 403;
    BadDigest "BadDigest" 400;
    BucketAlreadyExists "BucketAlreadyExists" 409;
    BucketAlreadyOwnedByYou "BucketAlreadyOwnedByYou" 409;
    BucketNotEmpty "BucketNotEmpty" 409;
    EntityTooLarge "EntityTooLarge" 400;
    EntityTooSmall "EntityTooSmall" 400;
    IncompleteBody "IncompleteBody" 400;
    InternalError "InternalError" 500;
    InvalidAccessKeyId "InvalidAccessKeyId" 403;
    InvalidArgument "InvalidArgument" 400;
    InvalidBucketName "InvalidBucketName" 400;
    InvalidDigest "InvalidDigest" 400;
    InvalidPart "InvalidPart" 400;
    InvalidPartOrder "InvalidPartOrder" 400;
    InvalidRange "InvalidRange" 416;
    InvalidRequest "InvalidRequest" 400;
    KeyTooLong "KeyTooLongError" 400;
    MalformedXml "MalformedXML" 400;
    MetadataTooLarge "MetadataTooLarge" 400;
    MethodNotAllowed "MethodNotAllowed" 405;
    NoSuchBucket "NoSuchBucket" 404;
    NoSuchKey "NoSuchKey" 404;
    NoSuchUpload "NoSuchUpload" 404;
    NotImplemented "NotImplemented" 501;
    OperationAborted "OperationAborted" 409;
    PreconditionFailed "PreconditionFailed" 412;
    QuotaExceeded "QuotaExceeded" 403;
    RequestTimeTooSkewed "RequestTimeTooSkewed" 403;
    RequestTimeout "RequestTimeout" 400;
    ServiceUnavailable "ServiceUnavailable" 503;
    SignatureDoesNotMatch "SignatureDoesNotMatch" 403;
    SlowDown "SlowDown" 503;
    TooManyBuckets "TooManyBuckets" 400;
}

impl S3Error {
    pub fn new(kind: S3Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// An argument that can't be so.
    pub fn argument(message: impl Into<String>) -> Self {
        Self::new(S3Kind::InvalidArgument, message)
    }

    /// What S3 has and is not here.
    #[must_use]
    pub fn not_implemented(what: &str) -> Self {
        let what = what.chars().take(64).collect::<String>();
        let text = format!("{what} is not implemented here.");
        Self::new(S3Kind::NotImplemented, text)
    }
}

impl From<&SigError> for S3Error {
    fn from(error: &SigError) -> Self {
        let kind = match error {
            SigError::Missing => S3Kind::AccessDenied,
            SigError::Incomplete(_) => S3Kind::InvalidRequest,
            SigError::Expired { .. } => S3Kind::RequestTimeTooSkewed,
            SigError::Mismatch => S3Kind::SignatureDoesNotMatch,
            SigError::WrongBody => S3Kind::BadDigest,
            SigError::UnknownKey => S3Kind::InvalidAccessKeyId,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<&Error> for S3Error {
    fn from(error: &Error) -> Self {
        let kind = match error.code {
            Code::RequestLimitExceeded => S3Kind::SlowDown,
            Code::Unavailable => S3Kind::ServiceUnavailable,
            Code::InternalError => S3Kind::InternalError,
            Code::RequestEntityTooLarge => S3Kind::EntityTooLarge,
            code if matches!(code.status(), 401 | 403) => S3Kind::AccessDenied,
            _ => S3Kind::InvalidRequest,
        };
        Self::new(kind, &error.message)
    }
}

impl Reply {
    /// A refusal of S3. The answer to a HEAD goes without its body.
    #[must_use]
    pub fn s3_error(error: &S3Error, request_id: &str) -> Self {
        let mut root = Xml::new();
        root.node("Error", |inside| {
            inside
                .text("Code", error.kind.wire())
                .text("Message", &error.message)
                .text("RequestId", request_id);
        });
        let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", root.as_str());
        Self::new(error.kind.status(), "application/xml", text).with("x-amz-request-id", request_id)
    }

    /// An answer of S3 that is XML, or nothing.
    #[must_use]
    pub fn s3(status: u16, request_id: &str, xml: &str) -> Self {
        let reply = if xml.is_empty() {
            Self { status, headers: Vec::new(), body: Vec::new() }
        } else {
            let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{xml}");
            Self::new(status, "application/xml", text)
        };
        reply.with("x-amz-request-id", request_id)
    }
}
