//! Who else may read a snapshot, as permissions last said.

use std::collections::BTreeSet;

use vmint_ids::AccountId;

/// Who but the owner may make volumes and copies of a snapshot, and read it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sharing {
    pub public: bool,
    /// Without the owner.
    pub accounts: BTreeSet<AccountId>,
    /// Of permissions; a lower one is older news.
    pub revision: u64,
}

impl Sharing {
    #[must_use]
    pub fn admits(&self, account: AccountId) -> bool {
        self.public || self.accounts.contains(&account)
    }
}
