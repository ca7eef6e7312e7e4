use vmint_ids::AccountId;

use crate::{Account, Permissions, PermissionsError, Result};

impl Permissions {
    /// Looks up one account.
    pub fn account(&self, id: AccountId) -> Result<Account> {
        let missing = || PermissionsError::AccountNotFound { account: id.to_string() };
        self.accounts.get(id)?.ok_or_else(missing)
    }

    /// Whether the session named by `text` may only read; what is no session
    /// says nothing of that.
    pub fn is_read_only(&self, text: &str) -> Result<bool> {
        let Ok(id) = text.parse() else { return Ok(false) };
        Ok(self.sessions.get(id)?.is_some_and(|session| session.read_only))
    }
}
