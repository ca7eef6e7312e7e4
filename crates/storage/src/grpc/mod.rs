//! Storage over gRPC: read the request, call one verb, write the answer.

mod asks;
mod blocks;
mod bundles;
mod convert;
mod copy;
mod export;
mod follow;
mod internal;
mod keys;
mod object_convert;
mod objects;
mod objects_internal;
mod public;
mod snapshots;
mod transfer;
mod transfer_convert;
mod transfer_internal;
mod upkeep;
mod volumes;
mod volumes_internal;

pub use blocks::Blocks;
pub use bundles::Bundles;
pub use copy::Copies;
pub use export::Exports;
pub use internal::Internal;
pub use keys::Keys;
pub use objects::Objects;
pub use objects_internal::Files;
pub use public::Public;
pub use snapshots::Snapshots;
pub use transfer::Transfer;
pub use transfer_internal::TransferInternal;
pub use upkeep::Upkeep;
pub use volumes::Volumes;
pub use volumes_internal::VolumesInternal;
