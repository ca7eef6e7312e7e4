//! What the service keeps, and how it is found again.

mod accounts;
mod fence;
mod record;
mod sessions;
mod shares;

pub(crate) use accounts::Accounts;
pub use fence::Step;
pub(crate) use sessions::Sessions;
pub(crate) use shares::Shares;
