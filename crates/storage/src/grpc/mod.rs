//! Storage over gRPC: read the request, call one verb, write the answer.

mod convert;
mod internal;
mod public;

pub use internal::Internal;
pub use public::Public;
