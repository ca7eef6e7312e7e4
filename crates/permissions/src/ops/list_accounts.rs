use crate::{Account, Permissions, Result, ops::Page};

impl Permissions {
    /// Lists every account in the order of their ids.
    pub fn list_accounts(&self, after: Option<&[u8]>, size: usize) -> Result<Page<Account>> {
        self.accounts.page(after, size)
    }
}
