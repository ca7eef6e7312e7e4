use vmint_ids::AccountId;

use crate::{AccessKey, Permissions, Result, ops::Page};

impl Permissions {
    /// Lists the access keys of an account in the order of their ids.
    pub fn list_access_keys(
        &self,
        account: AccountId,
        after: Option<&[u8]>,
        size: usize,
    ) -> Result<Page<AccessKey>> {
        self.access_keys.page(account, after, size)
    }
}
