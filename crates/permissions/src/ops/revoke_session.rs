use vmint_ids::{AccountId, SessionId};

use crate::{Permissions, Result, ops::now_ms};

impl Permissions {
    /// Makes a session's token useless from the next call on.
    ///
    /// `of`: whose session it must be; none for the operator, who may end any.
    pub async fn revoke_session(&self, id: SessionId, of: Option<AccountId>) -> Result<()> {
        self.sessions.revoke(id, of, now_ms()).await?;
        tracing::info!(session = %id, "session revoked");
        Ok(())
    }
}
