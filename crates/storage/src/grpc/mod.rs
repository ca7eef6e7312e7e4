//! Storage over gRPC: read the request, call one verb, write the answer.

mod convert;
mod internal;
mod keys;
mod public;

pub use internal::Internal;
pub use keys::Keys;
pub use public::Public;
