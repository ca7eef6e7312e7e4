//! Storage over gRPC: read the request, call one verb, write the answer.

mod convert;
mod export;
mod follow;
mod internal;
mod keys;
mod public;
mod transfer;
mod transfer_convert;
mod transfer_internal;

pub use export::Exports;
pub use internal::Internal;
pub use keys::Keys;
pub use public::Public;
pub use transfer::Transfer;
pub use transfer_internal::TransferInternal;
