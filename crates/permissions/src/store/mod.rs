//! What the service keeps, and how it is found again.

mod access_keys;
mod accounts;
mod fence;
mod record;
mod sessions;
mod shares;
mod volume_shares;
mod wrap;

pub(crate) use access_keys::AccessKeys;
pub(crate) use accounts::{Accounts, Wanted};
pub use fence::Step;
pub(crate) use sessions::Sessions;
pub(crate) use shares::Shares;
pub(crate) use volume_shares::VolumeShares;
pub use wrap::WrappingKey;
