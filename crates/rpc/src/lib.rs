//! The manners of every call: who asks, what a method allows, how a refusal
//! reads, where a listing goes on, how a peer is reached, until when, and how
//! often.
//!
//! * [`Caller`] is who a call is made for; it travels as a signed context
//!   ([`ContextSigner`], [`ContextVerifier`]).
//! * [`Policies`] are read from the proto files; [`GuardLayer`] enforces them.
//! * [`Fault`] and [`Describe`] turn errors into `google.rpc` statuses and back.
//! * [`connect`] reaches a service over mTLS; [`retry`] asks it again.

mod address;
mod bounded;
mod caller;
mod channel;
mod context;
mod current;
mod fault;
mod guard;
mod identity;
mod observe;
mod page;
mod policy;
mod refusal;
mod retry;
mod seen;

pub use address::{BadAddress, ServiceAddress, Socket};
pub use bounded::{LARGEST_MESSAGE, Oversize, bounded};
pub use caller::{Caller, CallerKind, Peer};
pub use channel::{Channel, connect, connect_plain};
pub use context::{CONTEXT_HEADER, ContextError, ContextSigner, ContextVerifier, LONGEST_CONTEXT};
pub use current::{REQUEST_ID_HEADER, new_request_id, request_id, time_left, within};
pub use fault::{Describe, Fault, FieldViolation, Kind, chain, to_status};
pub use guard::{Guard, GuardLayer, strip_identity};
pub use identity::{Identity, TRUST_DOMAIN, TrustError, dns_name, peer_name, uri_name};
pub use observe::{NoObserver, Observer};
pub use page::{BadToken, PageToken, seal_page_tokens};
pub use policy::{GATEWAY, Incomplete, OPERATOR, Policies, Policy};
pub use refusal::Refusal;
pub use retry::{Retry, retry};
pub use seen::Seen;

/// HTTP/2 frames of this size carry bulk reads three times as fast as the default.
pub const MAX_FRAME_BYTES: u32 = 256 * 1024;
