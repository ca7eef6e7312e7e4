//! What the guard itself may refuse, and why.

use std::time::Duration;

use crate::{ContextError, Describe, Fault, Kind};

/// Why a call did not reach its handler, or did not come out of it.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("there is no method `{path}` here")]
    UnknownMethod { path: String },
    #[error("this connection showed no certificate of this deployment")]
    NoPeer,
    #[error("the service `{peer}` may not call `{path}`")]
    PeerNotAllowed { peer: String, path: String },
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error("the call does not say for whom it is made")]
    NoContext,
    #[error("only the gateway may speak for a caller")]
    ContextNotFromGateway,
    #[error("metadata `{name}` is not accepted from a caller")]
    ForgedMetadata { name: String },
    #[error("this method acts for an account; a service has none")]
    NoAccount,
    #[error("`{path}` is for the operator of the deployment")]
    OperatorOnly { path: String },
    #[error("the call took longer than {allowed:?}")]
    Deadline { allowed: Duration },
    #[error("the handler of `{path}` failed: {text}")]
    Panicked { path: String, text: String },
    #[error("a message of {bytes} bytes is longer than the {limit} that are taken")]
    MessageTooLarge { bytes: u64, limit: u64 },
    #[error("service `{service}` did not answer in time")]
    TooSlow { service: String },
    #[error("service `{service}` cannot be reached: {text}")]
    Unreachable { service: String, text: String },
}

impl Describe for Refusal {
    const DOMAIN: &'static str = "rpc.vmint";

    fn fault(&self) -> Fault {
        match self {
            Self::UnknownMethod { path } => {
                Fault::new(Kind::Unimplemented, "METHOD_UNKNOWN").with("method", path)
            }
            Self::NoPeer => Fault::new(Kind::NotSignedIn, "PEER_UNKNOWN"),
            Self::PeerNotAllowed { peer, path } => Fault::new(Kind::Forbidden, "PEER_NOT_ALLOWED")
                .with("peer", peer)
                .with("method", path)
                .hint("ask through the gateway, or add the peer to the method's policy"),
            Self::Context(error) => Fault::new(
                Kind::NotSignedIn,
                match error {
                    ContextError::Malformed => "CONTEXT_MALFORMED",
                    ContextError::Forged => "CONTEXT_FORGED",
                    ContextError::Expired => "CONTEXT_EXPIRED",
                    ContextError::Early => "CONTEXT_EARLY",
                    ContextError::Audience => "CONTEXT_AUDIENCE",
                    ContextError::Action => "CONTEXT_ACTION",
                },
            ),
            Self::NoContext => Fault::new(Kind::NotSignedIn, "CONTEXT_MISSING"),
            Self::ContextNotFromGateway => {
                Fault::new(Kind::NotSignedIn, "CONTEXT_NOT_FROM_GATEWAY")
            }
            Self::ForgedMetadata { name } => {
                Fault::new(Kind::NotSignedIn, "METADATA_FORGED").with("name", name)
            }
            Self::NoAccount => Fault::new(Kind::NotSignedIn, "ACCOUNT_MISSING"),
            Self::OperatorOnly { path } => {
                Fault::new(Kind::Forbidden, "OPERATOR_ONLY").with("method", path)
            }
            Self::Deadline { allowed } => Fault::new(Kind::TooLate, "DEADLINE_EXCEEDED")
                .with("allowedMs", allowed.as_millis()),
            Self::TooSlow { service } => {
                Fault::new(Kind::TooLate, "DEADLINE_EXCEEDED").with("service", service)
            }
            Self::Panicked { .. } => Fault::new(Kind::Internal, "PANICKED"),
            Self::MessageTooLarge { bytes, limit } => {
                Fault::new(Kind::BadRequest, "MESSAGE_TOO_LARGE")
                    .with("bytes", bytes)
                    .with("limit", limit)
                    .hint(format!("send at most {limit} bytes at once: split the request"))
            }
            Self::Unreachable { service, .. } => {
                Fault::new(Kind::Unavailable, "SERVICE_UNREACHABLE")
                    .with("service", service)
                    .hint("see with `vmint status` whether it runs")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use vmint_api::types::v1::CallErrorReason;

    use super::*;
    use crate::ContextError as C;

    #[test]
    fn every_reason_is_in_the_proto() {
        let text = String::new;
        let mut all = vec![
            Refusal::UnknownMethod { path: text() },
            Refusal::NoPeer,
            Refusal::PeerNotAllowed { peer: text(), path: text() },
            Refusal::NoContext,
            Refusal::ContextNotFromGateway,
            Refusal::ForgedMetadata { name: text() },
            Refusal::NoAccount,
            Refusal::OperatorOnly { path: text() },
            Refusal::Deadline { allowed: Duration::ZERO },
            Refusal::Panicked { path: text(), text: text() },
            Refusal::MessageTooLarge { bytes: 2, limit: 1 },
            Refusal::TooSlow { service: text() },
            Refusal::Unreachable { service: text(), text: text() },
        ];
        let contexts = [C::Malformed, C::Forged, C::Expired, C::Early, C::Audience, C::Action];
        all.extend(contexts.map(Refusal::Context));
        for refusal in all {
            let name = format!("CALL_ERROR_REASON_{}", refusal.fault().reason);
            assert!(CallErrorReason::from_str_name(&name).is_some(), "{name}");
        }
    }
}
