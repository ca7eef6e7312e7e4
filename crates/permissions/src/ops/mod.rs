//! What can be done, one file to a verb.

mod authenticate;
mod bootstrap;
mod check;
mod create_access_key;
mod create_account;
mod create_organization;
mod create_session;
mod delete_access_key;
mod get_account;
mod list_access_keys;
mod list_accounts;
mod list_sessions;
mod own_image;
mod record_key_use;
mod revoke_session;
mod share_image;
mod share_snapshot;
mod signing_key;
mod update_access_key;

use std::time::{SystemTime, UNIX_EPOCH};

use vmint_store::Store;

use crate::{
    WrappingKey,
    store::{AccessKeys, Accounts, Sessions, Shares, VolumeShares},
};

pub use bootstrap::{First, FirstAccount, Made};
pub use check::Answer;
pub use create_access_key::NewAccessKey;
pub use create_account::NewAccount;
pub use create_session::NewSession;
pub use share_image::Shared;
pub(crate) use share_image::may_manage;

/// The service itself, free of any transport. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Permissions {
    accounts: Accounts,
    access_keys: AccessKeys,
    sessions: Sessions,
    shares: Shares,
    volume_shares: VolumeShares,
}

impl Permissions {
    /// Over `store`, whose access keys' secrets are wrapped with `wrapping`; a
    /// principal may have `access_keys` of them.
    #[must_use]
    pub fn open(store: Store, wrapping: WrappingKey, access_keys: usize) -> Self {
        Self {
            accounts: Accounts::new(store.clone()),
            access_keys: AccessKeys::new(store.clone(), wrapping, access_keys.max(1)),
            sessions: Sessions::new(store.clone()),
            shares: Shares::new(store.clone()),
            volume_shares: VolumeShares::new(store),
        }
    }
}

/// One page of a listing, and the key to go on after if more follow.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<Vec<u8>>,
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
