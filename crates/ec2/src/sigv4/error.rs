use crate::{Code, Error};

/// Why a request is not taken as signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigError {
    #[error("Request is missing Authentication Token")]
    Missing,
    /// Something of the signature is malformed or lacking.
    #[error("{0}")]
    Incomplete(String),
    /// The time it was signed at is too far away, or its validity is over.
    #[error("Request has expired. It was signed at {signed}; the time here is {now}.")]
    Expired { signed: String, now: String },
    #[error(
        "The request signature we calculated does not match the signature you provided. \
         Check your AWS Secret Access Key and signing method."
    )]
    Mismatch,
    #[error("The body does not have the SHA-256 that the request was signed with.")]
    WrongBody,
    /// No such key, or it is not active; said by whoever looks keys up.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
}

impl SigError {
    pub(super) fn incomplete(text: impl Into<String>) -> Self {
        Self::Incomplete(text.into())
    }

    /// As EC2 refuses it: it does not tell a wrong key from a wrong secret.
    #[must_use]
    pub fn for_ec2(&self) -> Error {
        match self {
            Self::Mismatch | Self::UnknownKey => Error::new(
                Code::AuthFailure,
                "AWS was not able to validate the provided access credentials",
            ),
            other => other.for_others(),
        }
    }

    /// As every other service refuses it.
    #[must_use]
    pub fn for_others(&self) -> Error {
        let code = match self {
            Self::Missing => Code::MissingAuthenticationToken,
            Self::Incomplete(_) => Code::IncompleteSignature,
            Self::Expired { .. } => Code::RequestExpired,
            Self::Mismatch | Self::WrongBody => Code::SignatureDoesNotMatch,
            Self::UnknownKey => Code::InvalidClientTokenId,
        };
        Error::new(code, self.to_string())
    }
}
