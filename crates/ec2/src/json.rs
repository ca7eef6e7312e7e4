//! The JSON-1.1 services: one path, the operation in `X-Amz-Target`.

use serde::{Serialize, de::DeserializeOwned};

use crate::Reply;

/// The longest body that is read.
pub const MAX_BYTES: usize = 1 << 20;

/// Which operation of which service: `AmazonSSM.GetParameter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    pub service: &'a str,
    pub operation: &'a str,
}

impl<'a> Target<'a> {
    /// Reads the header's value.
    pub fn parse(header: &'a str) -> Result<Self, JsonError> {
        let word = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        match header.rsplit_once('.') {
            Some((service, operation)) if word(service) && word(operation) => {
                Ok(Self { service, operation })
            }
            _ => Err(JsonError::unknown_operation()),
        }
    }
}

/// Reads a request; members it does not know are passed over, as SDKs expect.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, JsonError> {
    if body.len() > MAX_BYTES {
        return Err(JsonError::new("RequestEntityTooLarge", "The request is longer than 1 MiB."));
    }
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| JsonError::new("SerializationException", error.to_string()))
}

/// A refusal of a JSON service: the exception's name and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct JsonError {
    /// For example `ParameterNotFound`.
    pub kind: &'static str,
    pub message: String,
    pub status: u16,
}

impl JsonError {
    /// A refusal with status 400, which all but a few have.
    pub fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), status: 400 }
    }

    /// With another status.
    #[must_use]
    pub fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// There is no such operation.
    #[must_use]
    pub fn unknown_operation() -> Self {
        Self::new("UnknownOperationException", "The X-Amz-Target header names no operation here.")
    }
}

impl Reply {
    /// The answer of a JSON-1.1 operation.
    #[must_use]
    pub fn json(request_id: &str, answer: &impl Serialize) -> Self {
        let Ok(body) = serde_json::to_vec(answer) else {
            let failed = JsonError::new("InternalServerError", "The answer can't be written.");
            return Self::json_error(&failed.status(500), request_id);
        };
        Self::new(200, "application/x-amz-json-1.1", body).with("x-amzn-requestid", request_id)
    }

    /// A refusal of a JSON-1.1 operation.
    #[must_use]
    pub fn json_error(error: &JsonError, request_id: &str) -> Self {
        let body = serde_json::json!({ "__type": error.kind, "message": error.message });
        Self::new(error.status, "application/x-amz-json-1.1", body.to_string())
            .with("x-amzn-requestid", request_id)
            .with("x-amzn-errortype", error.kind)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "PascalCase")]
    struct Get {
        name: String,
    }

    #[test]
    fn a_target_names_service_and_operation() {
        let target = Target::parse("AmazonSSM.GetParameter").unwrap();
        assert_eq!((target.service, target.operation), ("AmazonSSM", "GetParameter"));
        for wrong in ["", "AmazonSSM", ".GetParameter", "AmazonSSM.", "A.B C", "A\n.B"] {
            assert_eq!(Target::parse(wrong), Err(JsonError::unknown_operation()), "{wrong:?}");
        }
    }

    #[test]
    fn a_wrong_body_is_named() {
        assert_eq!(read::<Get>(br#"{"Name":"a","New":1}"#), Ok(Get { name: "a".into() }));
        assert_eq!(read::<Get>(br#"{"Name":1}"#).unwrap_err().kind, "SerializationException");
        assert_eq!(read::<Get>(b"").unwrap_err().kind, "SerializationException");
        let long = vec![b' '; MAX_BYTES + 1];
        assert_eq!(read::<Get>(&long).unwrap_err().kind, "RequestEntityTooLarge");
    }

    #[test]
    fn a_refusal_names_its_kind_twice() {
        let reply = Reply::json_error(&JsonError::new("ParameterNotFound", "no"), "r");
        assert_eq!(reply.body, br#"{"__type":"ParameterNotFound","message":"no"}"#);
        assert!(reply.headers.contains(&("x-amzn-errortype", "ParameterNotFound".to_owned())));
    }
}
