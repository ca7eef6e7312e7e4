use crate::{Account, Permissions, PermissionsError, Result, Session, Token, ops::now_ms};

impl Permissions {
    /// Finds whose the bearer token `text` is.
    ///
    /// Two look-ups, whatever the number of sessions. Why a token is not good
    /// is never said.
    pub fn authenticate(&self, text: &str) -> Result<(Session, Account)> {
        // No token is longer, and hashing must not be a way to keep us busy.
        if text.len() > 128 {
            return Err(PermissionsError::TokenInvalid);
        }
        let found = self.sessions.by_digest(&Token::digest_of(text))?;
        let session =
            found.filter(|s| s.is_good(now_ms())).ok_or(PermissionsError::TokenInvalid)?;
        let account = self.accounts.get(session.account)?.ok_or(PermissionsError::TokenInvalid)?;
        Ok((session, account))
    }
}
