use vmint_ids::AccountId;

use crate::{
    Permissions, Result, Session,
    ops::{Page, now_ms},
};

impl Permissions {
    /// Lists the sessions of an account that are good now. A page may be
    /// shorter than asked and still have another after it.
    pub fn list_sessions(
        &self,
        account: AccountId,
        after: Option<&[u8]>,
        size: usize,
    ) -> Result<Page<Session>> {
        let now = now_ms();
        let mut page = self.sessions.page(account, after, size)?;
        page.items.retain(|session| session.is_good(now));
        Ok(page)
    }
}
