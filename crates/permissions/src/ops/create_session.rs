use std::time::Duration;

use vmint_ids::{AccountId, SessionId};
use vmint_store::Asked;

use crate::{
    Permissions, PermissionsError, Result, Session, Token,
    ops::now_ms,
    session::{LONGEST_LIFE, USUAL_LIFE, check_principal},
};

/// The session to make.
#[derive(Debug)]
pub struct NewSession {
    pub account: AccountId,
    /// 1 to 64 visible ASCII characters.
    pub principal: String,
    pub read_only: bool,
    /// None: 12 hours. At most 90 days.
    pub life: Option<Duration>,
    /// The session or access key that makes it; the session may do no more.
    pub made_by: String,
    pub asked: Asked,
}

impl Permissions {
    /// Makes a session and its token. Asked again, the same session comes
    /// without its token: that is shown once.
    pub async fn create_session(&self, new: NewSession) -> Result<(Session, Option<Token>)> {
        check_principal(&new.principal)?;
        let life = new.life.unwrap_or(USUAL_LIFE);
        if life < Duration::from_millis(1) || life > LONGEST_LIFE {
            return Err(PermissionsError::field(
                "time_to_live",
                "must be at least a millisecond and at most 90 days",
            ));
        }
        let now = now_ms();
        let token = Token::random();
        let session = Session {
            id: SessionId::random(),
            account: new.account,
            principal: new.principal,
            read_only: new.read_only || self.is_read_only(&new.made_by)?,
            created_ms: now,
            expires_ms: now + u64::try_from(life.as_millis()).unwrap_or(u64::MAX / 2),
            revoked_ms: None,
        };
        let drawn = session.id;
        let session = self.sessions.insert(session, token.digest(), new.asked).await?;
        let token = (session.id == drawn).then_some(token);
        tracing::info!(session = %session.id, account = %session.account, "session made");
        Ok((session, token))
    }
}
