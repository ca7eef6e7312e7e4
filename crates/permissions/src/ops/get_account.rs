use vmint_ids::AccountId;

use crate::{AccessKeyId, Account, Permissions, PermissionsError, Result};

impl Permissions {
    /// Looks up one account.
    pub fn account(&self, id: AccountId) -> Result<Account> {
        let missing = || PermissionsError::AccountNotFound { account: id.to_string() };
        self.accounts.get(id)?.ok_or_else(missing)
    }

    /// Whether the session or access key named by `text` may only read; what
    /// is neither says nothing of that.
    pub fn is_read_only(&self, text: &str) -> Result<bool> {
        if let Ok(id) = text.parse() {
            return Ok(self.sessions.get(id)?.is_some_and(|session| session.read_only));
        }
        let Ok(id) = AccessKeyId::parse(text) else { return Ok(false) };
        Ok(self.access_keys.get(&id)?.is_some_and(|key| key.read_only))
    }
}
